"""Letter-to-sound models: trained on a small language whose spelling has rules, asked by every verb that uses them."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest

import recitative
from command_line import Ran, refusal, run
from recitative.asr.kind import G2P
from recitative.model.export import export_model
from recitative.model.folder import TorchStage, load_model
from recitative.model.onnx_stage import OnnxStage
from recitative.stage import Padded
from recitative.text.tokens import Lexicon

SOUNDS = {"a": ("AH",), "b": ("B",), "x": ("K", "S"), "e": ("EH",)}
SETTINGS = ("batch_words=16", "model.embedding=8", "model.recurrent.layers=1", "model.recurrent.hidden=16",
            "model.recurrent.dropout=0", "train.epochs=6", "train.learning_rate=0.02", "train.warmup_steps=10",
            "train.ema=0", "train.threads=1")  # fmt: skip


def sounds(word: str) -> tuple[str, ...]:
    """A vowel between two consonants is long."""
    said = [("IY",) if letter == "e" and 0 < i < len(word) - 1 else SOUNDS[letter] for i, letter in enumerate(word)]
    return tuple(phone for phones in said for phone in phones)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ran]:
    folder = tmp_path_factory.mktemp("g2p")
    words = ["".join(letters) for length in (1, 2, 3, 4) for letters in product("abex", repeat=length)]
    Lexicon({word: (sounds(word),) for word in words if word != "xex"}).write(folder / "dictionary")
    done = run("g2p", "train", folder / "dictionary", "--output", folder / "run", "--quiet", *SETTINGS)
    return folder, done


def test_words_that_were_held_out_are_scored(trained: tuple[Path, Ran]) -> None:
    folder, done = trained
    assert done.out.startswith(f"{folder / 'run' / 'model'}: 6 epochs, ")
    wrong = float(done.out.split("words held out ")[1].split("%")[0])
    assert wrong < 30


def test_a_word_that_no_dictionary_has_is_pronounced(trained: tuple[Path, Ran]) -> None:
    model = recitative.load(trained[0] / "run" / "model")
    assert model.pronounce(["xex", "ab", "", "zoo"]) == {"xex": ("K", "S", "IY", "K", "S"), "ab": ("AH", "B")}
    said = run("g2p", "pronounce", trained[0] / "run" / "model", "xex", "zoo", status=1)
    assert said.out == "xex K S IY K S\n"
    assert said.err.endswith("cannot pronounce 'zoo'; letters of abex; spell it otherwise\n")


@pytest.mark.parametrize("weights", ["float32", "int8"])
def test_an_exported_file_says_what_the_folder_says(trained: tuple[Path, Ran], tmp_path: Path, weights: str) -> None:
    folder, file = trained[0] / "run" / "model", tmp_path / "g2p.onnx"
    assert f"{file}: {weights}, " in run("export", folder, "--output", file, "--weights", weights).out
    words = ["".join(letters) for length in (1, 3, 4, 5) for letters in product("abex", repeat=length)]
    assert recitative.load(file).pronounce(words) == recitative.load(folder).pronounce(words)
    assert run("g2p", "pronounce", file, "xex").out == "xex K S IY K S\n"


def test_the_network_in_a_file_gives_the_same_log_probabilities(trained: tuple[Path, Ran], tmp_path: Path) -> None:
    model = load_model(trained[0] / "run" / "model", G2P)
    export_model(model, tmp_path / "g2p.onnx")
    letters = Padded(np.array([[1, 2, 3, 4, 4], [2, 1, 0, 0, 0]]), np.array([5, 2]))
    expected, _ = TorchStage(model.network).step(letters, {}, last=True)
    found, _ = OnnxStage(tmp_path / "g2p.onnx", G2P).step(letters, {}, last=True)
    assert found.lengths.tolist() == expected.lengths.tolist() == [5, 2]
    for row, length in enumerate(expected.lengths):
        np.testing.assert_allclose(found.data[row, :length], expected.data[row, :length], atol=1e-5)
    frames = np.exp(expected.data[0]).reshape(5 * model.settings.model.frames_per_letter, len(model.phones))
    np.testing.assert_allclose(frames.sum(1), 1.0, atol=1e-5)


def test_a_lexicon_has_a_guess_for_every_word_that_can_be_spelled(trained: tuple[Path, Ran], tmp_path: Path) -> None:
    folder, _ = trained
    (tmp_path / "text").write_text("u1 ab xex abexab\nu2 zoo ab\n")
    options = ("--dictionary", folder / "dictionary", "--guess", folder / "run" / "model", "--output", tmp_path / "lex")
    assert "lacks 1 word of the transcripts (1 of 5)" in run("lexicon", tmp_path / "text", *options, status=1).err
    done = run("lexicon", tmp_path / "text", *options, "--skip-unknown")
    assert f"{folder / 'run' / 'model'}: 2 of 3 words that the dictionary lacks pronounced" in done.err
    entries = Lexicon.read(tmp_path / "lex").entries
    assert list(entries) == ["ab", "abexab", "xex"]
    assert entries["xex"] == (("K", "S", "IY", "K", "S"),)


def test_guesses_that_cannot_be_used_are_refused(trained: tuple[Path, Ran], tmp_path: Path) -> None:
    folder, _ = trained
    (tmp_path / "text").write_text("u1 ab xex\n")
    (tmp_path / "other").write_text("ab AA B\n")
    guess = ("--guess", folder / "run" / "model", "--output", tmp_path / "lex")
    lexicon = ("lexicon", tmp_path / "text")
    told = run(*lexicon, "--dictionary", tmp_path / "other", *guess, status=1).err
    assert "has AH, EH, IY, K, S, phones that the dictionary lacks" in told
    assert "requires --dictionary" in refusal(*lexicon, *guess, "--tokens", tmp_path / "none")
    told = run(*lexicon, "--dictionary", folder / "dictionary", "--guess", tmp_path, *guess[2:], status=1).err
    assert "has no settings.yaml; a letter-to-sound model's folder" in told
    assert not (tmp_path / "lex").exists()


def test_a_run_goes_on_with_the_same_settings_only(trained: tuple[Path, Ran]) -> None:
    folder, done = trained
    again = run("g2p", "train", folder / "dictionary", "--output", folder / "run", "--quiet", *SETTINGS)
    assert again.out.split(" s; ")[1] == done.out.split(" s; ")[1]
    told = refusal("g2p", "train", folder / "dictionary", "--output", folder / "run", "--quiet", "train.threads=1")
    assert "holds a run with other settings" in told


def test_a_dictionary_of_a_few_words_is_refused(tmp_path: Path) -> None:
    (tmp_path / "dictionary").write_text("ab AH B\n")
    train = ("g2p", "train", tmp_path / "dictionary", "--output", tmp_path / "run", "--quiet", "train.threads=1")
    assert "dictionary: has 1 word; enough to hold some out" in run(*train, status=1).err
