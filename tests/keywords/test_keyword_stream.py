"""Keywords in recordings, streams and live audio: the same hits however the audio comes, and what a user is told."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
import tiny
from typer.testing import CliRunner

from recitative.asr.stream import Listener
from recitative.audio.files import write_wav
from recitative.audio.live import Block
from recitative.cli.main import app
from recitative.errors import DataError, UsageError
from recitative.keywords.spotter import Spotter
from recitative.model.export.quantization import export_checked
from recitative.model.folder import save_model

KEYWORDS = "a:0.05, cb:0.05, b:0.05"  # the model below has learned nothing


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("spotting")
    made = tiny.recognizer(seed=2, recurrent={"direction": "forward", "layers": 1, "hidden": 16})
    save_model(made, folder / "model")
    export_checked(made, folder / "m.onnx", dev=None, weights="float32")
    write_wav(folder / "a.wav", speech(), tiny.RATE)
    return folder


@pytest.fixture(scope="module")
def spotter(place):
    return Spotter.load(place / "m.onnx", KEYWORDS)


def speech():
    rng = np.random.default_rng(5)
    silence = np.zeros(tiny.RATE // 2, np.float32)
    return np.concatenate(
        [part for text in ("abc acab", "cab b a cb", "ac") * 5 for part in (tiny.speak(text, rng), silence)]
    )


def said(hits):
    """Without the confidences: those feel the order of float32's sums."""
    return [(hit.keyword, hit.start_s, hit.end_s) for hit in hits]


def test_a_stream_has_the_hits_of_the_recording_each_once(spotter) -> None:
    samples = speech()
    whole = spotter.spot(samples)
    assert len(whole) > 5
    assert whole[-1].start_s > 5.0  # behind the first cut
    for size in (333, 4000):
        stream = spotter.stream()
        heard = [stream.accept(samples[i : i + size], tiny.RATE) for i in range(0, len(samples), size)]
        assert said([hit for hits in heard for hit in hits] + [*stream.finish()]) == said(whole)
        assert stream._decoded.detections == ()


def test_live_audio_has_the_same_hits_and_what_they_cost(spotter) -> None:
    samples = speech()
    listener = Listener(spotter.stream(), tiny.RATE)
    blocks = [Block(samples[i : i + 1234], time.monotonic()) for i in range(0, len(samples), 1234)]
    assert said(listener.listen(blocks)) == said(spotter.spot(samples))
    assert listener.cost.audio_s == pytest.approx(len(samples) / tiny.RATE)
    assert len(listener.cost.delays_s) == len(blocks)


def test_a_model_that_needs_the_whole_recording_spots_but_does_not_stream(place) -> None:
    export_checked(tiny.recognizer(seed=2), place / "whole.onnx", dev=None, weights="float32")
    spotter = Spotter.load(place / "whole.onnx", KEYWORDS)
    assert spotter.spot(speech())
    with pytest.raises(UsageError, match="a bidirectional model cannot stream"):
        spotter.stream()


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def spot(place, *arguments, model="m.onnx"):
    fixed = ["spot", place / "a.wav", "--jobs", "1", "--model", place / model]
    return run(*fixed, *arguments)


def test_a_folder_and_a_file_have_the_same_hits_in_both_formats(place, spotter) -> None:
    text = spot(place, "--keywords", KEYWORDS)
    assert text.exit_code == 0, text.output
    rows = [line.split("\t") for line in text.stdout.splitlines()]
    hits = spotter.spot(place / "a.wav")
    assert [row[0] for row in rows] == [str(place / "a.wav")] * len(hits)
    assert [(row[3], row[1]) for row in rows] == [(hit.keyword, f"{hit.start_s:.2f}") for hit in hits]
    lines = spot(place, "--keywords", KEYWORDS, "--format", "jsonl", model="model").stdout.splitlines()
    objects = [json.loads(line) for line in lines]
    assert [(o["keyword"], o["start"], o["end"]) for o in objects] == said(hits)
    assert all(0.0 < o["confidence"] <= 1.0 for o in objects)
    assert objects[0] | hits[0].to_dict() == objects[0]
    told = {"schema": 1, "file": str(place / "a.wav"), "model": f"{place.name}/model"}
    assert objects[0] | told == objects[0]


def test_listening_prints_hits_with_times_or_as_json(place, spotter) -> None:
    fixed = ["listen", "--input", place / "a.wav", "--model", place / "m.onnx", "--keywords", KEYWORDS]
    hits = spotter.spot(place / "a.wav")
    done = run(*fixed)
    assert [line.split("\t")[2] for line in done.stdout.splitlines()] == [hit.keyword for hit in hits]
    assert "real-time factor" in done.stderr
    objects = [json.loads(line) for line in run(*fixed, "--format", "jsonl").stdout.splitlines()]
    assert [(o["keyword"], o["start"], o["end"]) for o in objects] == said(hits)
    assert [(o["schema"], o["model"], o["type"]) for o in objects] == [(1, "m.onnx", "spotted")] * len(hits)


def test_keywords_may_stand_in_a_file(place) -> None:
    (place / "words.txt").write_text("a:0.05\ncb:0.05 # two letters\nb:0.05\n")
    expected = spot(place, "--keywords", KEYWORDS).stdout
    assert expected
    assert spot(place, "--keywords", place / "words.txt").stdout == expected


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["--keywords", ""], UsageError, "keywords: none is named"),
        (["--keywords", "a,b,a"], UsageError, "keyword 'a': stands twice"),
        (["--keywords", "axe"], DataError, "keyword 'axe': has 'e', 'x', which the model never writes"),
        (["--keywords", "a", "--thresholds", "nowhere"], DataError, "nowhere: does not exist"),
    ],
)
def test_bad_input_is_told(place, arguments, error, message) -> None:
    done = spot(place, *arguments)
    assert isinstance(done.exception, error)
    assert message in str(done.exception)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--keywords", "a", "--hotwords", "b"], "--keywords: looks for these alone; leave out"),
        (["--within-words"], "--thresholds and --within-words: are of keywords; add --keywords"),
    ],
)
def test_listening_does_one_thing_at_a_time(place, arguments, message) -> None:
    done = run("listen", "--input", place / "a.wav", "--model", place / "m.onnx", *arguments)
    assert isinstance(done.exception, UsageError)
    assert message in str(done.exception)


def test_a_bad_recording_is_named_and_the_others_are_done(place) -> None:
    (place / "bad.wav").write_bytes(b"RIFF")
    done = spot(place, place / "bad.wav", "--keywords", KEYWORDS)
    assert done.exit_code == 1
    assert "bad.wav" in done.stderr
    assert "1 of 2 recordings could not be heard" in done.stderr
    assert str(place / "a.wav") in done.stdout
