"""The verbs of forecasters, from training to what is unusual in a recording."""

import shutil
from importlib.util import find_spec
from xml.etree import ElementTree

import numpy as np
import pytest
import soundfile

import small_forecaster
from command_line import refusal, run
from recitative.anomaly.detector import FORECASTER, AlarmFinder, Threshold
from recitative.audio.files import write_wav
from recitative.cli.classify import open_detector
from recitative.model.folder import load_model
from recitative.score.results import read_results

RATE = small_forecaster.RATE


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Data directories of hums, a model that knows them, its file, and a hum with another tone from 1.5 to 2.5 s."""
    folder = tmp_path_factory.mktemp("detect")
    train = small_forecaster.write_corpus(folder / "train", seed=1)
    dev = small_forecaster.write_corpus(folder / "dev", count=3, seed=2)
    small_forecaster.write_corpus(folder / "other", count=3, seed=3, tone_hz=1200.0)
    places = ("--train", train, "--dev", dev, "--output", folder / "exp")
    more = ("train.epochs=12", "train.learning_rate=0.02", "detection.false_alarms=0")
    run("forecaster", "train", "--quiet", *places, *small_forecaster.TINY, *more)
    run("forecaster", "export", folder / "exp" / "model", "--output", folder / "hum.onnx")
    rng = np.random.default_rng(4)
    parts = [small_forecaster.hum(seconds, rng, hz) for seconds, hz in ((1.5, 300), (1, 1200), (1.5, 300))]
    write_wav(folder / "mixed.wav", np.concatenate(parts), RATE)
    return folder


def test_the_stretch_that_is_unusual_is_printed_with_its_times(folder):
    lines = [line.split("\t") for line in run("detect", folder / "mixed.wav", "--model", folder / "hum.onnx").lines]
    longest = max(lines, key=lambda line: float(line[2]) - float(line[1]))
    assert longest[0] == str(folder / "mixed.wav")
    assert float(longest[1]) == pytest.approx(1.5, abs=0.1)
    assert float(longest[2]) == pytest.approx(2.5, abs=0.1)


def test_a_folder_and_its_file_find_the_same(folder):
    first, second = (
        run("detect", folder / "mixed.wav", "--model", folder / model, "--format", "json").json[0]
        for model in ("exp/model", "hum.onnx")
    )
    assert first["duration"] == second["duration"] == 4.0
    assert (first["schema"], first["model"], second["model"]) == (1, "exp/model", "hum.onnx")
    assert first["score"] == pytest.approx(second["score"], abs=1e-3)
    assert [(a["start"], a["end"]) for a in first["alarms"]] == [(a["start"], a["end"]) for a in second["alarms"]]
    assert max(alarm["score"] for alarm in first["alarms"]) == first["score"] > first["threshold"]


def test_a_stream_has_the_alarms_of_the_recording_however_it_is_cut(folder):
    detector = open_detector(folder / "hum.onnx")
    samples, _ = soundfile.read(folder / "mixed.wav", dtype="float32")
    whole = [
        a for heard in detector.detect_file(folder / "mixed.wav", threshold=detector.threshold) for a in heard.alarms
    ]
    assert any(abs(alarm.start_s - 1.5) < 0.15 for alarm in whole)
    for rate, sound in ((RATE, samples), (2 * RATE, np.repeat(samples, 2))):
        stream = detector.stream()
        alarms = [a for piece in np.array_split(sound, 37) for a in stream.accept(piece, rate)]
        assert not any(alarm.end_s > stream.duration_s for alarm in alarms)
        alarms += stream.finish()
        assert any(abs(alarm.start_s - 1.5) < 0.15 for alarm in alarms)
        if rate == RATE:
            assert [round(a.start_s, 2) for a in alarms] == [round(a.start_s, 2) for a in whole]
        assert stream.accept(sound[:100], rate) == [], "a finished stream is new"


@pytest.mark.parametrize("block_s", [0.013, 0.4, 100.0])
def test_scores_do_not_depend_on_the_blocks_of_a_recording(folder, block_s):
    detector = open_detector(folder / "hum.onnx")
    whole = np.concatenate([heard.scores for heard in detector.detect_file(folder / "mixed.wav")])
    pieces = [heard.scores for heard in detector.detect_file(folder / "mixed.wav", block_s)]
    np.testing.assert_allclose(np.concatenate(pieces), whole, atol=1e-4)


def test_a_recording_of_another_rate_and_two_channels_is_scored_as_the_model_hears_it(folder, tmp_path):
    samples, _ = soundfile.read(folder / "mixed.wav")
    twice = np.repeat(samples, 2)  # 8 kHz; what is above 2 kHz is filtered away
    soundfile.write(tmp_path / "stereo.wav", np.stack([twice, twice], axis=1), 2 * RATE)
    detector = open_detector(folder / "hum.onnx")
    blocks, finder = list(detector.detect_file(tmp_path / "stereo.wav", 0.1)), AlarmFinder(detector, detector.threshold)
    alarms = [alarm for block in blocks for alarm in finder.accept(block.scores)]
    assert blocks[-1].duration_s == pytest.approx(4.0)
    assert any(abs(alarm.start_s - 1.5) < 0.15 for alarm in alarms)


def test_alarms_are_runs_of_windows_above_the_limit(folder):
    detector = open_detector(folder / "hum.onnx")
    values, hop_s = np.array([0, 2, 3, 0, 0, 5, 0, 4, 4]), detector.stride / RATE
    finder = AlarmFinder(detector, Threshold(1.0, 0.0, 0.0, 1))
    alarms = [*finder.accept(values[:2]), *finder.accept(values[2:]), *finder.finish(9.0)]
    middle_s = detector.settings.scored_samples / RATE / 2
    spans = [(round((a.start_s - middle_s) / hop_s + 0.5), a.score) for a in alarms]
    assert spans == [(1, 3), (5, 5), (7, 4)]
    assert alarms[0].end_s - alarms[0].start_s == pytest.approx(2 * hop_s)
    assert alarms[-1].end_s == 9.0
    finder = AlarmFinder(detector, Threshold(1.0, 0.0, 0.0, 1))
    assert [(a.start_s, a.end_s) for a in (*finder.accept(values[1:3]), *finder.finish(9.0))] == [(0.0, 9.0)]


def test_a_limit_can_be_given_and_nothing_above_it_is_nothing_printed(folder):
    for verb in ("detect", "watch"):  # the older name
        assert run(verb, folder / "mixed.wav", "--model", folder / "hum.onnx", "--limit", "1e6").out == ""


def test_the_limit_of_a_model_is_learned_again(folder, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(folder / "exp" / "model", model)
    for name in ("threshold.json", "SHA256SUMS"):
        (model / name).unlink()
    refused = refusal("detect", folder / "mixed.wav", "--model", model)
    assert "has no threshold; give --limit, or run 'recitative anomaly threshold'" in refused
    learned = run("forecaster", "threshold", model, folder / "dev" / "data", "--false-alarms", 0.2)
    assert "20.00% of them may be above" in learned.out
    assert open_detector(model).threshold.false_alarms == 0.2


def test_another_window_and_score_are_learned_without_training_again(folder, tmp_path):
    model, dev = tmp_path / "model", folder / "dev" / "data"
    shutil.copytree(folder / "exp" / "model", model)
    click = small_forecaster.hum(3.0, np.random.default_rng(5))
    click[6000:6080] += 0.4 * np.random.default_rng(6).standard_normal(80).clip(-1, 1).astype(np.float32)  # 20 ms
    write_wav(tmp_path / "click.wav", click.clip(-1, 1), RATE)
    more = ("--window-s", 0.03, "--score", "nll", "--false-alarms", 0)
    run("forecaster", "threshold", model, dev, *more)
    detection = load_model(model, FORECASTER).settings.detection
    assert (detection.window_s, detection.score, detection.false_alarms) == (0.03, "nll", 0.0)
    lines = run("detect", tmp_path / "click.wav", "--model", model).lines
    spans = [tuple(map(float, line.split("\t")[1:3])) for line in lines]
    assert any(start < 1.51 < end + 0.02 and end - start < 0.1 for start, end in spans)
    refused = refusal("forecaster", "threshold", model, dev, "--window-s", 0.001)
    assert "detection.window_s=0.001 must be at least 0.02, 4 frames" in refused


def test_usual_and_unusual_recordings_are_told_apart_in_numbers(folder, tmp_path):
    train, dev, other = (folder / name / "data" for name in ("train", "dev", "other"))
    command = ("forecaster", "score", folder / "exp" / "model", dev, "--unusual", other, "--beside", train)
    out = run(*command, "--results", tmp_path / "r.jsonl", "--model", "m", "--set", "hums").lines
    assert out[0].endswith("nats per frame and dimension (3 recordings)")
    assert [line.split()[0] for line in out[1:]] == ["ratio", "nll", "gaussian", "mean"]
    rows = {row.decoding: row for row in read_results(tmp_path / "r.jsonl")}
    assert rows["nll"].metric == "AUC"
    assert rows["nll"].value == rows["mean"].value == 1.0
    assert set(run(*command, "--json").json) == {"nats", "recordings", "ratio", "nll", "gaussian", "mean"}


@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_a_picture_shows_the_curve_above_the_spectrogram(folder, tmp_path, suffix):
    path = tmp_path / f"mixed.{suffix}"
    run("detect", folder / "mixed.wav", "--model", folder / "hum.onnx", "--picture", path)
    if suffix == "png":
        assert path.read_bytes().startswith(b"\x89PNG")
        return
    root = ElementTree.parse(path).getroot()
    shown = {tag: ["".join(one.itertext()) for one in root.iter(f"{{http://www.w3.org/2000/svg}}{tag}")]
             for tag in ("text", "title", "image")}  # fmt: skip
    assert {"score", "threshold", "mixed.wav"} <= set(shown["text"])
    assert len(shown["title"]) >= 2, "an anomalous segment, over the score and over the spectrogram"
    assert len(shown["image"]) == 1
    assert ("onset strength" in shown["text"]) == (find_spec("librosa") is not None)


def test_bad_recordings_are_named_and_the_others_are_done(folder, tmp_path):
    (tmp_path / "broken.wav").write_bytes(b"no sound")
    soundfile.write(tmp_path / "short.wav", np.zeros(10), RATE)
    files = (tmp_path / "broken.wav", tmp_path / "short.wav", folder / "mixed.wav")
    ran = run("detect", *files, "--model", folder / "hum.onnx", status=1)
    assert str(folder / "mixed.wav") in ran.out
    assert "broken.wav: is not audio that can be read" in ran.err
    assert "short.wav: lasts 0.0025 s; at least 0.105 s, which the model judges together" in ran.err
    assert "2 of 3 recordings could not be processed" in ran.err


@pytest.mark.parametrize(("arguments", "status", "message"), [
    (("detect", "x.wav", "--model", "."), 1, ".: has no settings.yaml; an anomaly model's folder"),
    (("detect", "x.wav", "--model", "gone.onnx"), 1, "gone.onnx: does not exist; an anomaly model's file"),
    (("forecaster", "score", "m", "d", "--beside", "b"), 2, "--baseline requires --unusual"),
    (("forecaster", "train", "--train", "a", "--dev", "b", "--output", "c", "model.horizont=3"), 2,
     "unknown setting 'model.horizont'; did you mean 'horizon'?"),
])  # fmt: skip
def test_wrong_usage_is_one_line(tmp_path, monkeypatch, arguments, status, message):
    monkeypatch.chdir(tmp_path)
    assert message in refusal(*arguments, status=status)


@pytest.mark.parametrize(("more", "message"), [
    (("b.wav", "--picture", "p.svg"), "--picture: shows one recording, but there are 2"),
    (("--picture", "p.gif"), "p.gif: cannot write a figure as '.gif'; .svg or .png"),
])  # fmt: skip
def test_a_picture_that_cannot_be_is_refused_before_anything_is_heard(folder, more, message):
    assert message in refusal("detect", folder / "mixed.wav", *more, "--model", folder / "hum.onnx")
