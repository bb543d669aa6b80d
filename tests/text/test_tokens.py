"""The token table."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recitative.errors import DataError
from recitative.text.tokens import TokenTable, required_frames

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
    with pytest.raises(ValueError, match=f"{label} is no label; labels are 1 to 3"):
        TABLE.decode([label])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a 0\n", "tokens.txt:1: 'a 0'; '<blank>' in the first line and only there"),
        (b"<blank> 0\na 2\n", "tokens.txt:2: 'a 2'; 'symbol 1': ids count up from 0"),
        (b"<blank> 0\na 1\na 2\n", "tokens.txt:3: 'a' appears again; each symbol once"),
        (b"<blank> 0\nAH 1\n<space> 2\n", "tokens.txt:3: '<space>' among phones"),
        (
            b"<blank> 0\n  1\n",
            "tokens.txt:2: ' ' is no symbol; a character, '<space>' for the space, '▁word' for",
        ),
        ("<blank> 0\na 1\n▁b 2\n".encode(), "tokens.txt:2: 'a' among words"),
        ("<blank> 0\n▁a 1\nb 2\n".encode(), "tokens.txt:3: 'b' among words"),
        ("<blank> 0\n▁a b 1\n".encode(), "tokens.txt:2: '▁a b' is no symbol"),
        (b"<blank> 0\r\na 1\r\n", "tokens.txt:1: "),
        (b"", "tokens.txt:1: ''; 'symbol 0'"),
        (b"\xff 0\n", "is not UTF-8"),
    ],
)
def test_a_bad_table_is_named_by_its_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "tokens.txt"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        TokenTable.read(path)
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


def test_phones_are_told_by_their_names_and_separated_by_spaces(tmp_path: Path) -> None:
    table = TokenTable.from_texts(["B IY", "K AE T"], "phone")
    assert table.symbols == ("<blank>", "AE", "B", "IY", "K", "T")
    assert table.unit == "phone"
    assert table.encode("K AE T") == [4, 1, 5]
    assert table.decode([4, 1, 5]) == "K AE T"
    assert table.unknown("K OW B") == ["OW"]
    table.write(tmp_path / "tokens.txt")
    assert TokenTable.read(tmp_path / "tokens.txt") == table
