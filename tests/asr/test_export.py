"""The exported graph is the network's own step: the same numbers, the same contract, and int8 bit for bit."""

import gzip

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from contract import AsTorch, verify_contract
from recitative import pretrained
from recitative.asr.kind import RECOGNIZER
from recitative.asr.network import RecognizerModel, new_recognizer
from recitative.config import FeatureSettings, FrontEndSettings, ModelSettings, RecurrentSettings, Settings
from recitative.errors import DataError, UsageError
from recitative.model.export import build_file, export_model, measure_inputs, open_for_training
from recitative.model.graph import quantize_rows
from recitative.model.onnx_stage import OnnxStage
from recitative.nn.ragged import zero_padding
from recitative.stage import Padded
from recitative.text.tokens import TokenTable

BINS = 8
TOKENS = TokenTable(("<blank>", " ", "a", "b", "c"))
LENGTHS = torch.tensor([40, 17, 3, 0, 1])

STACK = FrontEndSettings(window=4, stride=2)
PROJECTED = FrontEndSettings(window=5, stride=2, width=7)
CONV = FrontEndSettings(kind="conv", channels=(2, 3), width=9)
NORMALIZED = FrontEndSettings(kind="conv", channels=(2, 3, 3), strides=(1, 2, 1), norm=True)
TWICE = FrontEndSettings(window=6, stride=4, outputs_per_step=2)
EVERY_FRAME = FrontEndSettings(window=1, stride=1)


def core(direction: str = "forward", **settings: object) -> RecurrentSettings:
    values = {"layers": 2, "hidden": 7, "chunk": 3, "right_context": 2} | settings
    return RecurrentSettings.model_validate(values | {"direction": direction})


CELLS = [
    pytest.param(STACK, core(direction, cell=cell), 0, id=f"{cell}-{direction}")
    for cell in ("lstm", "gru", "rnn_tanh", "rnn_relu")
    for direction in ("forward", "bidirectional", "latency_controlled")
]
SHAPES = [
    pytest.param(PROJECTED, core(layer_norm=True, residual=True), 2, id="norm-residual-lookahead"),
    pytest.param(CONV, core(projection=4), 0, id="conv-projection"),
    pytest.param(TWICE, core(), 0, id="two-outputs-a-step"),
    pytest.param(TWICE, core("latency_controlled"), 0, id="two-outputs-a-step-in-blocks"),
    pytest.param(NORMALIZED, core(layers=1), 0, id="conv-strides-norm"),
    pytest.param(EVERY_FRAME, core("bidirectional", residual=True, layer_norm=True), 3, id="every-frame-bidirectional"),
    pytest.param(
        CONV, core("latency_controlled", projection=9, residual=True, chunk=2, right_context=0), 0, id="conv-blocks"
    ),
]


def recognizer(
    front_end: FrontEndSettings, recurrent: RecurrentSettings, lookahead: int, cmvn: str = "global"
) -> RecognizerModel:
    torch.manual_seed(1)
    model = ModelSettings.model_validate(
        {"cmvn": cmvn, "front_end": front_end, "recurrent": recurrent, "lookahead_frames": lookahead}
    )
    made = new_recognizer(Settings(features=FeatureSettings(num_mel_bins=BINS), model=model), TOKENS)
    made.network.get_buffer("stages.normalize.mean").fill_(0.3)
    made.network.get_buffer("stages.normalize.inverse_stddev").fill_(1.2)
    for name, buffer in made.network.named_buffers():
        if name.endswith("norm.mean"):
            buffer.normal_()
        if name.endswith("norm.variance"):
            buffer.uniform_(0.5, 2.0)
    made.network.eval()
    return made


def features() -> Padded[torch.Tensor]:
    data = torch.randn(len(LENGTHS), 40, BINS, generator=torch.Generator().manual_seed(2))
    return Padded(data, LENGTHS)


def exported(made: RecognizerModel, *, int8: bool) -> OnnxStage:
    inputs = measure_inputs(made.network, [features()]) if int8 else None
    return OnnxStage(build_file(made, inputs=inputs).SerializeToString(), RECOGNIZER)


def compare(made: RecognizerModel, network: OnnxStage, atol: float) -> None:
    x = features()
    expected, _ = made.network.step(x, made.network.initial_state(len(LENGTHS)), last=True)
    arrays = Padded(x.data.numpy(), x.lengths.numpy())
    got, _ = network.step(arrays, network.initial_state(len(LENGTHS)), last=True)
    assert got.lengths.tolist() == expected.lengths.tolist()
    for row, expected_row, length in zip(got.data, expected.data, got.lengths, strict=True):
        assert_close(torch.from_numpy(row[:length]), expected_row[:length], atol=atol, rtol=1e-5)


class _WithLengths(AsTorch):
    """The contract asks a stage for its output lengths; a model file has no use for them."""

    def __init__(self, network: OnnxStage, made: RecognizerModel) -> None:
        super().__init__(network)
        self.output_lengths = made.network.output_lengths  # type: ignore[method-assign]


@pytest.mark.parametrize(("front_end", "recurrent", "lookahead"), [*CELLS, *SHAPES])
def test_the_graph_computes_what_the_network_computes(front_end, recurrent, lookahead):
    made = recognizer(front_end, recurrent, lookahead)
    compare(made, exported(made, int8=False), atol=2e-5)  # sums in another order; relu cells grow them


@pytest.mark.parametrize(("front_end", "recurrent", "lookahead"), [*CELLS, *SHAPES])
def test_the_graph_keeps_the_contract(front_end, recurrent, lookahead):
    made = recognizer(front_end, recurrent, lookahead)
    network = _WithLengths(exported(made, int8=False), made)
    verify_contract(network, lambda shape, g: torch.randn(*shape, BINS, generator=g), gradients=False, cuttings=3)


@pytest.mark.parametrize(
    ("cmvn", "direction"), [("running", "forward"), ("running", "latency_controlled"), ("utterance", "bidirectional")]
)
def test_normalization_by_the_recording_is_in_the_graph_and_keeps_the_contract(cmvn, direction):
    made = recognizer(STACK, core(direction), 0, cmvn)
    compare(made, exported(made, int8=False), atol=2e-5)
    for int8 in (False, True):
        network = _WithLengths(exported(made, int8=int8), made)
        verify_contract(
            network,
            lambda shape, g: 2 + torch.randn(*shape, BINS, generator=g),
            gradients=False,
            cuttings=3,
            atol=0 if int8 else 1e-5,
        )


@pytest.mark.parametrize(("front_end", "recurrent", "lookahead"), [*CELLS[:3], *SHAPES])
def test_int8_keeps_the_contract_bit_for_bit(front_end, recurrent, lookahead):
    made = recognizer(front_end, recurrent, lookahead)
    network = _WithLengths(exported(made, int8=True), made)
    verify_contract(
        network,
        lambda shape, g: 3 * torch.randn(*shape, BINS, generator=g),  # beyond the measured ranges too
        gradients=False,
        cuttings=3,
        atol=0.0,
        slack=front_end.window + 4,  # eight bits do not notice every input
    )


@pytest.mark.parametrize(("front_end", "recurrent", "lookahead"), [*CELLS[:3], *SHAPES])
def test_int8_is_near_float32(front_end, recurrent, lookahead):
    made = recognizer(front_end, recurrent, lookahead)
    compare(made, exported(made, int8=True), atol=0.05)  # of values up to 4


def test_padding_is_no_input_of_a_layer():
    made = recognizer(STACK, core(), 0)
    x = features()
    together = measure_inputs(made.network, [x])
    rows = [Padded(x.data[i : i + 1, :n], x.lengths[i : i + 1]) for i, n in enumerate(x.lengths)]
    alone = measure_inputs(made.network, rows)
    frames = sum(made.network.output_lengths(x.lengths).tolist())
    assert {found.frames for found in together.values()} == {frames}
    for name, found in together.items():
        assert np.array_equal(found.products, alone[name].products)


def test_int8_is_a_quarter_of_the_size():
    made = recognizer(STACK, core(hidden=200, layers=3), 0)
    inputs = measure_inputs(made.network, [features()])
    sizes = [build_file(made, inputs=i).ByteSize() for i in (None, inputs)]
    assert 3.5 < sizes[0] / sizes[1] < 4.1


def test_rows_quantize_to_half_a_level():
    weight = np.random.default_rng(1).normal(size=(5, 30)).astype(np.float32)
    weight[3] = 0.0
    levels, scales = quantize_rows(weight)
    assert levels.dtype == np.int8
    assert np.abs(levels).max() == 63
    assert np.all(np.abs(levels * scales[:, None] - weight) <= 0.5001 * scales[:, None])


def test_the_card_says_what_the_network_is():
    made = recognizer(STACK, core(), 2)
    card = exported(made, int8=True).metadata
    assert card.settings == made.settings
    assert card.extras["tokens"] == TOKENS
    assert (card.stride, card.lookahead) == (made.network.stride, made.network.lookahead)
    assert card.parameters == sum(p.numel() for p in made.network.parameters())
    assert card.weights == "int8"


def test_a_look_ahead_behind_blocks_is_refused():
    with pytest.raises(UsageError, match=r"set model\.lookahead_frames=0"):
        build_file(recognizer(STACK, core("latency_controlled"), 2))


def test_a_gzipped_model_file_is_the_same_model(tmp_path):
    content = build_file(recognizer(STACK, core(), 0)).SerializeToString()
    (tmp_path / "model.onnx.gz").write_bytes(gzip.compress(content))
    x = features()
    rows = Padded(x.data.numpy(), x.lengths.numpy())
    plain, gzipped = OnnxStage(content, RECOGNIZER), OnnxStage(tmp_path / "model.onnx.gz", RECOGNIZER)
    expected, _ = plain.step(rows, plain.initial_state(len(LENGTHS)), last=True)
    got, _ = gzipped.step(rows, gzipped.initial_state(len(LENGTHS)), last=True)
    assert (got.data == expected.data).all()
    assert gzipped.metadata.to_entries() == plain.metadata.to_entries()


def saturated(direction: str) -> RecognizerModel:
    """Half of the cells grow through the range where ONNX Runtime's tanh is a little more than 1, behind open gates."""
    made = recognizer(STACK, core(direction, hidden=64), 0)
    with torch.no_grad():
        for name, bias in made.network.named_parameters():
            if name.endswith("rnn.bias_ih_l0"):
                gates = bias.view(4, 64)[:, :32]  # input, forget, cell, output
                gates += torch.tensor([0.0, 20.0, 0.0, 20.0])[:, None]
                gates[0] += torch.linspace(-3, 0, 32)  # each at a time of its own
                gates[2] += torch.tensor([1.5, -1.5]).repeat(16)  # up and down
    return made


@pytest.mark.parametrize("int8", [True, False], ids=["int8", "float32"])
@pytest.mark.parametrize("direction", ["forward", "bidirectional", "latency_controlled"])
def test_streams_side_by_side_are_each_alone_to_the_last_bit(direction, int8):
    """In float32 only nearly so: the order of its sums is that of the processor's kernel for so many rows."""
    network = exported(saturated(direction), int8=int8)
    rng = np.random.default_rng(4)
    rows = [rng.standard_normal((length, BINS)).astype(np.float32) for length in (200, 130, 170, 30, 199, 0, 164)]
    together: list[list[np.ndarray]] = [[] for _ in rows]
    left, state = rows, network.initial_state(len(rows))
    while any(map(len, left)):
        sizes = [len(row) if direction == "bidirectional" else int(rng.integers(0, 25)) for row in left]
        pieces = [row[:size] for row, size in zip(left, sizes, strict=True)]
        left = [row[size:] for row, size in zip(left, sizes, strict=True)]
        lengths = np.array([len(piece) for piece in pieces])
        data = np.full((len(rows), max(1, lengths.max()), BINS), np.nan, np.float32)
        for row, piece in zip(data, pieces, strict=True):
            row[: len(piece)] = piece
        y, state = network.step(Padded(data, lengths), state, last=not any(map(len, left)))
        for parts, row, length in zip(together, y.data, y.lengths, strict=True):
            parts.append(row[:length])
    for row, parts in zip(rows, together, strict=True):
        whole = Padded(row[None], np.array([len(row)]))
        y, _ = network.step(whole, network.initial_state(1), last=True)
        np.testing.assert_allclose(np.concatenate(parts), y.data[0, : y.lengths[0]], rtol=0, atol=0 if int8 else 1e-5)


@pytest.mark.parametrize(("front_end", "recurrent", "lookahead"), [*CELLS, *SHAPES])
def test_an_exported_file_gives_back_its_weights(front_end, recurrent, lookahead, tmp_path):
    made = recognizer(front_end, recurrent, lookahead)
    export_model(made, tmp_path / "model.onnx")
    opened = open_for_training(tmp_path / "model.onnx", RECOGNIZER)
    assert (opened.settings, opened.tokens) == (made.settings, made.tokens)
    x = features()
    for network in (made.network, opened.network):
        network.eval()
    expected, _ = made.network.step(x, made.network.initial_state(len(LENGTHS)), last=True)
    found, _ = opened.network.step(x, opened.network.initial_state(len(LENGTHS)), last=True)
    assert_close(zero_padding(found), zero_padding(expected), atol=1e-5, rtol=0)
    if not front_end.norm:  # else the kernel includes it
        for name, value in made.network.state_dict().items():
            assert torch.equal(opened.network.state_dict()[name], value), name


@pytest.mark.parametrize(
    ("front_end", "recurrent", "lookahead"), [p for p in (*CELLS, *SHAPES) if p.values[1].cell == "lstm"]
)
def test_a_file_in_int8_gives_back_the_numbers_that_it_computes_with(front_end, recurrent, lookahead, tmp_path):
    made = recognizer(front_end, recurrent, lookahead)
    inputs = measure_inputs(made.network, [features()])
    export_model(made, tmp_path / "int8.onnx", inputs=inputs)
    opened = open_for_training(tmp_path / "int8.onnx", RECOGNIZER)
    compare(opened, OnnxStage(tmp_path / "int8.onnx", RECOGNIZER), atol=0.05)
    export_model(opened, tmp_path / "again.onnx", inputs=inputs)
    compare(open_for_training(tmp_path / "again.onnx", RECOGNIZER), OnnxStage(tmp_path / "int8.onnx", RECOGNIZER), 0.05)


def test_a_file_of_release_0_1_cannot_be_trained():
    with pytest.raises(DataError, match="holds no weights that can be trained"):
        open_for_training(pretrained.find("an4-streaming"), RECOGNIZER)
