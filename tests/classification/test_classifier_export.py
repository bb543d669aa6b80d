"""A classifier's file is its network's own step: the same numbers, the same contract, and int8 bit for bit."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import tones
import torch
from torch.testing import assert_close

from contract import AsTorch, verify_contract
from recitative.audio.files import write_wav
from recitative.classification import export as classifier_export
from recitative.classification.classifier import load_classifier
from recitative.classification.kind import CLASSIFIER
from recitative.data.directory import DataDirectory
from recitative.errors import DataError, UsageError
from recitative.model.export.file import build_file
from recitative.model.export.graph import Graph
from recitative.model.export.quantization import MAX_WER_INCREASE, export_checked, measure_ranges
from recitative.model.export.stages import running_softmax
from recitative.model.onnx_stage import OnnxStage, open_session
from recitative.nn.pooling import AttentionPooling
from recitative.stage import Padded

LENGTHS = torch.tensor([40, 17, 3, 0, 1])
POOLINGS = ["last", "mean", "attention", "recent model.pooling_frames=4"]
BLOCKS = ("model.recurrent.direction=latency_controlled", "model.recurrent.chunk=3", "model.recurrent.right_context=1")


def features(shape, generator):
    return 16 + 3 * torch.randn(*shape, 8, generator=generator)


def telling(*overrides):
    """A classifier whose attention tells frames apart: a new one weighs all the same."""
    made = tones.classifier(*overrides)
    if isinstance(made.network.stages["pooling"], AttentionPooling):
        with torch.no_grad():
            made.network.stages["pooling"].score.weight.normal_(std=2.0)
    return made


def exported(made, *, int8=False):
    x = Padded(features((5, 40), torch.Generator().manual_seed(2)), LENGTHS)
    ranges = measure_ranges(made.network, [x]) if int8 else None
    return OnnxStage(build_file(made, ranges=ranges).SerializeToString(), CLASSIFIER)


def compare(made, network, atol):
    x = Padded(features((5, 40), torch.Generator().manual_seed(3)), LENGTHS)
    expected, _ = made.network.step(x, made.network.initial_state(5), last=True)
    got, _ = network.step(Padded(x.data.numpy(), x.lengths.numpy()), network.initial_state(5), last=True)
    assert got.lengths.tolist() == expected.lengths.tolist()
    for row, expected_row, length in zip(got.data, expected.data, got.lengths, strict=True):
        assert_close(torch.from_numpy(row[:length]), expected_row[:length], atol=atol, rtol=1e-5)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("core", [(), BLOCKS, ("model.cmvn=running", "model.dropout=0.3")], ids=["", "blocks", "cmvn"])
def test_the_graph_computes_what_the_network_computes_and_keeps_the_contract(pooling, core):
    made = telling(*f"model.pooling={pooling}".split(), *core)
    network = exported(made)
    compare(made, network, atol=1e-4)  # the head's weights are large
    verify_contract(AsTorch(network), features, gradients=False, cuttings=3, atol=1e-4)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("core", [(), BLOCKS], ids=["", "blocks"])
def test_int8_keeps_the_contract_bit_for_bit(pooling, core):
    made = telling(*f"model.pooling={pooling}".split(), *core)
    network = exported(made, int8=True)
    compare(made, network, atol=0.3)  # of logits up to 10
    # Eight bits of the mean of many frames do not notice every one of them.
    verify_contract(AsTorch(network), features, gradients=False, cuttings=3, atol=0.0, slack=8)


def test_a_bidirectional_classifier_is_the_same_of_whole_recordings_and_refuses_pieces():
    made = telling("model.recurrent.direction=bidirectional", "model.cmvn=utterance")
    compare(made, exported(made), atol=1e-4)
    with pytest.raises(UsageError, match="this classifier has no running label: it needs the whole recording"):
        load_classifier(build_file(made).SerializeToString()).stream()


def softmax_alone(scores, x, lengths, state):
    """``running_softmax`` alone, in one call."""
    g = Graph()
    names = [g.input(name, "float64", shape) for name, shape in (("a", ("N", "T", 1)), ("x", ("N", "T", 3)))]
    inside = g.mask(g.input("lengths", "int64", ("N",)), g.size(names[1], 1))
    before = tuple(g.input(f"b{i}", "float64", ("N", *[3] * (i == 2))) for i in range(3))
    y, after = running_softmax(g, *names, inside, before)
    for i, (value, rank) in enumerate(zip((y, *after), (("N", "T", 3), ("N",), ("N",), ("N", 3)), strict=True)):
        g.output(f"o{i}", value, "float64", rank)
    session = open_session(g.model({}).SerializeToString(), "the graph", "graph", "", threads=1)
    feeds = {"a": scores, "x": x, "lengths": lengths} | {f"b{i}": value for i, value in enumerate(state)}
    y, *after = session.run([f"o{i}" for i in range(4)], feeds)
    return y, after


def test_the_running_softmax_is_the_softmax_of_the_frames_so_far_also_of_scores_that_are_far_apart():
    rng = np.random.default_rng(0)
    for scale in (1.0, 2000.0):  # exp(2000) is no float64, and a fall of 2000 leaves later frames a weight of 0
        scores, x = scale * rng.standard_normal((2, 30, 1)), rng.standard_normal((2, 30, 3))
        lengths = np.array([30, 7])
        x[1, 7:] = 0
        start = (np.full(2, -1e30), np.zeros(2), np.zeros((2, 3)))
        y, after = softmax_alone(scores, x, lengths, start)
        for row, length in enumerate(lengths):
            for t in range(length):
                weights = np.exp(scores[row, : t + 1] - scores[row, : t + 1].max())
                np.testing.assert_allclose(y[row, t], (weights * x[row, : t + 1]).sum(0) / weights.sum(), atol=1e-12)
        assert np.isfinite(y).all(), "what lies beyond a row is finite"
        state = start
        for cut, most in ((slice(0, 11), 11), (slice(0, 1), 0), (slice(11, 30), 19)):  # an empty piece among them
            inside = np.clip(lengths - cut.start, 0, most)
            _, state = softmax_alone(scores[:, cut], x[:, cut], inside, state)
        assert all(np.array_equal(whole, pieces) for whole, pieces in zip(after, state, strict=True))


def test_the_metadata_say_what_the_network_is():
    made = tones.classifier(labels=("ja", "nein", "größer"))
    network = exported(made, int8=True)
    metadata = network.metadata
    assert (metadata.settings, metadata.extras["labels"]) == (made.settings, made.labels)
    assert (metadata.stride, metadata.lookahead) == (made.network.stride, made.network.lookahead)
    assert metadata.parameters == sum(p.numel() for p in made.network.parameters())
    assert metadata.weights == "int8"


@pytest.mark.parametrize(("metadata", "message"), [
    ({}, "is no model; a classifier's file; make one with 'recitative export'"),
    ({"recitative.format": "1"}, "is a recognizer model"),
    ({"recitative.kind": "sound"}, "is a sound model"),
    ({"recitative.kind": "classifier"}, "is damaged: its metadata cannot be read"),
    ({"recitative.kind": "classifier", "recitative.card": '{"format": "9"}'}, "has format 9; format 1 or 2"),
])  # fmt: skip
def test_a_file_of_something_else_is_named(tmp_path, metadata, message):
    path = tmp_path / "m.onnx"
    model = build_file(tones.classifier())
    onnx.helper.set_model_props(model, metadata)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(DataError, match=message) as caught:
        load_classifier(path)
    assert str(caught.value).startswith(str(path))


@pytest.fixture(scope="module")
def dev(tmp_path_factory):
    return tones.write_corpus(tmp_path_factory.mktemp("dev"), each=2)


def test_int8_that_costs_too_much_is_left_or_refused(tmp_path, dev, monkeypatch):
    made = tones.classifier()
    right = classifier_export.classify_directory(load_classifier(build_file(made).SerializeToString()), dev)
    names = {u.utt_id: made.labels[k] for u, k in zip(right.utterances, right.predicted.tolist(), strict=True)}
    data = DataDirectory.read(dev)
    for utt_id, name in names.items():
        data = tones.changed(data, utt_id, text=name)
    data.write(tmp_path / "dev")
    monkeypatch.setattr(classifier_export, "measure_ranges", _too_narrow)
    done = export_checked(made, tmp_path / "m.onnx", dev=tmp_path / "dev")
    assert done.float32_errors.rate == 0.0
    assert done.int8_errors.rate > MAX_WER_INCREASE
    assert done.weights == OnnxStage(tmp_path / "m.onnx", CLASSIFIER).metadata.weights == "float32"
    with pytest.raises(DataError, match=r"of accuracy on .* use --weights float32"):
        export_checked(made, tmp_path / "n.onnx", dev=tmp_path / "dev", weights="int8")
    assert not (tmp_path / "n.onnx").exists()


def _too_narrow(network, batches, measure=classifier_export.measure_ranges):
    return {name: np.float32(1e-6) * bound for name, bound in measure(network, batches).items()}


def test_a_development_set_is_needed_and_its_faults_are_told(tmp_path, dev):
    with pytest.raises(UsageError, match="give --dev, or --weights float32"):
        export_checked(tones.classifier(), tmp_path / "m.onnx", dev=None)
    first = DataDirectory.read(dev).utterances[0]
    write_wav(tmp_path / "short.wav", np.zeros(10), tones.RATE)
    bad = tones.changed(DataDirectory.read(dev), first.utt_id, recording_path=str(tmp_path / "short.wav"))
    bad.write(tmp_path / "bad")
    with pytest.raises(DataError, match=r"lasts 0\.0025 s; at least 0\.015 s, one frame of the network"):
        export_checked(tones.classifier(), tmp_path / "m.onnx", dev=tmp_path / "bad")
