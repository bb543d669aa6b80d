"""Recognizers for sherpa-onnx: fed as its loader of WeNet's models feeds them, they give our network's output."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from command_line import refusal, run
from recitative import pretrained
from recitative.kinds import open_stage
from recitative.model.onnx_stage import ort
from recitative.stage import Padded

CHUNK = 16  # the loader's chunk_size: output frames


def as_sherpa_runs(folder: Path, features: np.ndarray) -> np.ndarray:
    """The log probabilities (T, V) of features (T, C) in whole chunks, as online-wenet-ctc-model.cc calls the graph."""
    session = ort.InferenceSession(folder / "model.onnx")  # not through recitative, whose metadata the file lacks
    facts = session.get_modelmeta().custom_metadata_map
    head, blocks, width, kernel, right, stride = (
        int(facts[name])
        for name in ("head", "num_blocks", "output_size", "cnn_module_kernel", "right_context", "subsampling_factor")
    )
    attention = np.zeros((blocks, head, CHUNK, width // head * 2), np.float32)
    convolution = np.zeros((blocks, 1, width, kernel - 1), np.float32)
    window, shift = (CHUNK - 1) * stride + right + 1, CHUNK * stride
    assert window == shift
    outputs = []
    for number in range(len(features) // shift):
        chunk = features[None, number * shift : (number + 1) * shift]
        log_probs, attention, convolution = session.run(None, {
            "chunk": chunk, "offset": np.array([number * CHUNK]), "required_cache_size": np.array([CHUNK]),
            "attn_cache": attention, "conv_cache": convolution, "attn_mask": np.ones((1, 1, 2 * CHUNK), bool),
        })  # fmt: skip
        outputs.append(log_probs[0])
    return np.concatenate(outputs)


@pytest.mark.parametrize("model", ["an4-streaming", "en"])
def test_the_network_gives_the_same_in_the_form_of_sherpa(model: str, tmp_path: Path) -> None:
    made = run("export", model, "--sherpa", "--output", tmp_path)
    assert made.out == f"{tmp_path}: model.onnx, tokens.txt, for OnlineRecognizer.from_wenet_ctc\n"
    _, stage, settings, extras = open_stage(pretrained.path_of(model))
    features = np.random.default_rng(0).standard_normal((576, settings.features.dim)).astype(np.float32)
    found = as_sherpa_runs(tmp_path, features)
    whole, _ = stage.step(Padded(features[None], np.array([576])), stage.initial_state(1), last=False)
    assert len(found) == whole.lengths[0] > 100
    expected = whole.data[0, : whole.lengths[0]]
    np.testing.assert_array_equal(found.argmax(1), expected.argmax(1))
    np.testing.assert_allclose(found, expected, atol=0.1)  # 8-bit values of chunks of another length are rounded apart
    lines = (tmp_path / "tokens.txt").read_text().splitlines()
    assert lines[0] == "<blk> 0"
    assert [line.split()[0] for line in lines[1:]] == list(extras["tokens"].symbols[1:])


@pytest.mark.parametrize(
    ("model", "said"),
    [("an4-bidirectional", "does not stream; one whose core is forward"), ("chorales", "is a music model")],
)
def test_what_sherpa_cannot_run_is_refused(model: str, said: str, tmp_path: Path) -> None:
    assert said in refusal("export", model, "--sherpa", "--output", tmp_path / "out", status=1)
    assert not (tmp_path / "out").exists()
