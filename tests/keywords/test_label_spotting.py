"""Keywords by a classifier's folder and file, from the command line and from Python."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tones
from typer.testing import CliRunner

from recitative.audio.files import write_wav
from recitative.cli.main import app
from recitative.data.directory import DataDirectory, Utterance
from recitative.errors import DataError, UsageError
from recitative.keywords.evaluation import KeywordThresholds
from recitative.keywords.spotter import Spotter
from recitative.model.export.quantization import export_checked
from recitative.model.folder import save_model

KEYWORDS = "low:0.4, high:0.4"  # the model below has learned nothing
TEXT = "low high middle low high"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labels")
    made = tones.classifier("model.pooling=recent", "model.pooling_frames=6", seed=3)
    save_model(made, folder / "model")
    export_checked(made, folder / "m.onnx", dev=None, weights="float32")
    export_checked(tones.classifier(), folder / "whole.onnx", dev=None, weights="float32")
    rng = np.random.default_rng(0)
    parts = [tones.tone(label, 0.4, rng) for label in TEXT.split()]
    write_wav(folder / "a.wav", np.concatenate(parts), tones.RATE)
    DataDirectory((Utterance("s-a", "s", str(folder / "a.wav"), text=TEXT),)).write(folder / "data")
    return folder


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def said(hits):
    return [(hit.keyword, hit.start_s, hit.end_s) for hit in hits]


def objects(done):
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_folder_file_stream_and_python_have_the_same_hits(place) -> None:
    hits = said(Spotter.load(place / "m.onnx", KEYWORDS).spot(place / "a.wav"))
    assert len(hits) > 1
    options = ["--keywords", KEYWORDS, "--format", "jsonl"]
    for command in (
        ["spot", place / "a.wav", "--jobs", 1, "--model", place / "m.onnx"],
        ["spot", place / "a.wav", "--jobs", 1, "--model", place / "model"],
        ["listen", "--input", place / "a.wav", "--model", place / "m.onnx"],
    ):
        assert [(o["keyword"], o["start"], o["end"]) for o in objects(run(*command, *options))] == hits


def write_times(place, *words):
    (place / "data" / "words.ctm").write_text("".join(f"s-a 1 {start} 0.4 {word}\n" for start, word in words))


def test_thresholds_are_tuned_and_scored_by_the_times_that_the_data_tell(place) -> None:
    fixed = [place / "m.onnx", place / "data", "--keywords", "low, high"]
    write_times(place, *[(0.4 * i, word) for i, word in enumerate(TEXT.split())])
    done = run("keywords", "tune", *fixed, "--output", place / "t.json", "--false-alarms-per-hour", 1e6)
    assert done.exit_code == 0, done.output
    file = KeywordThresholds.read(place / "t.json")
    assert set(file.thresholds) == {"low", "high"}
    assert run("keywords", "score", *fixed, "--thresholds", place / "t.json", "--output", place / "out").exit_code == 0
    scored = json.loads((place / "out" / "keywords.json").read_text())
    hits = Spotter.load(place / "m.onnx", "low, high", file.thresholds).spot(place / "a.wav")
    found = scored["all"]["occurrences"] - scored["all"]["missed"]
    assert scored["all"]["occurrences"] == 4
    assert found + scored["all"]["false_alarms"] == len(hits)


def test_without_times_a_word_may_be_anywhere_in_its_utterance(place) -> None:
    (place / "data" / "words.ctm").unlink(missing_ok=True)
    fixed = [place / "m.onnx", place / "data", "--keywords", KEYWORDS]
    done = run("keywords", "score", *fixed, "--output", place / "anywhere")
    assert done.exit_code == 0, done.output
    scored = json.loads((place / "anywhere" / "keywords.json").read_text())
    hits = Spotter.load(place / "m.onnx", KEYWORDS).spot(place / "a.wav")
    found = sum(min(2, sum(hit.keyword == word for hit in hits)) for word in ("low", "high"))
    assert scored["all"]["occurrences"] - scored["all"]["missed"] == found > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            [(0, "low"), (0.4, "high")],
            r"words.ctm: utterance 's-a' says 'low high'; its transcript, 'low high middle low",
        ),
        (
            [("x", "low")],
            r"words.ctm:1: 's-a 1 x 0.4 low' is no word with its time; utterance channel start_s duration_s",
        ),
    ],
)
def test_times_that_do_not_fit_are_named(place, words, message) -> None:
    write_times(place, *words)
    done = run("keywords", "score", place / "m.onnx", place / "data", "--keywords", "low", "--output", place / "out")
    with pytest.raises(DataError, match=message):
        raise done.exception


@pytest.mark.parametrize(
    ("model", "arguments", "error", "message"),
    [
        ("m.onnx", ["--keywords", "yes"], DataError, "keyword 'yes': is no label of the classifier; one of its labels"),
        ("model", ["--keywords", "low=L"], UsageError, "a classifier hears whole labels and takes no pronunciation"),
        ("m.onnx", ["--keywords", "low", "--within-words"], UsageError, "--within-words: is for recognizers"),
        ("whole.onnx", ["--keywords", "low"], UsageError, "this classifier names whole recordings"),
    ],
)
def test_bad_input_is_told(place, model, arguments, error, message) -> None:
    done = run("spot", place / "a.wav", "--jobs", 1, "--model", place / model, *arguments)
    assert isinstance(done.exception, error)
    assert message in str(done.exception)
