"""The vocabulary of a language model: characters or words, the end of a sentence, and the unknown symbol.

It is a token table (``text.tokens``) with another interpretation. Id 0, CTC's blank, is the end of a sentence,
``</s>``, which also precedes each sentence. One symbol represents all that are not in the table: the word ``<unk>``, or
U+FFFD, Unicode's replacement character.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from recitative.errors import DataError
from recitative.text.tokens import BLANK, TokenTable, Unit

TextUnit = Literal["character", "word"]  # text has no phones

END = 0
END_SYMBOL = "</s>"
UNKNOWN_SYMBOLS: dict[Unit, str] = {"character": "\N{REPLACEMENT CHARACTER}", "word": " <unk>"}


@dataclass(frozen=True)
class Vocabulary:
    """Ids 0..V-1 of the tokens of sentences. Raises DataError for a table without the unknown symbol."""

    table: TokenTable

    def __post_init__(self) -> None:
        symbol = UNKNOWN_SYMBOLS.get(self.unit, UNKNOWN_SYMBOLS["word"])
        if symbol not in self.table.ids:
            found = f"has no '{symbol.strip()}'"
            raise DataError("the token table", found, "the table of a language model", "train the model again")

    @classmethod
    def from_texts(cls, texts: Iterable[str], unit: TextUnit, min_count: int = 1) -> Vocabulary:
        """All symbols that occur at least ``min_count`` times, and for characters the space."""
        splitter = TokenTable((BLANK, UNKNOWN_SYMBOLS[unit]))
        counts = Counter(symbol for text in texts for symbol in splitter.split(_spaced(text)))
        kept = {symbol for symbol, count in counts.items() if count >= min_count} | {UNKNOWN_SYMBOLS[unit]}
        return cls(TokenTable((BLANK, *sorted(kept | ({" "} if unit == "character" else set())))))

    def __len__(self) -> int:
        return len(self.table)

    @property
    def unit(self) -> Unit:
        return self.table.unit

    @cached_property
    def unknown(self) -> int:
        """The id of symbols that are not in the table."""
        return self.table.ids[UNKNOWN_SYMBOLS[self.unit]]

    @cached_property
    def space(self) -> int:
        """The id of the space; ``unknown`` in a table of words."""
        return self.table.ids.get(" ", self.unknown)

    def encode(self, text: str) -> list[int]:
        """Words, separated by any blanks -> L ids in 1..V-1, without the end."""
        return [self._id(symbol) for symbol in self._split(text)]

    def encode_word(self, word: str) -> list[int]:
        """One word -> its id, or those of its characters. Raises ValueError unless it is one word."""
        if len(word.split()) != 1 or word != word.strip():
            raise ValueError(f"{word!r} is not one word")
        return self.encode(word)

    def knows(self, word: str) -> bool:
        """Whether the word, or each of its characters, has an id of its own."""
        return self.unknown not in self.encode(word)

    def symbol(self, number: int) -> str:
        """A token as text: a character, a word, or '</s>'."""
        return END_SYMBOL if number == END else self.table.symbols[number].strip() or " "

    def count_unknown(self, texts: Sequence[str]) -> Counter[str]:
        """The characters or words of ``texts`` without an id of their own, with counts."""
        symbols = (symbol for text in texts for symbol in self._split(text))
        return Counter(symbol.strip() or " " for symbol in symbols if self._id(symbol) == self.unknown)

    def _split(self, text: str) -> list[str]:
        return self.table.split(_spaced(text))

    def _id(self, symbol: str) -> int:
        return self.table.ids.get(symbol, self.unknown)


def _spaced(text: str) -> str:
    return " ".join(text.split())
