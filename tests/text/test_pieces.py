"""Sentence pieces: learning them, and cutting words into them, against sentencepiece itself and brute force."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from recitative.cli.main import app
from recitative.errors import DataError, UsageError
from recitative.text.lexicon import Lexicon
from recitative.text.pieces import Cutter, learn_pieces
from recitative.text.tokens import TokenTable

SCORES = {" ": -3.0, "a": -2.0, "b": -2.5, " a": -2.2, "ab": -2.4, " ab": -5.0, "ba": -4.0}
TABLE = TokenTable.of_pieces(SCORES)


def sentences(count: int, seed: int, words: int = 400) -> list[str]:
    """Words made of syllables, some of them frequent: a language in which pieces can be found."""
    rng = np.random.default_rng(seed)
    syllables = ["".join(pair) for pair in itertools.product("bdfgklmnprst", ["a", "e", "i", "o", "u", "on", "'s"])]
    lexicon = ["".join(rng.choice(syllables, rng.integers(1, 4))) for _ in range(words)]
    chance = 1 / np.arange(1, words + 1)
    return [" ".join(rng.choice(lexicon, rng.integers(1, 12), p=chance / chance.sum())) for _ in range(count)]


def cuts(text: str) -> list[tuple[str, ...]]:
    """All of them."""
    if not text:
        return [()]
    return [(text[:n], *rest) for n in range(1, len(text) + 1) for rest in cuts(text[n:])]


@given(st.text("ab", min_size=1, max_size=9))
def test_a_word_is_cut_as_brute_force_cuts_it(word: str) -> None:
    possible = [cut for cut in cuts(f" {word}") if all(piece in SCORES for piece in cut)]
    best = max(sum(SCORES[piece] for piece in cut) for cut in possible)
    cut = Cutter(SCORES).cut(word)
    assert "".join(cut) == f" {word}"
    assert sum(SCORES[piece] for piece in cut) == pytest.approx(best)


@pytest.mark.parametrize("size", [60, 300])
def test_text_is_cut_as_sentencepiece_cuts_it(size: int) -> None:
    sentencepiece = pytest.importorskip("sentencepiece", reason="learning pieces needs it")
    texts = sentences(2000, 1)
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=model, vocab_size=size, model_type="unigram",
        character_coverage=1.0, normalization_rule_name="identity", num_threads=1, minloglevel=2,
        bos_id=-1, eos_id=-1,
    )  # fmt: skip
    theirs = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    table = TokenTable.of_pieces(learn_pieces(texts, size - 1))
    assert len(table) == size
    for text in [*texts, *sentences(2000, 2)]:
        assert [piece.replace(" ", "▁") for piece in table.split(text)] == theirs.encode(text, out_type=str), text


def test_the_file_has_a_third_column_and_reads_back(tmp_path: Path) -> None:
    TABLE.write(tmp_path / "tokens.txt")
    lines = (tmp_path / "tokens.txt").read_text().splitlines()
    assert lines[:5] == ["<blank> 0", "<space> 1 -3.0", "a 2 -2.0", "b 3 -2.5", "▁a 4 -2.2"]
    read = TokenTable.read(tmp_path / "tokens.txt")
    assert read == TABLE
    assert read.unit == "piece"
    assert read.space is None, "what stands between words is in the pieces"


@given(st.lists(st.text("ab", min_size=1), max_size=5).map(" ".join))
def test_there_and_back(text: str) -> None:
    assert TABLE.decode(TABLE.encode(text)) == text


def test_what_pieces_cannot_write_is_named_by_its_characters() -> None:
    assert TABLE.unknown("abca ▁d") == ["c", "d", "▁"]
    with pytest.raises(DataError, match=r"utterance 'u': 'c', 'd' not in the token table; its characters only"):
        TABLE.encode("abca d", utt_id="u")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<blank> 0\n<space> 1 -1\na 2\n", "tokens.txt:3: 'a 2'; a score behind every piece, or behind none"),
        ("<blank> 0\na 1\nb 2 -1\n", "tokens.txt:3: 'b 2 -1'; a score behind every piece, or behind none"),
        ("<blank> 0\na 1 high\n", "tokens.txt:2: score 'high'; a number"),
        ("<blank> 0\na 1 nan\n", "tokens.txt:2: score 'nan'; a number"),
        ("<blank> 0\na 1 -1\na 2 -1\n", "tokens.txt:3: 'a' appears again"),
        ("<blank> 0\na 1 -1\n▁ab 2 -1\n", "tokens.txt: ' ', 'b' occur within pieces only; each character of a piece"),
    ],
)
def test_a_bad_table_is_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "tokens.txt").write_text(content)
    with pytest.raises(DataError) as caught:
        TokenTable.read(tmp_path / "tokens.txt")
    assert message in str(caught.value)


def test_a_lexicon_spells_words_in_their_best_pieces_and_reads_back(tmp_path: Path) -> None:
    lexicon = Lexicon.of_spelling(["abb", "ba", "b"], TABLE)
    assert lexicon.entries == {"abb": ((" a", "b", "b"),), "ba": ((" ", "ba"),), "b": ((" ", "b"),)}
    assert [list(way) for way in lexicon.pronunciations("ba", TABLE)] == [TABLE.encode("ba")]
    lexicon.write(tmp_path / "lexicon.txt")
    assert (tmp_path / "lexicon.txt").read_text() == "abb ▁a b b\nb <space> b\nba <space> ba\n"
    assert Lexicon.read(tmp_path / "lexicon.txt", TABLE) == lexicon


@pytest.mark.parametrize(
    ("texts", "size", "message"),
    [
        (["abc d"], 4, "transcripts: have 5 characters, the space included; at most the 4 pieces asked for"),
        (["a ▁b"], 9, "transcripts: have '▁', the sign of a word's begin"),
    ],
)
def test_what_cannot_be_learned_is_said(texts: list[str], size: int, message: str) -> None:
    with pytest.raises(DataError) as caught:
        learn_pieces(texts, size)
    assert message in str(caught.value)


def test_the_command_makes_a_table_of_the_size_that_is_asked_for(tmp_path: Path) -> None:
    pytest.importorskip("sentencepiece", reason="learning pieces needs it")
    (tmp_path / "text").write_text("".join(f"u{n:04d} {text}\n" for n, text in enumerate(sentences(500, 3))))
    command = ["tokens", str(tmp_path), "--unit", "piece", "--output", str(tmp_path / "tokens.txt")]
    done = CliRunner().invoke(app, [*command, "--size", "64"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "64 tokens from 500 transcripts" in done.stdout
    assert len(TokenTable.read(tmp_path / "tokens.txt")) == 64
    with pytest.raises(UsageError, match="--size goes with --unit piece"):
        CliRunner().invoke(app, command, catch_exceptions=False)
    with pytest.raises(UsageError, match="--size goes with --unit piece"):
        CliRunner().invoke(app, [*command[:3], "word", *command[4:], "--size", "64"], catch_exceptions=False)
