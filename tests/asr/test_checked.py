"""Export with a development set: what is measured, what is written, what is refused."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import tiny

from command_line import run
from recitative.asr import tuning
from recitative.asr.kind import RECOGNIZER
from recitative.asr.network import new_transcriber
from recitative.asr.stream import load_transcriber
from recitative.data.directory import DataDirectory
from recitative.errors import DataError, UsageError
from recitative.features.extraction import read_utterance
from recitative.model.export import MAX_WER_INCREASE, export_checked
from recitative.model.folder import save_model
from recitative.model.onnx_stage import OnnxStage

FORWARD = {"recurrent": {"direction": "forward", "layers": 2, "hidden": 16}}


@pytest.fixture
def corpus(tmp_path):
    return tiny.write_corpus(tmp_path / "dev", 6, 1)


def test_float32_says_what_pytorch_says(tmp_path, corpus):
    made = tiny.recognizer(**FORWARD)
    export_checked(made, tmp_path / "m.onnx", dev=None, weights="float32")
    rng = np.random.default_rng(3)
    rows = [tiny.speak(text, rng) for text in ("abc a", "b", "cab cab")]
    expected = tiny.said(new_transcriber(made).transcribe(rows))
    assert sum(map(len, expected)) > 5
    assert tiny.said(load_transcriber(tmp_path / "m.onnx").transcribe(rows)) == expected


@pytest.mark.parametrize("chunk", [7, 333, None])
def test_int8_gives_the_same_text_and_times_however_it_is_cut_and_batched(tmp_path, corpus, chunk):
    export_checked(tiny.recognizer(**FORWARD), tmp_path / "m.onnx", dev=corpus)
    transcriber = load_transcriber(tmp_path / "m.onnx")
    rng = np.random.default_rng(3)
    rows = [tiny.speak(text, rng) for text in ("abc a", "b", "cab cab")]
    whole = transcriber.transcribe(rows)
    assert transcriber.transcribe(rows, chunk_samples=chunk) == whole
    assert [transcriber.transcribe([row], chunk_samples=chunk)[0] for row in rows] == whole


def test_int8_needs_something_to_be_measured_on(tmp_path):
    with pytest.raises(UsageError, match="give --dev, or --weights float32"):
        export_checked(tiny.recognizer(), tmp_path / "m.onnx", dev=None)
    assert not (tmp_path / "m.onnx").exists()


def test_int8_that_costs_too_much_is_left_or_refused(tmp_path, corpus, monkeypatch):
    made = tiny.recognizer(**FORWARD)
    _let_the_model_be_right(made, corpus)
    monkeypatch.setattr(tuning, "measure_inputs", _too_narrow)
    done = export_checked(made, tmp_path / "m.onnx", dev=corpus)
    assert done.float32_errors.rate == 0.0
    assert done.int8_errors.rate > MAX_WER_INCREASE
    assert done.weights == "float32"
    assert OnnxStage(tmp_path / "m.onnx", RECOGNIZER).metadata.weights == "float32"
    with pytest.raises(DataError, match=r"of WER on .* use --weights float32"):
        export_checked(made, tmp_path / "n.onnx", dev=corpus, weights="int8")
    assert not (tmp_path / "n.onnx").exists()


def _let_the_model_be_right(made, corpus):
    utterances = DataDirectory.read(corpus).utterances
    texts = [new_transcriber(made).transcribe([read_utterance(u)])[0].text for u in utterances]
    right = tuple(replace(u, text=text) for u, text in zip(utterances, texts, strict=True) if text)
    assert len(right) >= 3
    shutil.rmtree(corpus)
    DataDirectory(right).write(corpus)


def _too_narrow(made, batches, measure=tuning.measure_inputs):
    return {
        name: replace(found, lowest=1e-3 * found.lowest, highest=1e-3 * found.highest)
        for name, found in measure(made, batches).items()
    }


def test_the_command_line_writes_and_describes_a_file(tmp_path, corpus):
    save_model(tiny.recognizer(**FORWARD), tmp_path / "model")
    (tmp_path / "notes").write_text("made of tones")
    model, output = str(tmp_path / "model"), str(tmp_path / "m.onnx")
    done = run("export", model, "--output", output, "--dev", corpus, "--notes", tmp_path / "notes")
    assert "float32: dev WER" in done.out + done.err
    shown = run("info", output).out
    assert "lstm, forward, 2 x 16" in shown
    assert "4 characters, one frame every 10 ms" in shown
    assert "latency  12.25 ms (algorithmic)" in shown
    assert "<space> a b c" in shown
    assert "made of tones" in shown
