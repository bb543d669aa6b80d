"""Lexicons: reading, spelling, encoding, and what they lack."""

from pathlib import Path

import pytest

from recitative.errors import DataError, UsageError
from recitative.text.tokens import Lexicon, TokenTable

PHONES = TokenTable(("<blank>", "AE", "AH", "B", "EY", "IY", "K", "T"))
LETTERS = TokenTable(("<blank>", " ", "a", "b", "c", "t"))

CONTENT = "cat K AE T\na EY\na AH\nb B IY\n"


def test_a_word_may_have_several_pronunciations_and_training_uses_the_first() -> None:
    lexicon = Lexicon.parse(CONTENT, "lexicon.txt", PHONES)
    assert lexicon.pronunciations("a", PHONES) == ((4,), (2,))
    assert lexicon.encode("a b cat", PHONES) == [4, 3, 5, 6, 1, 7]
    assert lexicon.symbols == ("AE", "AH", "B", "EY", "IY", "K", "T")
    assert len(lexicon) == 3


def test_a_lexicon_that_was_written_reads_back(tmp_path: Path) -> None:
    lexicon = Lexicon.parse(CONTENT, "lexicon.txt")
    lexicon.write(tmp_path / "lexicon.txt")
    assert Lexicon.read(tmp_path / "lexicon.txt", PHONES) == lexicon


def test_words_are_spelled_in_characters_or_stand_for_themselves() -> None:
    assert Lexicon.of_spelling(["cat", "a", "cat"], LETTERS).entries == {"cat": (("c", "a", "t"),), "a": (("a",),)}
    words = TokenTable(("<blank>", " cat", " tab"))
    assert Lexicon.of_spelling(["tab"], words).pronunciations("tab", words) == ((2,),)


def test_a_word_with_a_character_outside_the_table_is_named() -> None:
    with pytest.raises(DataError, match=r"word 'dab': 'd' not known; the characters of the token table \(and 1 more\)"):
        Lexicon.of_spelling(["dab", "cat", "zoo"], LETTERS)


def test_phones_cannot_be_spelled() -> None:
    with pytest.raises(UsageError, match="cannot be spelled in phones; give a pronunciation dictionary"):
        Lexicon.of_spelling(["cat"], PHONES)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("cat K AE T\ndog\n", "lexicon.txt:2: 'dog' has no pronunciation"),
        ("cat K AE T\ncat K AE T\n", "lexicon.txt:2: 'cat' has this pronunciation already"),
        ("cat K ZZ T\n", "lexicon.txt:1: 'cat' has 'ZZ', not in the token table"),
        ("\n \n", "lexicon.txt: has no words"),
    ],
)
def test_a_bad_line_is_named(content: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        Lexicon.parse(content, "lexicon.txt", PHONES)
    assert message in str(caught.value)


def test_a_file_that_is_missing_or_not_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist; a lexicon"):
        Lexicon.read(tmp_path / "lexicon.txt")
    (tmp_path / "lexicon.txt").write_bytes(b"\xff")
    with pytest.raises(DataError, match="is not UTF-8"):
        Lexicon.read(tmp_path / "lexicon.txt")


def test_words_that_it_lacks_are_counted_and_refused() -> None:
    lexicon = Lexicon.parse(CONTENT, "lexicon.txt")
    assert lexicon.unknown(["a dog", "dog cat cow"]) == {"dog": 2, "cow": 1}
    with pytest.raises(DataError, match="utterance 'u1': 'dog' not in the lexicon"):
        lexicon.encode("a dog", PHONES, utt_id="u1")


def test_two_lexicons_join_without_losing_a_pronunciation() -> None:
    ours, theirs = Lexicon({"a": (("EY",),)}), Lexicon({"a": (("EY",), ("AH",)), "b": (("B", "IY"),)})
    assert ours.with_entries(theirs).entries == {"a": (("EY",), ("AH",)), "b": (("B", "IY"),)}
    assert theirs.only(["b", "c"]).entries == {"b": (("B", "IY"),)}
