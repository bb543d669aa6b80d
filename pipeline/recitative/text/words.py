"""Words with times from tokens with times."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Protocol


class TokenWithTimes(Protocol):
    """A token of a decoder: a letter, a space, or a space and a word."""

    @property
    def token(self) -> str: ...
    @property
    def start_s(self) -> float: ...
    @property
    def end_s(self) -> float: ...
    @property
    def confidence(self) -> float: ...


@dataclass(frozen=True)
class Word:
    word: str
    start_s: float  # start of its first token, from the start of the recording
    end_s: float  # end of its last token
    confidence: float  # the lowest of its tokens, 0..1

    def later(self, seconds: float) -> Word:
        """The same word, ``seconds`` later."""
        return replace(self, start_s=round(self.start_s + seconds, 3), end_s=round(self.end_s + seconds, 3))

    def to_dict(self) -> dict[str, Any]:
        """word, start, end (s), confidence (0..1)."""
        return {"word": self.word, "start": self.start_s, "end": self.end_s, "confidence": self.confidence}


def words_of(tokens: Iterable[TokenWithTimes]) -> list[Word]:
    """Join tokens into words, separated by spaces in any position."""
    words: list[Word] = []
    open_word = False
    for token in tokens:
        letters = token.token.strip()
        begins = token.token[:1].isspace() or not open_word
        if letters and begins:
            words.append(Word(letters, token.start_s, token.end_s, token.confidence))
        elif letters:
            last = words[-1]
            words[-1] = Word(last.word + letters, last.start_s, token.end_s, min(last.confidence, token.confidence))
        open_word = bool(letters)
    return words
