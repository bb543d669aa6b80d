"""The command line of music: pieces in, pieces and numbers out, and one clear line for whatever is wrong."""

import importlib
import json
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import mido
import numpy as np
import pytest
import soundfile
from singing import CLEAN, RATE, sing

import small_music
from recitative.audio.files import write_wav
from recitative.audio.live import Block, Speaker
from recitative.cli.generate import Generated, OutputOptions
from recitative.cli.main import main
from recitative.cli.music import MOST_WAITING, Answers, new_part
from recitative.errors import DataError
from recitative.model.export import export_model
from recitative.model.folder import save_model
from recitative.music.composition import Candidate
from recitative.music.midi import read_midi, render, write_midi
from recitative.music.piece import SILENT, Notation, Note, Piece, from_grid, tied

DATA, USAGE = 1, 2
SONG = np.array(
    [[64, 60, 57], [64, 60, 57], [65, 60, 57], [62, 59, 55], [64, 60, 57], [64, 60, 60], [62, 59, 55], [60, 57, 55]]
)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for name, direction in (("continues", "forward"), ("fills", "bidirectional")):
        model = small_music.model(f"model.recurrent.direction={direction}", "frames.ranges=[[58,66],[56,65],[55,62]]")
        save_model(model, folder / name)
        export_model(model, folder / f"{name}.onnx")
        export_model(model, folder / f"{name}_int8.onnx", int8=True)
    return folder


@pytest.fixture
def place(tmp_path, monkeypatch, models):
    """A folder with a song of three voices and its melody, in which the commands are run."""
    monkeypatch.chdir(tmp_path)
    write_midi(from_grid(tied(SONG.astype(np.int16)), 4, name="Song"), tmp_path / "songs" / "song.mid")
    melody = np.where([True, False, False], SONG, SILENT).astype(np.int16)
    write_midi(from_grid(tied(melody), 4, name="Melody"), tmp_path / "melodies" / "song.mid")
    (tmp_path / "models").symlink_to(models)
    return tmp_path


def run(line, status=0):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["recitative", *line.split()])
        with pytest.raises(SystemExit) as ended:
            main()
    assert (ended.value.code or 0) == status


def notes(path, voices=None):
    return {note for note in read_midi(path, 48).notes if voices is None or note.voice in voices}


def test_a_song_is_continued_harmonized_and_rewritten(place, capsys):
    run("generate music songs/song.mid --model models/continues.onnx --bars 2 --output a --no-sound")
    assert notes("songs/song.mid") <= notes("a/song.mid")
    filling = "--model models/fills.onnx --gibbs-steps 3"
    run(f"generate music melodies/song.mid --harmonize 1 {filling} --output b --no-sound")
    assert notes("melodies/song.mid") == notes("b/song.mid", {0})
    assert {note.voice for note in notes("b/song.mid")} == {0, 1, 2}
    run(
        "generate music songs/song.mid --rewrite 2 --rewrite-bars 2-2 --model models/fills --sweeps 3 --count 2 "
        "--output c --no-sound"
    )
    for name in ("song-1", "song-2"):
        assert notes("songs/song.mid", {0, 2}) == notes(f"c/{name}.mid", {0, 2})
    assert capsys.readouterr().out.splitlines() == ["a/song.mid", "b/song.mid", "c/song-1.mid", "c/song-2.mid"]


def test_tempo_meter_key_and_names_of_a_file_survive(place, capsys):
    notation = Notation((3, 4), 1, False, ("Tune",))
    notes = [Note(4 * number, pitch, 4) for number, pitch in enumerate((62, 64, 66, 64, 62, 59))]
    write_midi(Piece(tuple(notes), 24, 4, 72.0, "Tune", notation), place / "tune.mid")
    filling = "--model models/fills.onnx --gibbs-steps 2 --no-sound"
    run(f"generate music tune.mid --harmonize 2 {filling} --output a --instrument organ,flute --velocity 60")
    made = read_midi(place / "a" / "tune.mid", 48)
    assert (made.quarters_per_minute, made.name) == (72.0, "tune")
    assert replace(made.notation, parts=()) == replace(notation, parts=())
    assert sorted(made.notation.parts) == ["", "", "Tune"]
    assert "tune: its only voice ('Tune') is the voice 2: 6 notes from B3 to F#4" in capsys.readouterr().err
    tracks = mido.MidiFile(place / "a" / "tune.mid").tracks[1:]
    assert [m.program for track in tracks for m in track if m.type == "program_change"] == [19, 73, 73]
    loud = [m.velocity for track in tracks for m in track if m.type == "note_on"]
    assert len(set(loud)) > 2
    assert 50 < np.mean(loud) < 70
    run(f"generate music tune.mid --harmonize 2 {filling} --output b --tempo 90 --format abc,musicxml")
    assert capsys.readouterr().out == "b/tune.abc\n"
    assert "Q:1/4=90" in (place / "b" / "tune.abc").read_text()
    assert {path.name for path in (place / "b").iterdir()} == {"tune.abc", "tune.musicxml", "tune.svg", "index.html"}
    run("generate music tune.mid --model models/continues.onnx --bars 2 --output c --no-sound")
    assert read_midi(place / "c" / "tune.mid", 4).length == 24 + 2 * 3 * 4


def test_the_voice_of_a_file_is_asked_for_and_named(place, capsys):
    filling = "--model models/fills.onnx --gibbs-steps 2 --output a --no-sound"
    run(f"generate music songs/song.mid --harmonize 1 {filling}", USAGE)
    assert (
        "song has 3 voices (1, 2, 3, from the highest); choose the one to harmonize, such as --voice 1"
        in capsys.readouterr().err
    )
    run(f"generate music songs/song.mid --harmonize 1 --voice alto {filling}", USAGE)
    assert "--voice alto: song has 3 voices (1, 2, 3, from the highest); give its" in capsys.readouterr().err
    run(f"generate music songs/song.mid --harmonize 1 --voice 1 {filling}")
    assert "song: voice 1 of 3 is the voice 1: " in capsys.readouterr().err
    assert notes("songs/song.mid", {0}) == notes("a/song.mid", {0})


def test_a_file_of_more_voices_is_read_as_those_of_the_model(place, capsys):
    five = [Note(0, pitch, 16, voice) for voice, pitch in enumerate((66, 64, 62, 60, 55))]
    write_midi(Piece.of(five, 4, 100.0, "five"), place / "five.mid")
    run("generate music five.mid --model models/continues.onnx --bars 1 --output a --no-sound")
    assert "five: its 5 voices are read as 3" in capsys.readouterr().err
    assert {(note.start, note.pitch) for note in notes("five.mid")} <= {(n.start, n.pitch) for n in notes("a/five.mid")}


def test_one_file_that_the_options_do_not_fit_does_not_cost_the_others(place, capsys):
    five = [Note(0, pitch, 16, voice) for voice, pitch in enumerate((66, 64, 62, 60, 55))]
    write_midi(Piece.of(five, 4, 100.0, "five"), place / "five.mid")
    write_midi(Piece.of(five[:1], 4, 100.0, "one"), place / "one.mid")
    line = "--harmonize 1 --model models/fills.onnx --gibbs-steps 2 --output a --no-sound"
    run(f"generate music five.mid one.mid {line}", DATA)
    said = capsys.readouterr()
    assert said.out == "a/one.mid\n"
    assert "error: five.mid: five has 5 voices" in said.err
    assert (place / "a" / "index.html").exists()
    run(f"generate music five.mid {line}", USAGE)


def test_results_replace_neither_what_was_given_nor_each_other(place, capsys):
    (place / "songs").mkdir(exist_ok=True)
    for path in (place / "one.mid", place / "songs" / "one.mid"):
        write_midi(Piece.of([Note(0, 62, 16)], 4, 100.0, "one"), path)
    before = (place / "one.mid").read_bytes()
    line = "--model models/continues.onnx --bars 1 --no-sound"
    run(f"generate music one.mid {line} --output .", USAGE)
    assert "--output .: one.mid is in it and would be replaced" in capsys.readouterr().err
    run(f"generate music one.mid songs/one.mid {line} --output b", USAGE)
    assert "songs/one.mid: has the name of one.mid, whose results it would replace" in capsys.readouterr().err
    run(f"generate music one.mid {line} --output . --count 2")
    assert (place / "one.mid").read_bytes() == before


def test_a_recorded_melody_is_written_down_and_harmonized(place, capsys):
    pytest.importorskip("librosa", reason="librosa tracks the pitch of recordings")
    pitches = (63, 68, 72, 73, 68)
    flats = Piece.of([Note(4 * number, pitch, 4) for number, pitch in enumerate(pitches)], 4, 100.0, "flats")
    write_wav(place / "flats.wav", sing(flats, CLEAN), RATE)
    run("melody flats.wav --tempo 100")
    said = capsys.readouterr()
    assert "Ab major" in said.err
    assert [line.split()[2] for line in said.out.splitlines()[1:]] == ["Eb4", "Ab4", "C5", "Db5", "Ab4"]
    tune = Piece.of([Note(4 * number, pitch, 4) for number, pitch in enumerate((60, 64, 62, 60))], 4, 100.0, "hum")
    write_wav(place / "hum.wav", sing(tune, CLEAN), RATE)
    run("melody hum.wav --tempo 100 --output hum.musicxml --picture hum.png")
    said = capsys.readouterr()
    assert [line.split()[2] for line in said.out.splitlines()] == ["note", "C4", "E4", "D4", "C4"]
    assert "hum: 4 notes, C major, 100 quarter notes per minute, tuning" in said.err
    assert (place / "hum.png").read_bytes().startswith(b"\x89PNG")
    assert (place / "hum.musicxml").read_text().count("<pitch>") == 4
    run("melody hum.wav --json")
    assert [note["pitch"] for note in json.loads(capsys.readouterr().out)["notes"]] == [60, 64, 62, 60]
    run("generate music hum.wav --harmonize 1 --model models/fills.onnx --gibbs-steps 2 --output a --no-sound")
    assert [note.pitch for note in read_midi(place / "a" / "hum.mid").notes if note.voice == 0] == [60, 64, 62, 60]
    sound = sing(tune, CLEAN)
    soundfile.write(place / "inverted.wav", np.stack([sound, -sound], axis=1), RATE)
    capsys.readouterr()
    run("melody inverted.wav --tempo 100")
    said = capsys.readouterr()
    assert [line.split()[2] for line in said.out.splitlines()] == ["note", "C4", "E4", "D4", "C4"]
    assert "warning: inverted: the channels cancel each other: one of them is inverted, or nearly; the left" in said.err
    for line, message in (
        ("melody hum.wav --output hum.pdf", "--output hum.pdf: must end in .mid, .musicxml, .abc"),
        ("melody hum.wav --picture hum.pdf", "hum.pdf: cannot write a figure as '.pdf'; .svg or .png"),
        ("melody hum.wav --tempo 3", "--tempo 3: must be at least 10"),
    ):
        run(line, USAGE)
        assert f"error: {message}" in capsys.readouterr().err
    run("melody none.wav", DATA)
    assert "none.wav: does not exist" in capsys.readouterr().err


@pytest.fixture
def phrases(place):
    """A recording of two melodies with a chord between them, and pauses."""
    pytest.importorskip("librosa", reason="librosa tracks the pitch of recordings")
    tunes = [
        Piece.of([Note(4 * number, pitch, 4) for number, pitch in enumerate(pitches)], 4, 120.0, "tune")
        for pitches in ((60, 64, 62, 60), (62, 64, 60))
    ]
    triad = Piece.of([Note(0, pitch, 8) for pitch in (60, 64, 67)], 4, 120.0, "triad")
    pause = np.zeros(RATE, np.float32)
    first, second = (sing(tune, CLEAN) for tune in tunes)
    sounds = [pause, first, pause, render(triad, sample_rate=RATE).mean(axis=1), pause, second, pause]
    write_wav(place / "phrases.wav", np.concatenate(sounds), RATE)
    return "--input phrases.wav --voice 1 --model models/fills.onnx --gibbs-steps 2 --output live"


class Sound:
    """Stands in for the package sounddevice."""

    PortAudioError = OSError

    def __init__(self, stopped_at=None):
        self.played, self.stopped_at, self.stopped = [], stopped_at, False

    def query_devices(self, device, kind):
        return {"name": "headphones"}

    def play(self, samples, sample_rate):
        self.played.append(len(samples) / sample_rate)
        if len(self.played) == self.stopped_at:
            raise KeyboardInterrupt

    def stop(self):
        self.stopped = True


def test_each_phrase_of_live_audio_is_answered(place, phrases, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", sound := Sound())
    monkeypatch.setattr(Speaker, "wait", lambda self: None)
    run(f"music listen {phrases}")
    said = capsys.readouterr()
    assert said.out.splitlines() == ["live/phrase-1.mid", "live/phrase-3.mid"]
    assert "phrase-2: several notes sound at once" in said.err
    assert said.err.endswith("phrases: 2 answered, 1 skipped\n")
    assert [note.pitch for note in read_midi(place / "live" / "phrase-1.mid").notes if note.voice == 0] == [
        60,
        64,
        62,
        60,
    ]
    assert {note.voice for note in notes("live/phrase-3.mid")} == {0, 1, 2}
    assert sound.played == pytest.approx([2.0, 1.5], abs=0.15)
    assert (place / "live" / "phrase-1-heard.wav").exists()
    assert not (place / "live" / "phrase-2-heard.wav").exists()  # nobody asked to keep what is no melody
    assert (place / "live" / "index.html").read_text().count("Recording of phrase") == 2


def test_a_key_that_a_phrase_contradicts_is_told_and_the_phrase_left_out(place, phrases, capsys):
    run(f"music listen {phrases} --no-play --no-sound --key F#")
    said = capsys.readouterr()
    assert said.out == ""
    assert "--key F#: contradicts phrase-1, of which 0% is in that key; it seems to be in C major" in said.err
    assert said.err.endswith("phrases: 0 answered, 3 skipped\n")


def test_answers_go_on_after_the_phrase_and_numbers_after_those_of_before(place, phrases, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", sound := Sound(stopped_at=1))
    run(f"music listen {phrases}")
    assert sound.stopped  # Ctrl-C while the first answer plays
    assert (place / "live" / "phrase-1.mid").exists()
    assert capsys.readouterr().err.endswith("phrases: 1 answered, 0 skipped\n")
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    options = phrases.replace("fills", "continues").replace("--voice 1 ", "").replace("--gibbs-steps 2 ", "")
    run(f"music listen {options} --answer continue --bars 1")
    said = capsys.readouterr()
    assert said.err.startswith("answers are written and not played: sound output needs the package 'sounddevice'")
    assert said.out.splitlines() == ["live/phrase-2.mid", "live/phrase-4.mid"]
    assert read_midi(place / "live" / "phrase-2.mid").length > 16


def test_silence_and_a_missing_microphone_are_told(place, capsys, monkeypatch):
    write_wav(place / "silence.wav", np.zeros(RATE, np.float32), RATE)
    monkeypatch.setattr(Answers, "prepare", lambda self: None)
    run("music listen --input silence.wav --model models/fills.onnx --voice 1 --no-play --output live")
    assert "phrases: 0 answered, 0 skipped; nothing was louder than the noise" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    run("music listen --model models/fills.onnx --voice 1 --no-play --output live", USAGE)
    assert "error: the microphone needs the package 'sounddevice'" in capsys.readouterr().err


def test_a_recording_that_cannot_be_read_is_named_before_anything_is_prepared(place, capsys, monkeypatch):
    monkeypatch.setattr(Answers, "prepare", lambda self: pytest.fail("it was prepared"))
    run("music listen --input none.wav --model models/fills.onnx --voice 1 --no-play", DATA)
    assert "error: none.wav: does not exist" in capsys.readouterr().err


def test_phrases_wait_for_their_answers_and_are_left_out_if_too_many_wait(tmp_path, monkeypatch, capsys):
    may_go_on, heard = threading.Event(), []

    def slow(phrase, sample_rate, **options):
        may_go_on.wait()
        heard.append(len(phrase))
        raise DataError(options["name"], "is no melody")

    monkeypatch.setattr("recitative.cli.music.transcribe_melody", slow)
    answers = Answers(None, OutputOptions(output=tmp_path, sound=False), 0.0, 0, None, is_live=True)
    for length in range(MOST_WAITING + 2):
        answers.hear(np.zeros(length, np.float32), RATE)
    may_go_on.set()
    answers.finish()
    assert heard == list(range(MOST_WAITING))
    assert (answers.made, answers.skipped) == (0, MOST_WAITING + 2)
    said = capsys.readouterr().err
    assert said.count("warning: a phrase was left out: 4 others wait") == 2
    assert "phrase-4: is no melody; skipped" in said


def test_a_phrase_that_goes_on_is_played_without_its_beginning():
    given = frozenset({Note(0, 60, 4), Note(4, 62, 4)})
    longer = Piece.of([*given, Note(8, 64, 4), Note(10, 55, 2, 1)], 4, 100.0, "longer")
    new = new_part(Generated(Candidate(longer, 1.0, 1), given))
    assert (new.notes, new.length) == ((Note(0, 64, 4), Note(2, 55, 2, 1)), 4)
    harmonized = Piece.of([*given, Note(0, 55, 8, 1)], 4, 100.0, "harmonized")
    assert new_part(Generated(Candidate(harmonized, 1.0, 1), given)) == harmonized


def test_a_microphone_may_hear_an_answer_until_it_has_ended(monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", Sound())
    speaker, nothing = Speaker(), np.zeros(0, np.float32)
    assert not speaker.was_heard_by(Block(nothing, time.monotonic()))
    speaker.play(np.zeros((8, 2), np.float32), 8)
    now = time.monotonic()
    heard = [speaker.was_heard_by(Block(nothing, now + after_s)) for after_s in (-1, 0, 0.9, 1.1, 2)]
    assert heard == [False, True, True, True, False]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--realtime", "--realtime: requires --input"),
        ("--input a.wav --device 1", "--device and --input exclude each other"),
        ("--tempo 3", "--tempo 3: must be at least 10"),
        ("--key H", "--key H: not a key"),
        ("--voice tuba --model models/fills.onnx --input phrases.wav", "'tuba': not a voice"),
        ("--instrument kazoo", "--instrument kazoo: must be one of"),
        ("--input phrases.wav --bars 2", "--bars: requires --answer continue"),
        ("--input phrases.wav --answer continue --gibbs-steps 2", "--gibbs-steps: requires --answer harmonize"),
        (
            "--input phrases.wav --voice 1 --model models/fills.onnx --no-play --no-sound --soundfont a.sf2",
            "--soundfont: not with --no-sound",
        ),
        ("--input phrases.wav --answer continue --voice bass", "--voice: requires --answer harmonize"),
    ],
)
def test_slips_in_the_options_of_live_answers_are_one_line(place, options, message, capsys):
    run(f"music listen {options}", USAGE)
    assert f"error: {message}" in capsys.readouterr().err


def test_versions_are_numbered_from_the_best_with_one_line_each(place, capsys):
    run("generate music --model models/continues.onnx --bars 4 --count 3 --output a --no-sound")
    said = capsys.readouterr()
    assert said.out.splitlines() == [f"a/piece-{number}.mid" for number in (1, 2, 3)]
    lines = [line for line in said.err.splitlines() if "nats per token" in line]
    assert [line.split(":")[0] for line in lines] == ["piece-1", "piece-2", "piece-3"]


def test_the_same_seed_gives_the_same_bytes_with_and_without_pytorch(place):
    for output, model in (("a", "continues"), ("b", "continues.onnx"), ("c", "continues.onnx")):
        run(f"generate music --model models/{model} --bars 3 --count 2 --seed 7 --output {output} --no-sound")
    for name in ("piece-1.mid", "piece-2.mid"):
        assert len({(place / output / name).read_bytes() for output in "abc"}) == 1


def test_a_key_is_kept(place):
    run("generate music --model models/continues --bars 8 --key G --temperature 100 --output a --no-sound")
    assert {note.pitch % 12 for note in notes("a/piece.mid")} <= {7, 9, 11, 0, 2, 4, 6}


def test_a_file_that_is_given_twice_is_continued_once(place, capsys):
    run("generate music songs/song.mid songs/song.mid --model models/continues.onnx --bars 1 --output a --no-sound")
    assert capsys.readouterr().out == "a/song.mid\n"


def test_good_files_are_written_despite_broken_ones(place, capsys):
    (place / "broken.mid").write_bytes(b"no music")
    write_midi(Piece.of([Note(0, 100, 4)], 4, 100.0, "high"), place / "high.mid")
    run(
        "generate music broken.mid songs/song.mid high.mid --model models/continues.onnx --bars 1 --output a "
        "--no-sound",
        DATA,
    )
    said = capsys.readouterr()
    assert said.out == "a/song.mid\n"
    errors = [line for line in said.err.splitlines() if line.startswith("error: ")]
    assert [line.split(":")[1].strip() for line in errors] == ["broken.mid", "high"]
    assert "has pitch 100 (E7); pitches from 55 (G3) to 66 (F#4); transpose it" in errors[1]


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        ("--temperature 0", USAGE, "--temperature 0: must be above 0"),
        ("--temperature nan", USAGE, "--temperature nan: must be above 0"),
        ("--top-p 0", USAGE, "--top-p 0: must be above 0 and at most 1"),
        ("--key H", USAGE, "--key H: not a key; use one such as C, Bb, F#m"),
        ("--harmonize soprano", USAGE, "--harmonize: requires files"),
        ("--transpose 12", USAGE, "--transpose: requires files"),
        ("--voice 1 songs/song.mid", USAGE, "--voice: requires --harmonize"),
        ("--rewrite-bars 1-2 songs/song.mid", USAGE, "--rewrite-bars: requires --rewrite with the voices"),
        ("--format pdf", USAGE, "--format pdf: must be one or several of mid, musicxml, abc"),
        ("--instrument kazoo", USAGE, "--instrument kazoo: must be one of piano, harpsichord, organ"),
        ("--ending half", USAGE, "'half' is not one of 'free', 'cadence'"),
        ("songs/song.mid --key F#", USAGE, "--key F#: contradicts song, of which"),
        ("score.musicxml", DATA, "score.musicxml: is the score of a notation program; files .mid, .midi, .abc; export"),
        ("--harmonize 1 --rewrite 1 songs/song.mid", USAGE, "give only one of them"),
        ("--soundfont a.sf2", USAGE, "--soundfont: not with --no-sound"),
        ("--gibbs-steps 5", USAGE, "--gibbs-steps: requires --harmonize or --rewrite"),
        ("--sweeps 5", USAGE, "--gibbs-steps: requires --harmonize or --rewrite"),
        ("--instrument flute,oboe,horn,bassoon", USAGE, "flute,oboe,horn,bassoon: 4 instruments for 3 voices"),
        (
            "songs/song.mid --harmonize 1 --bars 1",
            USAGE,
            "--bars: only for continuations and new pieces, not with --har",
        ),
        ("songs/song.mid --rewrite 1 --bars 1", USAGE, "--rewrite; --rewrite-bars FIRST-LAST chooses bars"),
        ("songs/song.mid --harmonize 1", USAGE, "only continues music"),
        ("--output models/continues.onnx/x", USAGE, "is in a file, not a folder; give another path"),
        ("--model nowhere.onnx", DATA, "nowhere.onnx"),
        ("missing.mid", DATA, "missing.mid: does not exist"),
        ("--model songs", DATA, "songs"),
    ],
)
def test_bad_options_are_one_line(place, capsys, options, status, message):
    model = "" if "--model" in options else "--model models/continues"
    output = "" if "--output" in options else "--output out"
    (place / "score.musicxml").write_text("<score-partwise/>")
    run(f"generate music {options} {model} {output} --no-sound", status)
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert said[0].startswith("error: ")
    assert message in said[0]
    assert not (place / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--harmonize soprano", "'soprano': not a voice; use 1 to 3"),
        ("--rewrite 1,4", "'4': not a voice; use 1 to 3"),
        ("--rewrite all --rewrite-bars 2-9", "--rewrite-bars 2-9: FIRST-LAST, from 1 to 2, such as 1-2"),
        ("--rewrite all --rewrite-bars 0-1", "--rewrite-bars 0-1: FIRST-LAST, from 1 to 2"),
    ],
)
def test_voices_and_bars_that_are_not_there_are_one_line(place, capsys, options, message):
    run(f"generate music songs/song.mid {options} --model models/fills.onnx --output out --no-sound", USAGE)
    assert f"error: {message}" in capsys.readouterr().err


def test_a_soundfont_that_cannot_be_used_is_named_before_anything_is_made(place, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tinysoundfont", None)
    run("generate music --model models/continues.onnx --bars 1 --output out --soundfont a.sf2", USAGE)
    said = capsys.readouterr().err
    assert said.startswith("error: soundfont: TinySoundFont is not installed")
    assert said.count("\n") == 1
    assert not (place / "out").exists()


def test_the_sound_says_that_it_has_no_instruments_without_a_soundfont(place, capsys, monkeypatch):
    monkeypatch.setattr("recitative.cli.generate.find_soundfont", lambda: None)
    line = "generate music --model models/continues.onnx --bars 1 --output out"
    run(f"{line} --instrument flute")
    assert "note: --instrument is for MIDI and scores; for the sound too, give a --soundfont" in capsys.readouterr().err
    for options in ("", "--instrument piano", "--instrument flute --no-sound"):
        run(f"{line} {options}")
        assert "note:" not in capsys.readouterr().err


def test_a_model_and_its_file_write_and_score_together_as_one_of_them_alone(place, capsys):
    beside = "--with models/continues.onnx"
    for output, others in (("a", ""), ("b", beside)):
        run(f"generate music --model models/continues {others} --bars 2 --output {output} --no-sound")
    assert (place / "a" / "piece.mid").read_bytes() == (place / "b" / "piece.mid").read_bytes()
    capsys.readouterr()
    found = []
    for others in ("", beside):
        run(f"music score models/continues songs --json {others}")
        found.append(json.loads(capsys.readouterr().out)["nats_per_token"])
    assert found[1] == pytest.approx(found[0], rel=1e-5)


def test_a_score_is_the_same_of_the_folder_and_of_its_files(place, capsys):
    found = []
    for model in ("continues", "continues.onnx", "continues_int8.onnx"):
        run(f"music score models/{model} songs --json")
        found.append(json.loads(capsys.readouterr().out))
    assert found[0]["frames"] == found[1]["frames"] == 8
    assert found[0]["nats_per_frame"] == pytest.approx(3 * found[0]["nats_per_token"])
    assert found[1]["nats_per_token"] == pytest.approx(found[0]["nats_per_token"], abs=1e-3)
    assert found[2]["nats_per_token"] == pytest.approx(found[0]["nats_per_token"], rel=0.05)


def test_measured_numbers_go_into_the_results_in_the_place_of_older_ones(place, capsys, monkeypatch):
    record = "--results r/results.jsonl --results-md RESULTS.md --set test --model small --command made-by-hand"
    for _ in range(2):
        run(f"music score models/continues songs {record} --decoding exact")
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[2] / "tools")
    bench = importlib.import_module("bench_models")
    bench.app(f"models/continues.onnx --bars 1 --runs 1 {record} --decoding file".split(), standalone_mode=False)
    rows = [json.loads(line) for line in (place / "r" / "results.jsonl").read_text().splitlines()]
    assert [(row["decoding"], row["metric"]) for row in rows] == [
        ("exact", "nats per frame"), ("exact", "nats per token"), ("file", "real-time factor"),
    ]  # fmt: skip
    assert len({row["settings"] for row in rows}) == 1
    assert rows[0]["counts"] == "8 frames"
    assert rows[1]["counts"] == "24 tokens"
    assert all((row["command"], row["set"], row["model"]) == ("made-by-hand", "test", "small") for row in rows)
    assert "| small | test | exact | nats per frame |" in (place / "RESULTS.md").read_text()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("music score models/continues songs --with models/fills", "must have equal 'frames'"),
        ("music score models/fills songs", "a model that fills in notes has no likelihood"),
        ("music score models/fills.onnx songs", "a model that fills in notes has no likelihood"),
        ("music score models/continues songs --results-md x.md", "--results-md requires --results"),
        ("music score models/continues songs --results x.jsonl", "--results requires --model and --set"),
        ("music kept songs --conf conf.yaml --given songs --voices treble", "'treble': not a voice; use 1 to 3"),
        ("music kept songs --conf conf.yaml --given songs --voices 4", "'4': not a voice; use 1 to 3"),
        ("music kept songs --conf conf.yaml --voices 1", "--voices: requires --given"),
        ("music report songs --originals songs --no-sound --soundfont a.sf2", "--soundfont: not with --no-sound"),
        ("music report songs --originals songs --players 0 --soundfont a.sf2", "--soundfont: not with --players 0"),
    ],
)
def test_bad_usage_of_measuring_is_one_line(place, capsys, line, message):
    (place / "conf.yaml").write_text("kind: music\nframes: {voices: 3}\n")
    run(line, USAGE)
    assert message in capsys.readouterr().err


def test_what_was_given_is_looked_for_note_by_note(place, capsys):
    conf = "models/continues/settings.yaml"
    run("generate music songs/song.mid --model models/continues.onnx --bars 2 --count 2 --output a --no-sound")
    capsys.readouterr()
    run(f"music kept a --conf {conf} --given songs")
    given = len(notes("songs/song.mid"))
    new = sum(len(notes(f"a/song-{number}.mid")) for number in (1, 2)) - 2 * given
    assert capsys.readouterr().out.splitlines() == [
        f"100.00 % given notes kept [ {2 * given} / {2 * given} ]", f"100.00 % new notes in range [ {new} / {new} ]",
    ]  # fmt: skip
    run(f"music kept melodies --conf {conf} --given songs --voices 1")
    assert capsys.readouterr().out.startswith("100.00 % given notes kept")
    run(f"music kept melodies --conf {conf} --given songs", DATA)
    assert "melodies: 10 given notes are missing" in capsys.readouterr().err
    run(f"music kept a --conf {conf} --given models", DATA)
    assert "models: contains no music" in capsys.readouterr().err


def test_a_folder_is_checked_for_the_settings_that_are_to_read_it(place, capsys):
    (place / "conf.yaml").write_text("kind: music\nframes: {voices: 3, lowest: 60}\n")
    (place / "songs" / "broken.mid").write_bytes(b"no music")
    run("music check songs melodies --conf models/continues/settings.yaml", DATA)
    said = capsys.readouterr()
    assert said.out == "melodies: 1 piece, 8 frames, 1.00 voices sound in one\n"
    assert "songs/broken.mid" in said.err
    run("music check songs melodies --conf conf.yaml", DATA)
    assert "Song: pitch 57 is not from 60 to 84" in capsys.readouterr().err


def test_a_report_compares_what_was_made_with_the_originals(place, capsys):
    run("generate music --model models/continues.onnx --bars 2 --count 2 --output made --no-sound")
    write_midi(from_grid(tied(SONG.astype(np.int16) + 5), 4, name="Copied"), place / "made" / "copied.mid")
    capsys.readouterr()
    run("music report made --originals songs --players 2 --no-sound")
    assert capsys.readouterr().out == "made/report.html\n"
    page = (place / "made" / "report.html").read_text()
    assert page.count('<article class="card">') == 2
    run("music report made --originals songs --json --output other/page.html --players 0")
    numbers = json.loads(capsys.readouterr().out)
    assert numbers["generated"]["pieces"] == 3
    assert numbers["originals"]["quarters"] == 2
    assert numbers["copies"]["Copied"] == {"length": 8, "name": "Song", "start": 0, "transposition": 5, "at": 0}
    assert numbers["longest_copy"]["length"] == 8
    assert (place / "other" / "page.html").exists()


def test_the_page_has_sound(place):
    run("music report songs --originals songs --output page.html")
    assert "data:audio/mpeg;base64," in (place / "page.html").read_text()


def test_a_report_names_bad_files_and_shows_the_others(place, capsys):
    (place / "songs" / "broken.mid").write_bytes(b"no music")
    run("music report songs --originals melodies --no-sound", DATA)
    said = capsys.readouterr()
    assert "songs/broken.mid" in said.err
    assert (place / "songs" / "report.html").exists()
    run("music report models --originals melodies --no-sound --output page.html", DATA)
    assert "models: contains no music" in capsys.readouterr().err
