"""``recitative transcribe`` as a user calls it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import threading
from io import BytesIO, TextIOWrapper
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny

from command_line import run
from recitative.asr.recognizer import Recognizer
from recitative.audio.files import expand
from recitative.data import parallel
from recitative.errors import DataError
from recitative.model.export import export_checked
from recitative.model.folder import save_model


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A model as a folder and as a file, and recordings of several kinds of the same words."""
    folder = tmp_path_factory.mktemp("place")
    made = tiny.talker()
    save_model(made, folder / "model")
    export_checked(made, folder / "m.onnx", dev=None, weights="float32")
    samples = tiny.speak("cab bca b", np.random.default_rng(3))
    (folder / "talks" / "deep").mkdir(parents=True)
    soundfile.write(folder / "talks" / "a.wav", samples, tiny.RATE)
    soundfile.write(folder / "talks" / "deep" / "b.flac", np.stack([samples, samples], 1), tiny.RATE)
    soundfile.write(folder / "talks" / "c.wav", samples, tiny.RATE, subtype="FLOAT")
    (folder / "talks" / "notes.txt").write_text("no recording")
    (folder / "bad.wav").write_bytes(b"RIFF")
    return folder


def transcribe(*arguments, jobs=1, status=0):
    return run("transcribe", *arguments, "--jobs", jobs, status=status)


def test_folders_patterns_and_files_are_found_once_in_order(place):
    talks = place / "talks"
    everything = [str(talks / "a.wav"), str(talks / "c.wav"), str(talks / "deep" / "b.flac")]
    assert expand([str(talks)]) == everything
    assert expand([str(talks / "*.wav"), str(talks)]) == everything
    assert expand([str(talks / "**" / "*.flac"), "-", "nowhere.wav"]) == [everything[2], "-", "nowhere.wav"]


def test_a_file_that_is_given_twice_is_told_once(place):
    name, told = str(place / "talks" / "a.wav"), []
    assert expand([name, name, name, str(place / "talks")], told.append)[0] == name
    assert told[0] == f"{name}: is given more than once, and read once"
    assert [line for line in told if "more than once" in line] == told[:1]


@pytest.mark.parametrize(("name", "message"), [("bare", "has no recordings"), ("bare/*.wav", "matches no file")])
def test_what_holds_nothing_is_named(tmp_path, name, message):
    (tmp_path / "bare").mkdir()
    with pytest.raises(DataError, match=message):
        expand([str(tmp_path / name)])


def test_every_kind_of_recording_and_of_model_says_the_same(place):
    lines = transcribe(place / "talks", "--model", place / "m.onnx").lines
    assert len(lines) == 3
    (text,) = {line.split("\t")[1] for line in lines}
    assert len(text) > 5
    assert transcribe(place / "talks", "--model", place / "model").lines == lines


def test_several_processes_write_in_order(place):
    one, two = (transcribe(place / "talks", "--model", place / "m.onnx", jobs=jobs) for jobs in (1, 2))
    assert two.out == one.out


def test_one_bad_file_is_named_and_the_rest_is_done(place):
    files = place / "talks" / "a.wav", place / "bad.wav", place / "talks" / "c.wav"
    done = transcribe(*files, "--model", place / "m.onnx", status=1)
    assert len(done.lines) == 2
    assert f"error: {place / 'bad.wav'}" in done.err
    assert "1 of 3 recordings could not be transcribed" in done.err


def test_any_error_of_one_recording_stays_its_own(place, monkeypatch):
    segments = Recognizer.segments

    def fail(self, audio, **options):
        if str(audio).endswith("c.wav"):
            raise RuntimeError("a bug\nof two lines")
        return segments(self, audio, **options)

    monkeypatch.setattr(Recognizer, "segments", fail)
    done = transcribe(place / "talks", "--model", place / "m.onnx", status=1)
    assert [line.split("\t")[0][-5:] for line in done.lines] == ["a.wav", ".flac"]
    skipped, error, count = done.err.splitlines()
    assert skipped.endswith("talks: files that are not recordings, skipped: 1 (notes.txt)")
    assert error.startswith(f"error: {place / 'talks' / 'c.wav'}: failed (RuntimeError: a bug of two lines at ")
    assert count == "1 of 3 recordings could not be transcribed"


@pytest.mark.parametrize(
    ("options", "said", "status"),
    [
        ("--model DIR/notes.txt", "error: DIR/notes.txt: ", 1),
        ("--model chorales", "error: chorales: is a music model; a path, or a pretrained model: an4-", 1),
        ("--model nowhere", "error: nowhere: is no model; a path, or a pretrained model: ", 1),
        ("--keywords cab --model DIR/notes.txt", "error: DIR/notes.txt: ", 1),
        (
            "--keywords cab --model chorales",
            "error: chorales: is a music model; a path, or a pretrained model: an4-",
            1,
        ),
        ("--keywords cab:high", "error: keyword 'cab:high'", 2),
        ("--keywords cab --thresholds DIR/none.json", "error: DIR/none.json: ", 1),
        ("--lm DIR/none.arpa", "error: DIR/none.arpa: is no language model", 1),
        ("--lm DIR/notes.txt", "error: DIR/notes.txt:", 1),
        ("--grammar DIR/none.txt", "error: DIR/none.txt: ", 1),
        ("--hotwords bca:many", "error: hot word 'bca:many': 'many' is not a weight", 2),
        ("--hotwords ::", "error: hot word '::'", 2),
        ("--lexicon DIR/a.wav", "error: DIR/a.wav:", 1),
        ("--output-dir DIR/a.wav", "error: --output-dir DIR/a.wav: is a file; a folder", 2),
        ("--output-dir DIR/a.wav/x", "error: --output-dir DIR/a.wav/x: is in a file", 2),
        ("--nbest 3", "error: --nbest 3: requires --format json", 2),
        ("--format srt", "error: --format srt: needs a file for each of 2 recordings", 2),
    ],
)
def test_a_slip_is_told_in_one_line_before_any_process_starts(place, monkeypatch, options, said, status):
    talks = str(place / "talks")
    verb = "spot" if "--keywords" in options else "transcribe"
    if "--model" not in options:
        options += f" --model {place / 'm.onnx'}"
    words = [f"{talks}/a.wav", f"{talks}/c.wav", "--jobs", "2", *options.replace("DIR", talks).split()]
    monkeypatch.setattr(parallel._SPAWN, "Process", None)
    done = run(verb, *words, status=status)
    assert done.out == ""
    assert said in done.err.replace(talks, "DIR")
    assert done.err.count("\n") == 1


def test_ctrl_c_among_several_processes_is_one_line_and_leaves_whole_files(place, tmp_path):
    (tmp_path / "many").mkdir()
    for number in range(3000):  # more than a busy machine transcribes before the interrupt
        (tmp_path / "many" / f"{number}.wav").hardlink_to(place / "talks" / "a.wav")
    command = [sys.executable, "-m", "recitative", "transcribe", str(tmp_path / "many"), "--jobs", "2"]
    command += ["--model", str(place / "m.onnx"), "--output-dir", str(tmp_path / "out")]
    program = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    while program.poll() is None and not list(tmp_path.glob("out/*.txt")):
        threading.Event().wait(0.01)
    os.killpg(program.pid, signal.SIGINT)
    told = program.communicate(timeout=60)[1].splitlines()  # after ten seconds, there is a line about progress
    assert [line for line in told if not line.startswith("transcribe: ")] == ["error: interrupted"]
    assert program.returncode == 130
    written = list((tmp_path / "out").iterdir())
    assert 1 <= len(written) < 3000
    assert {path.suffix for path in written} == {".txt"}
    assert len({path.read_text() for path in written}) == 1


@pytest.fixture(scope="module")
def hour(tmp_path_factory):
    """A recording that takes longer than a test waits for it."""
    once = np.concatenate([tiny.speak("cab bca b", np.random.default_rng(3)), np.zeros(tiny.RATE // 2, np.float32)])
    path = tmp_path_factory.mktemp("hour") / "hour.wav"
    soundfile.write(path, np.tile(once, 3600 * tiny.RATE // len(once)), tiny.RATE)
    return path


@pytest.mark.parametrize(
    ("form", "into"),
    [
        ("text", "a file"),
        ("text", "standard output"),
        ("srt", "a file"),
        ("vtt", "standard output"),
        ("tsv", "standard output"),
    ],
)
def test_the_output_of_a_long_recording_grows_and_stays_when_it_is_interrupted(place, hour, tmp_path, form, into):
    path = tmp_path / f"hour.{'txt' if form == 'text' else form}"
    command = [sys.executable, "-m", "recitative", "transcribe", str(hour), "--model", str(place / "m.onnx")]
    command += ["--format", form, *(["--output-dir", str(tmp_path)] if into == "a file" else [])]
    with (tmp_path / "output").open("w") as output:
        written = path if into == "a file" else tmp_path / "output"
        program = subprocess.Popen(command, stdout=output, stderr=subprocess.PIPE, text=True)
        sizes = set()
        while program.poll() is None and len(sizes) < 5:
            sizes.add(written.stat().st_size if written.exists() else 0)
            threading.Event().wait(0.01)
        program.send_signal(signal.SIGINT)
        told = program.communicate(timeout=60)[1]
    assert program.returncode == 130, told
    assert re.fullmatch(
        rf"error: interrupted; the first \d+:\d\d min are in {path if into == 'a file' else 'the output'}\n", told
    )
    text = written.read_text()
    assert text.endswith("\n")
    if form in ("srt", "vtt"):
        *cues, last = text.removeprefix("WEBVTT\n\n").split("\n\n")
        assert len(cues) > 1
        assert all("-->" in cue for cue in (*cues, last)), "whole cues"


def test_what_was_heard_before_a_recording_breaks_off_stays(place, tmp_path):
    once = np.concatenate([tiny.speak("cab bca b", np.random.default_rng(3)), np.zeros(tiny.RATE // 2, np.float32)])
    samples = np.tile(once, 40)
    samples[-100] = np.nan
    soundfile.write(tmp_path / "broken.wav", samples, tiny.RATE, subtype="FLOAT")
    done = transcribe(tmp_path / "broken.wav", "--model", place / "m.onnx", "--format", "srt", status=1)
    assert done.out.startswith("1\n00:00:0")
    warning, error = done.err.splitlines()
    assert warning.startswith("warning: the first 0:")
    assert error.startswith(f"error: {tmp_path / 'broken.wav'}: ")


def test_streaming_says_the_same(place):
    talks = (place / "talks", "--model", place / "m.onnx", "--format", "jsonl")
    assert transcribe(*talks, "--streaming").out == transcribe(*talks).out


def test_json_of_several_is_a_list(place):
    objects = transcribe(place / "talks", "--model", place / "m.onnx", "--format", "json").json
    assert [o["duration"] for o in objects] == [0.9, 0.9, 0.9]
    assert all(word["start"] < word["end"] for o in objects for word in o["words"])


def test_files_of_their_own(place, tmp_path):
    done = transcribe(place / "talks", "--model", place / "m.onnx", "--format", "vtt", "--output-dir", tmp_path / "out")
    assert done.out == ""
    written = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.vtt"))
    assert written == ["a.vtt", "c.vtt", "deep/b.vtt"]
    assert (tmp_path / "out" / "a.vtt").read_text().startswith("WEBVTT\n\n00:00:0")


def test_recordings_of_one_name_get_files_and_ids_of_their_own(place, tmp_path):
    (tmp_path / "a.wav").write_bytes((place / "talks" / "a.wav").read_bytes())
    both = (place / "talks" / "a.wav", tmp_path / "a.wav", "--model", place / "m.onnx")
    transcribe(*both, "--format", "kaldi", "--output-dir", tmp_path / "out")
    written = [path.read_text().split(" ", 1) for path in sorted((tmp_path / "out").rglob("*.text"))]
    assert len({utt_id for utt_id, _ in written}) == 2
    assert len({text for _, text in written}) == 1
    ctm = transcribe(*both, "--format", "ctm")
    assert {line.split()[0] for line in ctm.lines} == {utt_id for utt_id, _ in written}


def test_standard_input(place):
    command = [sys.executable, "-m", "recitative", "transcribe", "-", "--model", str(place / "m.onnx")]
    audio = (place / "talks" / "deep" / "b.flac").read_bytes()
    done = subprocess.run(command, input=audio, capture_output=True, check=True)
    expected = transcribe(place / "talks" / "a.wav", "--model", place / "m.onnx").out.split("\t")[1]
    assert done.stdout.decode() == f"-\t{expected}"
    nothing = subprocess.run(command, input=b"", capture_output=True, check=False)
    assert nothing.returncode == 1
    assert nothing.stderr.decode().startswith("error: standard input: is empty")


def test_pipes_are_read_wherever_a_recording_is(place, tmp_path):
    """By two processes, which have neither the standard input nor the open files of the first."""
    os.mkfifo(tmp_path / "pipe")
    model = ["--model", str(place / "m.onnx")]
    command = [sys.executable, "-m", "recitative", "transcribe", "/dev/stdin", str(tmp_path / "pipe"), "--jobs", "2"]
    with (place / "talks" / "deep" / "b.flac").open("rb") as audio:
        program = subprocess.Popen([*command, *model], stdin=audio, stdout=subprocess.PIPE, text=True)
        (tmp_path / "pipe").write_bytes((place / "talks" / "c.wav").read_bytes())
        written = program.communicate(timeout=60)[0]
    text = transcribe(place / "talks" / "a.wav", *model).out.split("\t")[1]
    assert written == f"/dev/stdin\t{text}{tmp_path / 'pipe'}\t{text}"


def test_listen_hears_standard_input(place, monkeypatch):
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO((place / "talks" / "a.wav").read_bytes())))
    heard = run("listen", "--input", "-", "--model", place / "m.onnx").out
    text = transcribe(place / "talks" / "a.wav", "--model", place / "m.onnx").out.split("\t")[1]
    assert heard == text


FIELD_CASES = Path(__file__).parents[1] / "field_cases"


@pytest.fixture
def latin1(tmp_path):
    """Recordings, one of them with a name that is not UTF-8."""
    try:
        with tarfile.open(FIELD_CASES / "15_latin1_name.tar.gz") as archive:
            archive.extractall(tmp_path / "talks")  # our own archive; Python 3.11.2 knows no filter
    except OSError:
        pytest.skip("this disk takes UTF-8 names only")
    return tmp_path / "talks"


@pytest.mark.parametrize("form", ["text", "jsonl", "kaldi", "ctm"])
def test_a_recording_whose_name_is_not_utf8_is_done_too(place, latin1, tmp_path, form):
    options = ["--model", str(place / "m.onnx"), "--jobs", "1", "--format", form]
    command = [sys.executable, "-m", "recitative", "transcribe", str(latin1), *options]
    done = subprocess.run(command, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    if form == "jsonl":
        names = [json.loads(line)["file"] for line in done.stdout.decode().splitlines()]
        assert names == [str(latin1 / "a.wav"), os.fsdecode(os.fsencode(latin1) + b"/b\xe9.wav")]
    else:
        assert b"b\xe9" in done.stdout
    run("transcribe", latin1, *options, "--output-dir", tmp_path / "out")
    assert sorted(path.stem for path in (tmp_path / "out").iterdir()) == ["a", os.fsdecode(b"b\xe9")]


def test_text_that_the_output_cannot_encode_is_escaped(place, tmp_path):
    (tmp_path / "ü😀.wav").write_bytes((place / "talks" / "a.wav").read_bytes())
    command = [sys.executable, "-m", "recitative", "transcribe", str(tmp_path), "--model", str(place / "m.onnx")]
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run([*command, "--format", "jsonl"], capture_output=True, check=True, env=environment)
    assert json.loads(done.stdout.decode("ascii"))["file"] == str(tmp_path / "ü😀.wav")


@pytest.mark.parametrize(
    ("raised", "said", "status"),
    [
        (
            "ModuleNotFoundError('x', name='torch')",
            "error: this needs the extra 'train', whose package 'torch' is not installed; pip install",
            2,
        ),
        (
            "ModuleNotFoundError('x', name='starlette')",
            "error: this needs the extra 'serve', whose package 'starlette' is not installed; "
            "pip install 'recitative[serve]'\n",
            2,
        ),
        ("OSError(errno.ENOSPC, 'No space', 'a.txt')", "error: a.txt: the disk is full", 1),
    ],
)
def test_what_the_machine_lacks_is_one_line(place, raised, said, status):
    code = (
        "import errno, sys, recitative.cli.options as models\n"
        f"def fail(*model, **options): raise {raised}\n"
        "models.open_transcriber = fail\n"
        f"sys.argv = ['recitative', 'transcribe', {str(place / 'talks' / 'a.wav')!r}, '--model', {str(place)!r}]\n"
        "from recitative.cli.main import main\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == 1
