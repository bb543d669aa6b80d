"""Tokens to words."""

from recitative.asr.decoding import TimedToken
from recitative.text.tokens import Word, words_of


def timed(*symbols: str) -> list[TimedToken]:
    return [TimedToken(symbol, t / 10, t / 10 + 0.05, 1 - t / 10) for t, symbol in enumerate(symbols)]


def test_letters_join_between_spaces_and_take_the_least_confidence() -> None:
    assert words_of(timed(" ", "o", "n", " ", " ", "a")) == [Word("on", 0.1, 0.25, 0.8), Word("a", 0.5, 0.55, 0.5)]


def test_tokens_that_are_words_stand_alone() -> None:
    assert [word.word for word in words_of(timed(" two", " six", "ty", " one"))] == ["two", "sixty", "one"]


def test_no_tokens_no_words() -> None:
    assert words_of([]) == []
    assert words_of(timed(" ", " ")) == []
