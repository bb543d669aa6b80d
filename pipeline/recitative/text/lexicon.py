"""The lexicon: the pronunciations of each word, in the tokens of a model.

File format, as in Kaldi's lexicon.txt: one ``word token token ...`` line per pronunciation. Tokens are phones, the
characters of a spelling without the space between words, or its sentence pieces, written as in a token table. Training
uses the first pronunciation of a word; decoding and alignment accept all.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from recitative.atomic import write_text
from recitative.errors import DataError, Problem, UsageError, raise_all
from recitative.reading import read_text
from recitative.text.tokens import TokenTable, name_of, symbol_of

Pronunciation = tuple[str, ...]

_VARIANT = re.compile(r"\(\d+\)$")  # CMU's dictionaries write a word's further pronunciations WORD(2)
_STRESSED = re.compile(r"(AA|AE|AH|AO|AW|AX|AY|EH|ER|EY|IH|IY|OW|OY|UH|UW)[0-2]")  # ARPAbet's vowels, nothing else's


@dataclass(frozen=True)
class Lexicon:
    """word -> its pronunciations, each a tuple of token symbols."""

    entries: Mapping[str, tuple[Pronunciation, ...]]

    @classmethod
    def read(cls, path: str | Path, tokens: TokenTable | None = None) -> Lexicon:
        """Raises one DataError with every line that has no pronunciation, is repeated, or has an unknown symbol.

        tokens: the symbols that may occur; None = any.
        """
        return cls.parse(read_text(path, "a lexicon, 'word token token ...' lines"), str(path), tokens)

    @classmethod
    def parse(cls, content: str, where: str, tokens: TokenTable | None = None) -> Lexicon:
        """The content of a lexicon file; ``where`` starts the error lines."""
        entries: dict[str, tuple[Pronunciation, ...]] = {}
        problems: list[Problem] = []
        known = _Symbols(tokens)
        for number, line in enumerate(content.splitlines(), start=1):
            if not (fields := line.split()):
                continue
            word, *names = fields
            symbols = tuple([known[name] for name in names])
            before = entries.get(word, ())
            if not symbols or symbols in before or (known.unknown and not known.unknown.isdisjoint(symbols)):
                found, remedy = _fault(symbols, before, known.unknown)
                problems.append(Problem(f"{where}:{number}", f"'{word}' {found}", "", remedy))
            else:
                entries[word] = (*before, symbols)
        if not entries and not problems:
            problems.append(Problem(where, "has no words", "'word token token ...' lines", ""))
        raise_all(problems)
        return cls(entries)

    @classmethod
    def of_spelling(cls, words: Iterable[str], tokens: TokenTable) -> Lexicon:
        """Every word as its characters or its best pieces, or, in a table of words, as itself.

        Raises DataError for unknown characters or words, UsageError for a table of phones: a spelling has no phones.
        """
        if tokens.unit == "phone":
            raise UsageError("words cannot be spelled in phones; give a pronunciation dictionary")
        entries: dict[str, tuple[Pronunciation, ...]] = {}
        problems: list[Problem] = []
        for word in dict.fromkeys(words):
            if unknown := tokens.unknown(word):
                allowed = f"the {tokens.holds}s of the token table"
                problems.append(Problem(f"word '{word}'", f"{', '.join(map(repr, unknown))} not known", allowed, ""))
            entries[word] = (tuple(tokens.split(word)),)
        raise_all(problems)
        return cls(entries)

    def to_text(self) -> str:
        """The content of the file, sorted by word."""
        return "".join(
            f"{word} {' '.join(map(name_of, symbols))}\n"
            for word, ways in sorted(self.entries.items())
            for symbols in ways
        )

    def write(self, path: str | Path) -> None:
        """Write the lexicon; atomic."""
        write_text(path, self.to_text())

    def __len__(self) -> int:
        """The number of words."""
        return len(self.entries)

    @cached_property
    def symbols(self) -> tuple[str, ...]:
        """The symbols of all pronunciations, sorted."""
        return tuple(sorted({symbol for ways in self.entries.values() for symbols in ways for symbol in symbols}))

    def with_entries(self, more: Lexicon) -> Lexicon:
        """The union; a word in both has the pronunciations of both. Itself if there is nothing new."""
        if all(set(ways) <= set(self.entries.get(word, ())) for word, ways in more.entries.items()):
            return self
        merged = dict(self.entries)
        for word, ways in more.entries.items():
            merged[word] = tuple(dict.fromkeys((*merged.get(word, ()), *ways)))
        return Lexicon(merged)

    def only(self, words: Iterable[str]) -> Lexicon:
        """The entries of these words, as far as it has them."""
        return Lexicon({word: self.entries[word] for word in dict.fromkeys(words) if word in self.entries})

    def pronunciations(self, word: str, tokens: TokenTable) -> tuple[tuple[int, ...], ...]:
        """The labels of each pronunciation; empty for an unknown word."""
        return tuple(tuple(tokens.ids[symbol] for symbol in symbols) for symbols in self.entries.get(word, ()))

    def encode(self, text: str, tokens: TokenTable, *, utt_id: str = "") -> list[int]:
        """Text -> labels in 1..V-1, with the first pronunciation of each word.

        Raises DataError that names ``utt_id`` and the unknown words.
        """
        if unknown := self.unknown([text]):
            where = f"utterance '{utt_id}'" if utt_id else f"text '{text}'"
            names = ", ".join(map(repr, unknown))
            raise DataError(where, f"{names} not in the lexicon", "its words only", "add the pronunciation")
        return [tokens.ids[symbol] for word in text.split() for symbol in self.entries[word][0]]

    def unknown(self, texts: Iterable[str]) -> Counter[str]:
        """The unknown words of ``texts``, with counts."""
        return Counter(word for text in texts for word in text.split() if word not in self.entries)


class Spelling(Protocol):
    """Conversion of text to labels, by a token table or by a lexicon of pronunciations."""

    def encode(self, text: str, *, utt_id: str = "") -> list[int]:
        """Text -> L labels in 1..V-1. Raises DataError that names ``utt_id`` and what is unknown."""
        ...

    def split(self, text: str) -> list[str]:
        """Text -> its L symbols, known or not."""
        ...

    def unknown(self, text: str) -> list[str]:
        """The unknown parts of the text, each once, sorted."""
        ...

    @property
    def source(self) -> str:
        """Its name in messages: 'token table' or 'lexicon'."""
        ...

    @property
    def holds(self) -> str:
        """The kind of its entries in messages: 'character', 'word' or 'phone'."""
        ...

    @property
    def verb(self) -> str:
        """The command that creates it."""
        ...


@dataclass(frozen=True)
class PronouncedSpelling:
    """Spelling of words by their first pronunciations."""

    lexicon: Lexicon
    tokens: TokenTable
    source: str = "lexicon"
    holds: str = "word"
    verb: str = "lexicon"

    def encode(self, text: str, *, utt_id: str = "") -> list[int]:
        return self.lexicon.encode(text, self.tokens, utt_id=utt_id)

    def split(self, text: str) -> list[str]:
        """An unknown word counts as one symbol."""
        return [symbol for word in text.split() for symbol in self.lexicon.entries.get(word, ((word,),))[0]]

    def unknown(self, text: str) -> list[str]:
        return sorted(self.lexicon.unknown([text]))


def spelling_of(tokens: TokenTable, lexicon: Lexicon | None) -> Spelling:
    """Phones are looked up in the lexicon, characters and words in the table; without a lexicon, texts are phones."""
    return PronouncedSpelling(lexicon, tokens) if lexicon and tokens.unit == "phone" else tokens


class _Symbols(dict[str, str]):
    """Names in files -> symbols, one object for all places of a symbol; ``unknown`` are those that a table lacks."""

    def __init__(self, tokens: TokenTable | None) -> None:
        super().__init__({name_of(symbol): symbol for symbol in tokens.symbols[1:]} if tokens else {})
        self.unknown: set[str] = set()
        self._tokens = tokens

    def __missing__(self, name: str) -> str:
        symbol = self[name] = symbol_of(name)
        if self._tokens and symbol not in self._tokens.ids:
            self.unknown.add(symbol)
        return symbol


def _fault(symbols: Pronunciation, known: Sequence[Pronunciation], unknown: Set[str]) -> tuple[str, str]:
    """The fault of a pronunciation, and its remedy."""
    if not symbols:
        return "has no pronunciation", "write its tokens behind it"
    if symbols in known:
        return "has this pronunciation already", "remove the line"
    unknown_symbols = dict.fromkeys(symbol for symbol in symbols if symbol in unknown)
    return f"has {', '.join(map(repr, unknown_symbols))}, not in the token table", "correct the line"


def read_dictionary(path: Path, lower: bool = False, keep_stress: bool = False) -> Lexicon:
    """A lexicon file, or one in the manner of CMU's: ``WORD(2)`` is another way to say ``WORD``;
    ``;;;`` at the beginning of a line and `` # `` within one begin a comment. A pronunciation that is there twice, or
    is the same without stress, counts once."""
    lines = read_text(path, "a dictionary").splitlines()
    first: dict[str, int] = {}  # entry -> where it is first
    plain = ["" if line.startswith(";;;") else _plain(line, lower, keep_stress) for line in lines]
    once = [entry if first.setdefault(entry, number) == number else "" for number, entry in enumerate(plain)]
    return Lexicon.parse("\n".join(once), str(path))


def without_stress(phone: str) -> str:
    """One of ARPAbet's vowels without its stress mark; any other phone as it is."""
    return _STRESSED.sub(r"\1", phone) if _STRESSED.fullmatch(phone) else phone


def _plain(line: str, lower: bool, keep_stress: bool) -> str:
    word, *phones = line.split() or [""]
    if "#" in phones:  # a comment, as newer versions of CMU's dictionary have them behind a word
        phones = phones[: phones.index("#")]
    if not keep_stress:
        phones = [without_stress(phone) for phone in phones]
    word = _VARIANT.sub("", word)
    return " ".join([word.lower() if lower else word, *phones])
