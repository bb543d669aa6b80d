"""The models that come with the package: small, complete, and what they say they are."""

from pathlib import Path

import numpy as np
import pytest

from command_line import refusal
from recitative import load, pretrained
from recitative.asr.decoding import DecodingOptions
from recitative.asr.kind import RECOGNIZER
from recitative.asr.pronunciation import guess
from recitative.asr.recognizer import Recognizer
from recitative.asr.stream import Transcriber
from recitative.audio.files import write_wav
from recitative.decoding.hotwords import HotWord
from recitative.errors import DataError
from recitative.kinds import read_metadata
from recitative.model.onnx_stage import OnnxStage
from recitative.music.midi import read_midi, write_midi
from recitative.music.piece import from_grid, tied, to_grid
from recitative.text.tokens import TokenTable
from small_music import is_authentic

AN4 = ["an4-bidirectional", "an4-streaming"]
ENGLISH = ["en", "en-g2p", "en-punctuation"]
CHORALES = ["chorales", "chorales-fill"]


def test_all_are_there_and_take_little_room():
    assert pretrained.names("recognizer") == [*AN4, "en"]
    assert (
        pretrained.names()
        == AN4 + CHORALES + ENGLISH
        == sorted(pretrained.FOR)
        == sorted(pretrained.SCORES)
        == sorted(pretrained.KINDS)
    )
    assert sum(pretrained.path_of(name).stat().st_size for name in AN4) <= 12e6
    assert sum(pretrained.path_of(name).stat().st_size for name in ENGLISH) <= 25e6
    assert max(pretrained.path_of(name).stat().st_size for name in CHORALES) <= 4e6
    assert pretrained.path_of("an4") is None


def test_the_list_has_size_purpose_error_rate_and_license(recitative):
    lines = recitative("models").stdout.splitlines()
    assert [line.split()[0] for line in lines[::2]] == pretrained.names()
    english = lines.index(next(line for line in lines if line.startswith("en ")))
    assert " MB  recognizer of ordinary English" in lines[english]
    assert lines[english + 1].strip().startswith("WER ")
    assert all(line.endswith("; Apache-2.0") for line in lines[1::2])


def test_a_folder_of_recordings_does_not_hide_the_model_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "en").mkdir()
    (tmp_path / "en" / "talk.wav").touch()
    assert pretrained.find("en") == pretrained.path_of("en")
    assert pretrained.name_of("en") == "en"
    assert isinstance(load("en"), Recognizer)
    (tmp_path / "en" / "settings.yaml").touch()  # a model folder of one's own takes precedence
    assert pretrained.find("en") == Path("en")
    assert pretrained.name_of("en") == f"{tmp_path.name}/en"


@pytest.mark.parametrize("name", AN4)
def test_each_carries_its_licence_and_the_command_that_made_it(name):
    card = OnnxStage(pretrained.path_of(name), RECOGNIZER).metadata
    assert "Carnegie Mellon University" in card.notes
    assert "recipes/an4/run.sh" in card.notes
    assert card.settings.model.recurrent.direction == ("forward" if name == "an4-streaming" else "bidirectional")


def test_the_model_of_english_says_what_it_was_trained_on():
    metadata = OnnxStage(pretrained.path_of("en"), RECOGNIZER).metadata
    assert "recipes/english/run.sh" in metadata.notes
    for corpus in ("LibriSpeech", "Common Voice", "CMU ARCTIC", "LJ Speech", "speechocean762", "Asterisk"):
        assert corpus in metadata.notes
    assert metadata.weights == "int8"
    assert len(metadata.extras["lexicon"]) >= 60000


def test_those_that_stream_hear_at_most_300_ms_ahead():
    assert Recognizer.load("an4-streaming").latency_ms <= 250
    assert Recognizer.load("en").latency_ms <= 300


@pytest.mark.parametrize(
    ("command", "known"),
    [
        ("transcribe x.wav --model", [*AN4, "en"]),
        ("listen --model", [*AN4, "en"]),
        ("keywords spot x.wav --keywords a --model", [*AN4, "en"]),
        ("serve --model", [*AN4, *CHORALES, "en"]),
        ("generate music --model", CHORALES),
        ("g2p pronounce", ["en-g2p"]),
        ("info", [*AN4, *CHORALES, *ENGLISH]),
    ],
)
def test_a_verb_offers_only_the_models_that_it_takes(command, known, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.wav").touch()
    words = ["word"] if command == "g2p pronounce" else []
    for name, found in {"nowhere": "no model", "en-punctuation": "a punctuation model"}.items():
        if name not in known:
            expected = (
                f"error: {name}: is {found}; a path, or a pretrained model: {', '.join(known)}; correct the model"
            )
            assert refusal(*command.split(), name, *words, status=1) == expected


def test_english_is_the_default_and_says_so(tmp_path, recitative):
    recording = tmp_path / "a.wav"
    write_wav(recording, np.zeros(8000, np.float32), 8000)
    done = recitative("transcribe", recording)
    assert done.returncode == 0
    assert done.stderr.startswith("model: en (others with --model: an4-bidirectional, an4-streaming, or a path)")
    named = recitative("transcribe", recording, "--model", "en")
    _, warnings = done.stderr.split("\n", maxsplit=1)
    assert (named.returncode, named.stdout, named.stderr) == (0, done.stdout, warnings)


def test_english_takes_hot_words_and_keywords_that_its_lexicon_lacks():
    network = load("en").network
    assert isinstance(network, Transcriber)
    assert not {"kubernetes", "Zorblax"} & set(network.language.lexicon.entries)
    hot_words = HotWord("kubernetes", 4.0), HotWord("doctor Zorblax", 4.0)
    network.with_options(DecodingOptions(hot_words=hot_words)).decoder  # noqa: B018
    assert guess(["tokyo", "TOKYO", "x1"], network.tokens) == dict.fromkeys(
        ["tokyo", "TOKYO"], ("T", "OW", "K", "IY", "OW")
    )
    assert guess(["tokyo"], TokenTable(("<blank>", "T", "OW", "K"))) == {}, "other phones"
    with pytest.raises(DataError, match="hot word 'x1': not in the lexicon"):
        network.with_options(DecodingOptions(hot_words=(HotWord("x1", 4.0),))).decoder  # noqa: B018


@pytest.mark.parametrize("name", CHORALES)
def test_models_of_chorales_say_what_they_are(name):
    card = read_metadata(pretrained.path_of(name))
    assert "chorales of Johann Sebastian Bach (public domain)" in card.notes
    assert "recipes/chorales/run.sh" in card.notes
    assert card.settings.model.recurrent.direction == ("forward" if name == pretrained.MUSIC else "bidirectional")


@pytest.fixture
def generate(recitative):
    def run(*arguments):
        recitative("generate", "music", "--no-sound", *arguments).check_returncode()

    return run


def notes_of(path):
    return {(note.start, note.length, note.pitch) for note in read_midi(path, 4).notes}


def test_music_is_written_without_naming_a_model(tmp_path, generate):
    for name in ("first", "again"):
        generate("--bars", 4, "--key", "G", "--seed", 3, "--output", tmp_path / name)
    (first,), (again,) = (sorted((tmp_path / name).glob("*.mid")) for name in ("first", "again"))
    assert first.read_bytes() == again.read_bytes()
    piece = read_midi(first, 4)
    assert piece.voices == 4
    assert {note.pitch % 12 for note in piece.notes} <= {7, 9, 11, 0, 2, 4, 6}


def test_a_melody_is_harmonized_without_naming_a_model(tmp_path, generate):
    melody = np.array([[67], [67], [69], [69], [71], [71], [69], [69]] * 2, np.int16)
    write_midi(from_grid(tied(melody), 4, name="melody"), tmp_path / "melody.mid")
    generate(tmp_path / "melody.mid", "--harmonise", "soprano", "--sweeps", 10, "--output", tmp_path / "out")
    (written,) = (tmp_path / "out").glob("*.mid")
    assert notes_of(tmp_path / "melody.mid") < notes_of(written)
    assert read_midi(written, 4).voices == 4


def test_chorales_harmonizes_notes_in_python():
    melody = [(67, 1), (69, 1), (71, 1), (69, 1), (67, 2), (None, 1)]
    chorale = load("chorales").harmonize(melody, cadence=True)
    assert [note.pitch for note in chorale.notes if note.voice == 0] == [67, 69, 71, 69, 67]
    assert chorale.voices == 4
    assert is_authentic(to_grid(chorale.at_resolution(4), 4).pitches[:24], (7, False))
    assert (chorale.notation.fifths, chorale.notation.parts) == (1, ("soprano", "alto", "tenor", "bass"))
