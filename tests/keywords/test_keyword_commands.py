"""Keywords in recordings, streams and live audio, by recognizers and classifiers: equal detections, refused input."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
import tiny
import tones

from command_line import refusal, run
from recitative.asr.stream import Listener
from recitative.audio.files import write_wav
from recitative.audio.live import Block
from recitative.data.directory import DataDirectory, Utterance
from recitative.errors import UsageError
from recitative.keywords.spotter import KeywordThresholds, Spotter
from recitative.model.export import export_checked
from recitative.model.folder import save_model

KEYWORDS = "a:0.05, cb:0.05, b:0.05"  # the models below have learned nothing
LABELS = "low:0.4, high:0.4"
TEXT = "low high middle low high"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A recognizer with a.wav, and a classifier with tones.wav and a data directory of it."""
    folder = tmp_path_factory.mktemp("spotting")
    made = tiny.talker()
    save_model(made, folder / "model")
    export_checked(made, folder / "m.onnx", dev=None, weights="float32")
    write_wav(folder / "a.wav", speech(), tiny.RATE)
    made = tones.classifier("model.pooling=recent", "model.pooling_frames=6", seed=3)
    save_model(made, folder / "tones")
    export_checked(made, folder / "tones.onnx", dev=None, weights="float32")
    export_checked(tones.classifier(), folder / "whole.onnx", dev=None, weights="float32")
    rng = np.random.default_rng(0)
    write_wav(folder / "tones.wav", np.concatenate([tones.tone(name, 0.4, rng) for name in TEXT.split()]), tones.RATE)
    DataDirectory((Utterance("s-a", "s", str(folder / "tones.wav"), text=TEXT),)).write(folder / "data")
    return folder


@pytest.fixture(scope="module")
def spotter(place):
    return Spotter.load(place / "m.onnx", KEYWORDS)


def speech():
    rng, silence = np.random.default_rng(5), np.zeros(tiny.RATE // 2, np.float32)
    texts = ("abc acab", "cab b a cb", "ac") * 5
    return np.concatenate([part for text in texts for part in (tiny.speak(text, rng), silence)])


def spans(detections):
    """Without the confidences, which depend on the order of float32's sums."""
    return [(one.keyword, one.start_s, one.end_s) for one in detections]


def spot(place, *arguments, model="m.onnx", file="a.wav", status=0):
    return run("spot", place / file, "--jobs", 1, "--model", place / model, *arguments, status=status)


def objects(done):
    return [json.loads(line) for line in done.lines]


def test_a_stream_has_the_detections_of_the_recording_each_once(spotter) -> None:
    samples = speech()
    whole = spotter.spot(samples)
    assert len(whole) > 5
    assert whole[-1].start_s > 5.0  # behind the first cut
    for size in (333, 4000):
        stream = spotter.stream()
        found = [one for i in range(0, len(samples), size) for one in stream.accept(samples[i : i + size], tiny.RATE)]
        assert spans([*found, *stream.finish()]) == spans(whole)
        assert stream._decoded.detections == ()


def test_live_audio_has_the_same_detections_and_their_cost(spotter) -> None:
    samples = speech()
    listener = Listener(spotter.stream(), tiny.RATE)
    blocks = [Block(samples[i : i + 1234], time.monotonic()) for i in range(0, len(samples), 1234)]
    assert spans(listener.listen(blocks)) == spans(spotter.spot(samples))
    assert listener.cost.audio_s == pytest.approx(len(samples) / tiny.RATE)
    assert len(listener.cost.delays_s) == len(blocks)


def test_a_model_that_needs_the_whole_recording_spots_but_does_not_stream(place) -> None:
    export_checked(tiny.recognizer(seed=2), place / "bidirectional.onnx", dev=None, weights="float32")
    spotter = Spotter.load(place / "bidirectional.onnx", KEYWORDS)
    assert spotter.spot(speech())
    with pytest.raises(UsageError, match="a bidirectional model cannot stream"):
        spotter.stream()


def test_text_has_a_line_for_each_detection_and_jsonl_an_object(place, spotter) -> None:
    detections = spotter.spot(place / "a.wav")
    rows = [line.split("\t") for line in spot(place, "--keywords", KEYWORDS).lines]
    assert [row[0] for row in rows] == [str(place / "a.wav")] * len(detections)
    assert [(row[3], row[1]) for row in rows] == [(one.keyword, f"{one.start_s:.2f}") for one in detections]
    found = objects(spot(place, "--keywords", KEYWORDS, "--format", "jsonl", model="model"))
    assert all(0.0 < one["confidence"] <= 1.0 for one in found)
    assert found[0] | detections[0].to_dict() == found[0]
    known = {"schema": 1, "file": str(place / "a.wav"), "model": f"{place.name}/model", "type": "spotted"}
    assert found[0] | known == found[0]
    listened = run("listen", "--input", place / "a.wav", "--model", place / "m.onnx", "--keywords", KEYWORDS)
    assert [line.split("\t")[2] for line in listened.lines] == [one.keyword for one in detections]
    assert "real-time factor" in listened.err


@pytest.mark.parametrize(("name", "file", "keywords"), [("m", "a.wav", KEYWORDS), ("tones", "tones.wav", LABELS)])
def test_folder_file_live_audio_and_python_have_the_same_detections(place, name, file, keywords) -> None:
    expected = spans(Spotter.load(place / f"{name}.onnx", keywords).spot(place / file))
    assert len(expected) > 1
    options = ["--keywords", keywords, "--format", "jsonl"]
    for done in (
        spot(place, *options, model=f"{name}.onnx", file=file),
        spot(place, *options, model="model" if name == "m" else name, file=file),
        run("listen", "--input", place / file, "--model", place / f"{name}.onnx", *options),
    ):
        assert [(one["keyword"], one["start"], one["end"]) for one in objects(done)] == expected


def test_keywords_may_stand_in_a_file(place) -> None:
    (place / "words.txt").write_text("a:0.05\ncb:0.05 # two letters\nb:0.05\n")
    expected = spot(place, "--keywords", KEYWORDS).out
    assert expected
    assert spot(place, "--keywords", place / "words.txt").out == expected


@pytest.mark.parametrize(("model", "arguments", "status", "message"), [
    ("m.onnx", ["axe"], 1, "keyword 'axe': has 'e', 'x', which the model never writes"),
    ("m.onnx", ["a", "--thresholds", "nowhere"], 1, "nowhere: does not exist"),
    ("m.onnx", ["a:0.5, b:0.5", "--thresholds", "t.json"], 2, "t.json: all keywords have a threshold of their own"),
    ("tones.onnx", ["low", "--within-words"], 2, "--within-words: only for recognizers"),
    ("whole.onnx", ["low"], 2, "this classifier names whole recordings"),
])  # fmt: skip
def test_keywords_that_do_not_fit_the_model_are_refused(place, model, arguments, status, message) -> None:
    assert message in spot(place, "--keywords", *arguments, model=model, status=status).err


@pytest.mark.parametrize(("arguments", "message"), [
    (["--keywords", "a", "--silence-s", "3"], "--longest-s: of utterances, not with --keywords"),
    (["--keywords", "a", "--hotwords", "b"], "--keywords: excludes the options of decoding"),
    (["--within-words"], "--thresholds and --within-words: require --keywords"),
])  # fmt: skip
def test_listening_does_one_thing_at_a_time(place, arguments, message) -> None:
    assert message in refusal("listen", "--input", place / "a.wav", "--model", place / "m.onnx", *arguments)


def test_a_bad_recording_is_reported_and_the_others_are_processed(place) -> None:
    (place / "bad.wav").write_bytes(b"RIFF")
    done = spot(place, place / "bad.wav", "--keywords", KEYWORDS, status=1)
    assert "bad.wav" in done.err
    assert "1 of 2 recordings could not be searched" in done.err
    assert str(place / "a.wav") in done.out


def write_times(place, *words):
    (place / "data" / "words.ctm").write_text("".join(f"s-a 1 {start} 0.4 {word}\n" for start, word in words))


def scored(place, *arguments):
    """The counts of all keywords together, of the classifier on its data directory."""
    fixed = [place / "tones.onnx", place / "data", "--output", place / "out"]
    run("keywords", "score", *fixed, *arguments)
    return json.loads((place / "out" / "keywords.json").read_text())["all"]


def test_thresholds_of_labels_are_tuned_and_scored_by_the_word_times_of_the_data(place) -> None:
    write_times(place, *[(0.4 * i, word) for i, word in enumerate(TEXT.split())])
    fixed = [place / "tones.onnx", place / "data", "--keywords", "low, high"]
    tune = ["--output", place / "t.json", "--false-alarms-per-hour", 1e6]
    assert "not used" not in run("keywords", "tune", *fixed, *tune).err
    said = run("keywords", "tune", *fixed[:2], "--keywords", "low:0.9, high", *tune).err
    assert "those given are not used: low" in said
    file = KeywordThresholds.read(place / "t.json")
    assert set(file.thresholds) == {"low", "high"}
    counts = scored(place, "--keywords", "low, high", "--thresholds", place / "t.json")
    detections = Spotter.load(place / "tones.onnx", "low, high", file.thresholds).spot(place / "tones.wav")
    assert counts["occurrences"] == 4
    assert counts["occurrences"] - counts["missed"] + counts["false_alarms"] == len(detections)


def test_without_word_times_a_label_may_be_anywhere_in_its_utterance(place) -> None:
    (place / "data" / "words.ctm").unlink(missing_ok=True)
    counts = scored(place, "--keywords", LABELS)
    detections = Spotter.load(place / "tones.onnx", LABELS).spot(place / "tones.wav")
    found = sum(min(2, sum(one.keyword == word for one in detections)) for word in ("low", "high"))
    assert counts["occurrences"] - counts["missed"] == found > 0


@pytest.mark.parametrize(("words", "message"), [
    ([(0, "low"), (0.4, "high")], "words.ctm: utterance 's-a' says 'low high'; its transcript, 'low high middle low"),
    ([("x", "low")], "words.ctm:1: 's-a 1 x 0.4 low' is no word with its time; utterance channel start_s duration_s"),
])  # fmt: skip
def test_word_times_that_do_not_fit_are_refused(place, words, message) -> None:
    write_times(place, *words)
    fixed = [place / "tones.onnx", place / "data", "--keywords", "low"]
    assert message in refusal("keywords", "score", *fixed, "--output", place / "out", status=1)
