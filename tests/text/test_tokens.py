"""The token table, the vocabulary of a language model, and words of tokens."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from command_line import refusal, run
from recitative.asr.decoding import TimedToken
from recitative.errors import DataError
from recitative.text.tokens import (
    END,
    Lexicon,
    PieceSegmenter,
    TokenTable,
    Vocabulary,
    Word,
    learn_pieces,
    required_frames,
    words_of,
)

TABLE = TokenTable(("<blank>", " ", "a", "b"))
WORDS = TokenTable(("<blank>", " one", " two"))


def test_the_table_holds_every_character_once_after_the_blank() -> None:
    assert TokenTable.from_texts(["ba", "a b", "ab"]) == TABLE
    assert len(TABLE) == 4


def test_the_file_is_what_a_person_would_write(tmp_path: Path) -> None:
    TABLE.write(tmp_path / "new" / "tokens.txt")
    assert (tmp_path / "new" / "tokens.txt").read_text() == "<blank> 0\n<space> 1\na 2\nb 3\n"
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["tokens.txt"]


@given(st.lists(st.text(st.characters(exclude_categories=["C", "Z"])), min_size=1))
def test_every_table_and_text_survives_the_way_there_and_back(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    table = TokenTable.from_texts([*texts, "a b"])
    path = tmp_path_factory.mktemp("tokens") / "tokens.txt"
    table.write(path)
    assert TokenTable.read(path) == table
    for text in texts:
        assert table.decode(table.encode(text)) == text


def test_a_table_of_words_writes_them_as_sentence_pieces(tmp_path: Path) -> None:
    assert TokenTable.from_texts(["two one", "one"], "word") == WORDS
    assert WORDS.unit == "word"
    assert TABLE.unit == "character"
    WORDS.write(tmp_path / "tokens.txt")
    assert (tmp_path / "tokens.txt").read_text() == "<blank> 0\n▁one 1\n▁two 2\n"
    assert TokenTable.read(tmp_path / "tokens.txt") == WORDS


def test_words_there_and_back() -> None:
    assert WORDS.encode("two one one") == [2, 1, 1]
    assert WORDS.decode([2, 1, 1]) == "two one one"
    assert WORDS.encode("") == []
    assert WORDS.decode([]) == ""
    with pytest.raises(DataError, match=r"utterance 'u': 'three' not in the token table; its words only"):
        WORDS.encode("one three", utt_id="u")


def test_a_corpus_may_use_the_sign_of_a_word_as_a_character(tmp_path: Path) -> None:
    table = TokenTable.from_texts(["▁ a"])
    table.write(tmp_path / "tokens.txt")
    assert TokenTable.read(tmp_path / "tokens.txt") == table
    assert table.unit == "character"
    assert table.decode(table.encode("a ▁")) == "a ▁"


def test_labels_are_numbers_from_one() -> None:
    assert TABLE.encode("a b") == [2, 1, 3]
    assert TABLE.decode([2, 1, 3]) == "a b"
    assert TABLE.encode("") == []


def test_an_unknown_character_names_the_utterance() -> None:
    with pytest.raises(DataError, match=r"utterance 'anna-1': '4', 'x' not in the token table"):
        TABLE.encode("xa4x", utt_id="anna-1")


@pytest.mark.parametrize("label", [0, 4, -1])
def test_the_blank_and_numbers_beyond_the_table_are_no_labels(label: int) -> None:
    with pytest.raises(ValueError, match=f"{label} is not a label; labels are 1 to 3"):
        TABLE.decode([label])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a 0\n", "tokens.txt:1: 'a 0'; '<blank>' in the first line and only there"),
        ("<blank> 0\na 2\n", "tokens.txt:2: 'a 2'; 'symbol 1': ids count up from 0"),
        ("<blank> 0\na 1\na 2\n", "tokens.txt:3: 'a' is repeated; each symbol once"),
        ("<blank> 0\nAH 1\n<space> 2\n", "tokens.txt:3: '<space>' among phones"),
        ("<blank> 0\n  1\n", "tokens.txt:2: ' ' is not a symbol; a character, '<space>' for the space, '▁word' for"),
        ("<blank> 0\na 1\n▁b 2\n", "tokens.txt:2: 'a' among words"),
        ("<blank> 0\n▁a 1\nb 2\n", "tokens.txt:3: 'b' among words"),
        ("<blank> 0\n▁a b 1\n", "tokens.txt:2: '▁a b' is not a symbol"),
        ("<blank> 0\r\na 1\r\n", "tokens.txt:1: "),
        ("", "tokens.txt:1: ''; 'symbol 0'"),
        ("\udcff 0\n", "is not UTF-8"),
        ("<blank> 0\n<space> 1 -1\na 2\n", "tokens.txt:3: 'a 2'; a score for every piece, or for none"),
        ("<blank> 0\na 1\nb 2 -1\n", "tokens.txt:3: 'b 2 -1'; a score for every piece, or for none"),
        ("<blank> 0\na 1 high\n", "tokens.txt:2: score 'high'; a number"),
        ("<blank> 0\na 1 nan\n", "tokens.txt:2: score 'nan'; a number"),
        ("<blank> 0\na 1 -1\na 2 -1\n", "tokens.txt:3: 'a' is repeated"),
        ("<blank> 0\na 1 -1\n▁ab 2 -1\n", "tokens.txt: ' ', 'b' occur only within pieces; each character of a piece"),
    ],
)
def test_a_bad_table_is_named_by_its_line(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "tokens.txt").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError) as caught:
        TokenTable.read(tmp_path / "tokens.txt")
    assert message in str(caught.value)


def test_a_missing_table_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="make it with 'recitative tokens'"):
        TokenTable.read(tmp_path / "tokens.txt")


def fits_by_search(labels: str, frames: int) -> bool:
    """Walk all ways to lay labels on frames: stay, go on, or (between equal labels) put a blank first."""
    if not labels:
        return True
    if frames < 1:
        return False
    rest = labels[1:]
    blank = 1 if rest and rest[0] == labels[0] else 0
    return fits_by_search(labels, frames - 1) or fits_by_search(rest, frames - 1 - blank)


@pytest.mark.parametrize("labels", ["", "a", "ab", "aa", "aab", "aabb", "abab", "aaa"])
def test_required_frames_is_the_least_number_on_which_the_labels_fit(labels: str) -> None:
    assert required_frames(labels) == next(frames for frames in range(20) if fits_by_search(labels, frames))


def test_phones_are_recognized_by_their_names_and_separated_by_spaces(tmp_path: Path) -> None:
    table = TokenTable.from_texts(["B IY", "K AE T"], "phone")
    assert table.symbols == ("<blank>", "AE", "B", "IY", "K", "T")
    assert table.unit == "phone"
    assert table.encode("K AE T") == [4, 1, 5]
    assert table.decode([4, 1, 5]) == "K AE T"
    assert table.unknown("K OW B") == ["OW"]
    table.write(tmp_path / "tokens.txt")
    assert TokenTable.read(tmp_path / "tokens.txt") == table


SCORES = {" ": -3.0, "a": -2.0, "b": -2.5, " a": -2.2, "ab": -2.4, " ab": -5.0, "ba": -4.0}
PIECES = TokenTable.of_pieces(SCORES)


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
    cut = PieceSegmenter(SCORES).segment(word)
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
    PIECES.write(tmp_path / "tokens.txt")
    lines = (tmp_path / "tokens.txt").read_text().splitlines()
    assert lines[:5] == ["<blank> 0", "<space> 1 -3.0", "a 2 -2.0", "b 3 -2.5", "▁a 4 -2.2"]
    read = TokenTable.read(tmp_path / "tokens.txt")
    assert read == PIECES
    assert read.unit == "piece"
    assert read.space is None, "what stands between words is in the pieces"


@given(st.lists(st.text("ab", min_size=1), max_size=5).map(" ".join))
def test_there_and_back(text: str) -> None:
    assert PIECES.decode(PIECES.encode(text)) == text


def test_characters_without_a_piece_are_named() -> None:
    assert PIECES.unknown("abca ▁d") == ["c", "d", "▁"]
    with pytest.raises(DataError, match=r"utterance 'u': 'c', 'd' not in the token table; its characters only"):
        PIECES.encode("abca d", utt_id="u")


def test_a_lexicon_spells_words_in_their_best_pieces_and_reads_back(tmp_path: Path) -> None:
    lexicon = Lexicon.of_spelling(["abb", "ba", "b"], PIECES)
    assert lexicon.entries == {"abb": ((" a", "b", "b"),), "ba": ((" ", "ba"),), "b": ((" ", "b"),)}
    assert [list(way) for way in lexicon.pronunciations("ba", PIECES)] == [PIECES.encode("ba")]
    lexicon.write(tmp_path / "lexicon.txt")
    assert (tmp_path / "lexicon.txt").read_text() == "abb ▁a b b\nb <space> b\nba <space> ba\n"
    assert Lexicon.read(tmp_path / "lexicon.txt", PIECES) == lexicon


@pytest.mark.parametrize(
    ("texts", "size", "message"),
    [
        (["abc d"], 4, "transcripts: have 5 characters, including the space; at most 4, the number of pieces"),
        (["a ▁b"], 9, "transcripts: have '▁', the symbol for the start of a word"),
    ],
)
def test_texts_that_pieces_cannot_be_learned_from_are_refused(texts: list[str], size: int, message: str) -> None:
    with pytest.raises(DataError) as caught:
        learn_pieces(texts, size)
    assert message in str(caught.value)


def test_the_command_makes_a_table_of_the_size_that_is_asked_for(tmp_path: Path) -> None:
    pytest.importorskip("sentencepiece", reason="learning pieces needs it")
    (tmp_path / "text").write_text("".join(f"u{n:04d} {text}\n" for n, text in enumerate(sentences(500, 3))))
    command = ("tokens", tmp_path, "--output", tmp_path / "tokens.txt")
    assert "64 tokens from 500 transcripts" in run(*command, "--unit", "piece", "--size", 64).out
    assert len(TokenTable.read(tmp_path / "tokens.txt")) == 64
    for options in (("--unit", "piece"), ("--unit", "word", "--size", 64)):
        assert "--size and --unit piece require each other" in refusal(*command, *options)


TEXTS = ["the cat sat", "the  cat\tran", "a dog"]


def test_words_are_listed_from_the_count_on_that_is_asked_for() -> None:
    assert Vocabulary.from_texts(TEXTS, "word", 2).table.symbols == ("<blank>", " <unk>", " cat", " the")
    assert len(Vocabulary.from_texts(TEXTS, "word")) == 8  # the end, <unk>, six words


def test_characters_are_listed_with_the_space_even_if_no_text_has_one() -> None:
    assert Vocabulary.from_texts(["ab", "a"], "character", 2).table.symbols == ("<blank>", " ", "a", "\ufffd")


def test_other_symbols_become_the_unknown_symbol_and_are_counted() -> None:
    words = Vocabulary.from_texts(TEXTS, "word", 2)
    assert words.encode("the cow  cat") == [words.table.ids[" the"], words.unknown, words.table.ids[" cat"]]
    assert words.count_unknown(["the cow cow", "ran <unk>"]) == {"cow": 2, "ran": 1, "<unk>": 1}
    assert (words.knows("cat"), words.knows("cow"), words.knows("<unk>")) == (True, False, False)
    letters = Vocabulary.from_texts(["abc"], "character")
    assert letters.encode("a\nd") == [letters.table.ids["a"], letters.space, letters.unknown]
    assert (letters.knows("cab"), letters.knows("cad")) == (True, False)
    assert letters.count_unknown(["d d"]) == {"d": 2}


def test_tokens_are_written_as_a_person_writes_them() -> None:
    words, letters = Vocabulary.from_texts(TEXTS, "word"), Vocabulary.from_texts(TEXTS, "character")
    assert [words.symbol(t) for t in (END, words.unknown, words.table.ids[" dog"])] == ["</s>", "<unk>", "dog"]
    assert [letters.symbol(t) for t in (END, letters.space)] == ["</s>", " "]


@pytest.mark.parametrize("word", ["", " cat", "cat ", "the cat"])
def test_a_word_is_one_word(word: str) -> None:
    with pytest.raises(ValueError, match="is not one word"):
        Vocabulary.from_texts(TEXTS, "word").encode_word(word)


@pytest.mark.parametrize("symbols", [(" cat",), ("AH", "K")])
def test_a_table_of_a_recognizer_or_of_phones_is_no_vocabulary(symbols: tuple[str, ...]) -> None:
    with pytest.raises(DataError, match="the token table: has no '<unk>'; the table of a language model"):
        Vocabulary(TokenTable(("<blank>", *symbols)))


def timed(*symbols: str) -> list[TimedToken]:
    return [TimedToken(symbol, t / 10, t / 10 + 0.05, 1 - t / 10) for t, symbol in enumerate(symbols)]


def test_letters_join_between_spaces_and_take_the_least_confidence() -> None:
    assert words_of(timed(" ", "o", "n", " ", " ", "a")) == [Word("on", 0.1, 0.25, 0.8), Word("a", 0.5, 0.55, 0.5)]


def test_tokens_that_are_words_stand_alone() -> None:
    assert [word.word for word in words_of(timed(" two", " six", "ty", " one"))] == ["two", "sixty", "one"]


def test_no_tokens_no_words() -> None:
    assert words_of([]) == []
    assert words_of(timed(" ", " ")) == []
