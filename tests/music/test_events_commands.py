"""``recitative music`` and ``generate music`` with a model of events, as they are typed."""

import re
import subprocess
import sys

import pytest

import small_events
import small_music
from command_line import refusal, run
from recitative.model.folder import save_model
from recitative.music.midi import read_midi, write_midi

TRAIN = ["train.epochs=1", *small_events.SMALL]


@pytest.fixture
def model(tmp_path):
    save_model(small_events.model(), tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def tunes(tmp_path):
    for piece in small_events.pieces([5, 7]):
        (tmp_path / "tunes").mkdir(exist_ok=True)
        write_midi(piece, tmp_path / "tunes" / f"{piece.name}.mid")
    return tmp_path / "tunes"


def test_a_model_is_trained_scored_and_exported_by_the_same_verbs(tunes, tmp_path):
    exp = tmp_path / "exp"
    trained = run("music", "train", "--train", tunes, "--dev", tunes, "--output", exp, *TRAIN, "--quiet")
    assert "nats per token" in trained.out
    assert "m.onnx: float32" in run("music", "export", exp / "model", "--output", tmp_path / "m.onnx").out
    folder, file = (
        run("music", "score", named, tunes, "--json").json for named in (exp / "model", tmp_path / "m.onnx")
    )
    assert folder == pytest.approx(file, rel=1e-4)
    assert folder.keys() == {"nats_per_token", "nats_per_note", "tokens", "notes"}
    assert "nats per note (" in run("music", "score", tmp_path / "m.onnx", tunes).out


def test_notes_that_are_cut_are_counted_on_stderr(tunes, tmp_path):
    arguments = ["--train", tunes, "--dev", tunes, "--output", tmp_path / "exp", *TRAIN, "events.longest_length=2"]
    assert "notes are longer than 2 steps and end there" in run("music", "train", *arguments, "--quiet").err


def test_pieces_are_new_or_go_on_from_files_and_are_the_same_again(model, tunes, tmp_path):
    wanted = ["--model", model, "--bars", "2", "--no-sound", "--seed", "3", "--tempo", "0"]
    for folder in ("one", "two"):
        run("generate", "music", *wanted, "--count", "2", "--output", tmp_path / folder)
        run("generate", "music", *tunes.glob("*.mid"), *wanted, "--output", tmp_path / folder)
    names = ["p0.mid", "p1.mid", "piece-1.mid", "piece-2.mid"]
    assert sorted(path.name for path in (tmp_path / "one").glob("*.mid")) == names
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert (tmp_path / "one" / "index.html").exists()
    given, longer = read_midi(tunes / "p1.mid"), read_midi(tmp_path / "one" / "p1.mid")
    assert set(given.notes) <= set(longer.notes)
    assert longer.length >= given.length + 16, "a bar at least"


def test_key_and_pitches_hold(model, tmp_path):
    wanted = ["--model", model, "--bars", "8", "--no-sound", "--key", "G", "--pitches", "60-67", "--count", "4"]
    run("generate", "music", *wanted, "--output", tmp_path / "out")
    pitches = {note.pitch for path in (tmp_path / "out").glob("*.mid") for note in read_midi(path).notes}
    assert pitches <= {60, 62, 64, 66, 67}
    assert len(pitches) > 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--harmonize", "soprano"], "--harmonize: .*model is a model of events; use a model of voices"),
        (["--harmonise", "soprano"], "--harmonize: .*model is a model of events; use a model of voices"),
        (["--rewrite", "all"], "--rewrite: .*model is a model of events; use a model of voices"),
        (["--rests"], "--rests: .*model is a model of events"),
        (["--pitches", "70-60"], "--pitches 70-60: LOW-HIGH, MIDI numbers up to 127, such as 60-84"),
        (["--pitches", "C"], "--pitches C: LOW-HIGH"),
        (["--pitches", "90-100"], "no voice has a note in its range, the key and the requested pitches"),
        (["--tempo", "5"], "--tempo 5: must be at least 10, or 0"),
    ],
)
def test_what_a_model_of_events_cannot_do_is_one_line(model, tunes, tmp_path, options, message):
    wanted = ["--model", model, "--no-sound", "--output", tmp_path / "out"]
    assert re.search(message, refusal("generate", "music", tunes / "p0.mid", *wanted, *options))


def test_pitches_are_no_option_of_a_model_of_voices(tmp_path):
    save_model(small_music.model(), tmp_path / "voices")
    arguments = ["--model", tmp_path / "voices", "--pitches", "60-70", "--output", tmp_path / "out"]
    said = refusal("generate", "music", *arguments)
    assert "is a model of voices with ranges of their own; use a model of events" in said


def test_an_exported_model_writes_without_torch(model, tmp_path):
    run("music", "export", model, "--output", tmp_path / "m.onnx")
    program = (
        "import sys\n"
        "from recitative.cli import main\n"
        f"sys.argv = ['recitative', 'generate', 'music', '--model', {str(tmp_path / 'm.onnx')!r}, '--no-sound',\n"
        f"            '--bars', '1', '--output', {str(tmp_path / 'out')!r}]\n"
        "try:\n    main.main()\n"
        "except SystemExit as done:\n    sys.exit(done.code or 'torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
