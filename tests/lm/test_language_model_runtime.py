"""A language model's file scores as its folder does, keeps the contract, needs no torch, and knows its own kind."""

import subprocess
import sys

import numpy as np
import onnx
import pytest
import torch

from contract import AsTorch, verify_contract
from recitative.errors import DataError
from recitative.lm.recurrent import LANGUAGE_MODEL, LanguageModelSettings
from recitative.lm.task import new_language_model, new_scorer
from recitative.model.export import build_file, export_model
from recitative.model.onnx_stage import open_file
from recitative.stage import Padded
from recitative.text.tokens import Vocabulary

TEXTS = ["the cat sat", "on the mat", "", "a cat on a mat ran", "a"]
SHAPES = [
    {},
    {"embedding": 8},
    {"tied": False, "recurrent": {"hidden": 8, "layers": 2, "residual": True, "layer_norm": True}},
    {"recurrent": {"hidden": 8, "projection": 5, "cell": "gru"}},
    {"recurrent": {"hidden": 8, "cell": "rnn_tanh"}},
]


def language_model(unit="word", **network):
    torch.manual_seed(0)
    values = {"embedding": 6, "recurrent": {"hidden": 8}} | network
    settings = LanguageModelSettings.model_validate({"text": {"unit": unit}, "model": values})
    model = new_language_model(settings, Vocabulary.from_texts(TEXTS, unit))
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.mul_(3.0)
    model.network.eval()
    return model


def content(model):
    return build_file(model, notes="from a test").SerializeToString()


@pytest.mark.parametrize("unit", ["word", "character"])
@pytest.mark.parametrize("network", SHAPES)
def test_the_file_scores_as_the_folder_does(unit, network):
    model = language_model(unit, **network)
    folder, file = new_scorer(model), open_file(content(model), LANGUAGE_MODEL)
    assert file.score_texts(TEXTS) == pytest.approx(folder.score_texts(TEXTS), abs=1e-4)
    states = [folder.start(), file.start()]
    for word in ("a", "cat", "the", "dog", "sat"):
        scores = [scorer.score(state, word) for scorer, state in zip((folder, file), states, strict=True)]
        states = [state for _, state in scores]
        assert scores[1][0] == pytest.approx(scores[0][0], abs=1e-4)
    assert file.finish(states[1]) == pytest.approx(folder.finish(states[0]), abs=1e-4)


@pytest.mark.parametrize("network", SHAPES)
def test_the_graph_keeps_the_contract(network):
    model = language_model(**network)
    stage = AsTorch(open_file(content(model), LANGUAGE_MODEL).network)
    verify_contract(
        stage,
        lambda shape, g: torch.randint(0, len(model.vocabulary), shape, generator=g),
        gradients=False,
        cuttings=3,
        atol=1e-4,  # of logarithms down to -30
    )


def test_padding_may_be_any_number():
    network = open_file(content(language_model()), LANGUAGE_MODEL).network
    x = Padded(np.array([[1, 2, 3], [4, -1, 10**9]]), np.array([3, 1]))
    y, state = network.step(x, network.initial_state(2), last=False)
    alone, alone_state = network.step(Padded(x.data[1:, :1], x.lengths[1:]), network.initial_state(1), last=False)
    np.testing.assert_allclose(y.data[1, 0], alone.data[0, 0], atol=1e-5)
    for name, value in alone_state.items():
        np.testing.assert_allclose(state[name][1:], value, atol=1e-6)


def test_a_tied_table_is_stored_once():
    tied, untied = (build_file(language_model(embedding=8, tied=tied)) for tied in (True, False))
    tables = [sum(list(array.dims) in ([9, 8], [8, 9]) for array in file.graph.initializer) for file in (tied, untied)]
    assert tables == [1, 2]


def test_a_file_runs_without_torch(tmp_path):
    path = tmp_path / "lm.onnx"
    size = export_model(language_model(), path)
    assert path.stat().st_size == size
    program = (
        "import sys\n"
        "from recitative.model.onnx_stage import open_file\n"
        "from recitative.lm.recurrent import LANGUAGE_MODEL\n"
        "from recitative.lm.recurrent import next_words\n"
        "from pathlib import Path\n"
        f"model = open_file(Path({str(path)!r}), LANGUAGE_MODEL)\n"
        "print(model.score_texts(['the cat'])[0], len(next_words(model, 'the', 3)))\n"
        "sys.exit('torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    score, words = done.stdout.split()
    assert float(score) == pytest.approx(new_scorer(language_model()).score_texts(["the cat"])[0], abs=1e-4)
    assert words == "3"


@pytest.mark.parametrize("card", ["{", "{}"])
def test_damaged_metadata_of_release_0_1_are_named(tmp_path, card):
    with pytest.raises(DataError, match=r"lm\.onnx: does not exist; a language model's file; make one with"):
        open_file(tmp_path / "lm.onnx", LANGUAGE_MODEL)
    file = build_file(language_model())
    onnx.helper.set_model_props(file, {"recitative.kind": "language_model", "recitative.card": card})
    (tmp_path / "lm.onnx").write_bytes(file.SerializeToString())
    with pytest.raises(DataError, match=r"lm\.onnx: is damaged: its metadata cannot be read"):
        open_file(tmp_path / "lm.onnx", LANGUAGE_MODEL)
