"""The verbs of classification, from training to labels."""

import csv
import io
import subprocess
import sys
from contextlib import contextmanager
from shutil import copytree
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import tones
import yaml

from command_line import refusal, run
from recitative.audio.files import wav_header
from recitative.audio.live import Block, LiveAudio
from recitative.data.directory import DataDirectory
from recitative.score.results import read_results


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With data directories train/data and dev/data, and a model that knows their tones."""
    folder = tmp_path_factory.mktemp("classifier")
    train = tones.write_corpus(folder / "train", each=4, seed=1)
    dev = tones.write_corpus(folder / "dev", each=2, seed=2)
    more = ("train.epochs=6", "train.learning_rate=0.02", "augment.speeds=[0.98,1.02]")
    places = ("--train", train, "--dev", dev, "--output", folder / "exp")
    run("classifier", "train", "--quiet", *places, *tones.TINY, *more)
    return folder


def test_what_a_model_is_right_about_is_printed(folder):
    lines = run("classifier", "score", folder / "exp" / "model", folder / "dev" / "data").lines
    assert lines[0] == "accuracy 100.00% (12 / 12; 95 %: 75.75% to 100.00%), unweighted average recall 100.00%"
    assert lines[2:] == [
        "true \\ given  high  low  middle  recall",
        "high             4    0       0  100.0%",
        "low              0    4       0  100.0%",
        "middle           0    0       4  100.0%",
    ]


def test_scores_are_an_object_and_rows_of_results(folder, tmp_path):
    table = ("--results", tmp_path / "results.jsonl", "--results-md", tmp_path / "RESULTS.md", "--model", "tones")
    score = ("classifier", "score", folder / "exp" / "model", folder / "dev" / "data", "--json")
    found = run(*score, *table, "--set", "dev").json
    assert (found["accuracy"], found["recordings"], found["correct"]) == (1.0, 12, 12)
    assert found["confusions"] == [[4, 0, 0], [0, 4, 0], [0, 0, 4]]
    assert found["interval"][0] == pytest.approx(12 / (12 + 1.96**2), abs=1e-4)  # Wilson's lower end where all is right
    rows = {row.metric: row for row in read_results(tmp_path / "results.jsonl")}
    assert rows["% accuracy"].value == rows["% unweighted average recall"].value == 100.0
    assert rows["% accuracy"].counts == "12 / 12"
    assert "| tones | dev |" in (tmp_path / "RESULTS.md").read_text()


def test_recordings_are_scored_and_named_at_all_speeds(folder):
    score = ("classifier", "score", folder / "exp" / "model", folder / "dev" / "data", "--json")
    once, thrice = run(*score).json, run(*score, "--all-speeds").json
    assert thrice["recordings"] == 12
    assert 0 < abs(once["nats_per_recording"] - thrice["nats_per_recording"]) < 0.3
    recording = DataDirectory.read(folder / "dev" / "data").utterances[0]
    name = ("classify", recording.recording_path, "--model", folder / "exp" / "model")
    once, thrice = (run(*name, *more).out.split("\t")[1].split() for more in ((), ("--all-speeds",)))
    assert once[0] == thrice[0] == recording.text
    assert once[1] != thrice[1]


def test_a_model_of_one_speed_has_no_others(folder, tmp_path):
    copytree(folder / "exp" / "model", tmp_path / "model")
    path = tmp_path / "model" / "settings.yaml"
    settings = yaml.safe_load(path.read_text())
    settings["augment"]["speeds"] = [1.0]
    path.write_text(yaml.safe_dump(settings))
    (tmp_path / "model" / "SHA256SUMS").unlink()
    refused = refusal("classify", "x.wav", "--model", tmp_path / "model", "--all-speeds")
    assert "was trained at one speed (augment.speeds); leave it out" in refused


def test_recordings_of_any_rate_and_channels_are_named(folder, tmp_path):
    t = np.arange(4410) / 22050
    wave = 0.3 * np.sin(2 * np.pi * tones.TONES_HZ["low"] * t) + 0.01 * np.random.default_rng(0).standard_normal(4410)
    soundfile.write(tmp_path / "stereo.wav", np.stack([wave, wave], axis=1), 22050)
    mono = folder / "dev" / "wav" / "s0-high-0.wav"
    ran = run("classify", tmp_path / "stereo.wav", mono, "--model", folder / "exp" / "model")
    rows = [line.split("\t") for line in ran.lines]
    assert [row[0] for row in rows] == [str(tmp_path / "stereo.wav"), str(mono)]
    assert [row[1].split()[0] for row in rows] == ["low", "high"]


def test_the_likeliest_labels_come_with_their_probabilities_in_json_and_csv(folder):
    command = ("classify", folder / "dev" / "wav" / "s0-high-0.wav", "--model", folder / "exp" / "model", "--top", 5)
    labels = run(*command, "--format", "json").json[0]["labels"]
    assert sorted(label["label"] for label in labels) == ["high", "low", "middle"]
    assert labels[0]["label"] == "high"
    assert sum(label["probability"] for label in labels) == pytest.approx(1.0, abs=1e-5)
    rows = list(csv.DictReader(run(*command, "--format", "csv").lines))
    assert [row["label"] for row in rows] == [label["label"] for label in labels]
    assert [row["rank"] for row in rows] == ["1", "2", "3"]


def test_bad_recordings_are_named_and_the_others_are_done(folder, tmp_path):
    (tmp_path / "broken.wav").write_bytes(b"no sound")
    soundfile.write(tmp_path / "short.wav", np.zeros(10), tones.RATE)
    good = folder / "dev" / "wav" / "s0-low-0.wav"
    files = (tmp_path / "broken.wav", tmp_path / "short.wav", good)
    ran = run("classify", *files, "--model", folder / "exp" / "model", status=1)
    assert ran.out.startswith(f"{good}\tlow ")
    assert "broken.wav: is not audio that can be read" in ran.err
    assert "short.wav: lasts 0.0025 s; at least 0.015 s, one frame of the network" in ran.err
    assert "2 of 3 recordings could not be classified" in ran.err


@pytest.fixture(scope="module")
def file(folder):
    """The model as a file."""
    run("export", folder / "exp" / "model", "--dev", folder / "dev" / "data", "--output", folder / "tones.onnx")
    return folder / "tones.onnx"


def test_an_exported_model_is_measured_described_and_scored_like_its_folder(folder, file):
    lines = run("export", folder / "exp" / "model", "--dev", folder / "dev" / "data", "--output", file).lines
    assert lines[:2] == [
        "float32: dev accuracy 100.00 % [ 12 / 12 ]",
        "   int8: dev accuracy 100.00 % [ 12 / 12 ]  <- written",
    ]
    shown = run("info", file).out
    assert "kind     classifier, attention over time" in shown
    assert "labels   3: high, low, middle" in shown
    assert "streams  yes" in shown
    for model in (folder / "exp" / "model", file):
        assert run("classifier", "score", model, folder / "dev" / "data", "--json").json["correct"] == 12


def test_naming_and_scoring_with_a_model_file_import_no_torch(folder, file):
    audio = folder / "dev" / "wav" / "s0-high-0.wav"
    for arguments in (["classify", audio, "--model", file], ["classifier", "score", file, folder / "dev" / "data"]):
        code = (
            "import sys; sys.modules['torch'] = None\n"  # importing it would raise ImportError
            "from recitative.cli.main import main\n"
            f"sys.argv = ['recitative', *{list(map(str, arguments))!r}]\n"
            "main()"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "high" in done.stdout


@pytest.fixture
def wave():
    """A low and a high tone, half a second each."""
    rng = np.random.default_rng(5)
    return np.concatenate([tones.tone(label, 0.5, rng) for label in ("low", "high")])


def test_the_running_label_comes_with_its_time_in_every_format(file, wave, tmp_path):
    soundfile.write(tmp_path / "a.wav", wave, tones.RATE)
    command = ("classify", tmp_path / "a.wav", tmp_path / "gone.wav", "--model", file, "--every", 0.4)
    ran = run(*command, status=1)
    rows = [line.split("\t") for line in ran.lines]
    assert [row[1] for row in rows] == ["0.40", "0.80", "1.00"]
    assert rows[0][2].startswith("low ")
    assert "gone.wav: does not exist" in ran.err
    objects = run(*command, "--format", "json", status=1).json
    assert [found["end"] for found in objects] == [0.4, 0.8, 1.0]
    table = list(csv.DictReader(run(*command, "--format", "csv", "--top", 2, status=1).lines))
    assert [(row["time"], row["rank"]) for row in table[:3]] == [("0.400", "1"), ("0.400", "2"), ("0.800", "1")]


def test_standard_input_and_folders_are_recordings_too(folder, file, monkeypatch):
    content = (folder / "dev" / "wav" / "s0-middle-0.wav").read_bytes()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    lines = run("classify", "-", folder / "dev" / "wav", "--model", file).lines
    assert lines[0].startswith("-\tmiddle ")
    assert len(lines) == 13
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"noise")))
    ran = run("classify", "-", "--model", file, "--format", "json", status=1)
    assert ran.json == []
    assert "standard input: is not audio" in ran.err


class Pipe(io.BytesIO):
    """``labels``: how many had been printed, at each time when more is read."""

    def __init__(self, content):
        super().__init__(content)
        self.labels = []

    def read(self, size=-1):
        self.labels.append(sys.stdout.buffer.getvalue().count(b"\n"))
        return super().read(size)


@pytest.mark.parametrize("kind", ["wav", "raw", "flac"])
def test_a_pipe_is_named_while_it_comes_like_the_file(file, wave, tmp_path, monkeypatch, kind):
    path, command = tmp_path / "a.wav", ("--model", file, "--every", 0.4)
    soundfile.write(path, wave, tones.RATE)
    expected = run("classify", path, *command).out.replace(str(path), "-")
    soundfile.write(tmp_path / "a.flac", *soundfile.read(path, dtype="int16"))
    content = {"wav": path.read_bytes(), "raw": path.read_bytes()[44:], "flac": (tmp_path / "a.flac").read_bytes()}
    pipe = Pipe(content[kind])
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=pipe))
    assert run("classify", "-", *command, *(["--raw", tones.RATE] if kind == "raw" else [])).out == expected
    if kind == "flac":  # a FLAC's length may be anywhere: it is kept until the end
        assert pipe.labels[-1] == 0
    else:
        assert {1, 2} <= set(pipe.labels), "a label each time, before more is read"


@pytest.mark.parametrize(("content", "message"), [
    (b"", "standard input: is empty"),
    (wav_header(tones.RATE) + b"\x00" * 20, "standard input: lasts 0.0025 s; at least"),
])  # fmt: skip
def test_a_pipe_of_no_use_is_named(file, monkeypatch, content, message):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert message in run("classify", "-", "--model", file, "--every", 0.4, status=1).err


@pytest.mark.parametrize("format", ["text", "json"])
def test_the_microphone_is_named_until_it_is_interrupted(file, wave, tmp_path, monkeypatch, format):
    asked = []

    @contextmanager
    def interrupted(device, block_s):
        asked.append(device)
        live = LiveAudio(tones.RATE, block_s)
        size = round(block_s * tones.RATE)
        for start in range(0, len(wave), size):
            live.put(Block(wave[start : start + size], 0.0))
        live.overruns = 2
        live.put(KeyboardInterrupt())
        yield live

    monkeypatch.setattr("recitative.audio.live.open_microphone", interrupted)
    command = ("classify", "--model", file, "--microphone", "--every", 0.4, "--format", format)
    ran = run(*command, "--device", "desk")
    soundfile.write(tmp_path / "a.wav", wave, tones.RATE, subtype="FLOAT")
    whole = run("classify", tmp_path / "a.wav", "--model", file, "--every", 0.4, "--format", format)
    assert ran.out == whole.out.replace(str(tmp_path / "a.wav"), "microphone")
    assert ran.out.count("microphone") == 3, "at 0.4 s, at 0.8 s and at the end"
    assert "2 blocks of audio lost" in ran.err
    run(*command, "--device", "2")
    assert asked == ["desk", 2]


def test_a_recording_of_more_than_an_hour_has_a_running_label_only(file, tmp_path):
    soundfile.write(tmp_path / "long.wav", np.zeros(3601 * tones.RATE, np.int16), tones.RATE, subtype="PCM_U8")
    err = run("classify", tmp_path / "long.wav", "--model", file, status=1).err
    assert "long.wav: lasts 3601 s; at most 3600 s for one label" in err
    assert "--every SECONDS" in err


def test_folds_are_written_as_data_directories(folder, tmp_path):
    lines = run("classifier", "folds", folder / "dev" / "data", tmp_path).lines
    assert lines[0] == f"{tmp_path / 's0'}: 6 to train on, 6 to test"
    assert {u.speaker for u in DataDirectory.read(tmp_path / "s1" / "test").utterances} == {"s1"}
    assert {u.speaker for u in DataDirectory.read(tmp_path / "s1" / "train").utterances} == {"s0"}


@pytest.mark.parametrize(("arguments", "status", "message"), [
    (("classify", "x.wav", "--model", "."), 1, ".: has no settings.yaml; a classifier's folder"),
    (("classify", "--model", "m"), 2, "no input: give FILE..., '-' for stdin, or --microphone"),
    (("classify", "x.wav", "--model", "m", "--microphone", "--every", 1), 2, "FILE... and --microphone exclude"),
    (("classify", "--model", "m", "--microphone"), 2, "--microphone requires --every SECONDS"),
    (("classify", "x.wav", "--model", "m", "--device", "1"), 2, "--device requires --microphone"),
    (("classify", "-", "--model", "m", "--raw", 8000), 2, "--rate: only for raw samples on stdin"),
    (("classify", "x.wav", "--model", "m", "--every", 1, "--all-speeds"), 2, "--all-speeds and --every exclude"),
    (("classifier", "folds", "d", "o", "--parts", 2, "--table", "t"), 2, "--parts and --table exclude each other"),
    (("classifier", "score", "m", "d", "--results", "r"), 2, "--results requires --model and --set"),
    (("classifier", "train", "--train", "a", "--dev", "b", "--output", "c", "model.pool=mean"), 2,
     "unknown setting 'model.pool'; did you mean 'pooling'?"),
])  # fmt: skip
def test_wrong_usage_is_one_line(tmp_path, monkeypatch, arguments, status, message):
    monkeypatch.chdir(tmp_path)
    assert message in refusal(*arguments, status=status)
