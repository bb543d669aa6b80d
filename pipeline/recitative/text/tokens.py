"""The token table: which number stands for which character, sentence piece, word or phone.

File format, as in Kaldi's and k2's tokens.txt: one ``symbol id`` line per token, ids from 0 without gaps. Id 0 is
``<blank>``; the space is written ``<space>``; a word is written as SentencePiece writes it, ``▁word``. A table holds
characters, or words, or phones such as ``AH``; what its symbols look like tells which. Sentence pieces have a third
column, ``symbol id score``: the logarithm of the piece's probability, by which words are cut (``text.pieces``).
Nothing is normalised here: 'é' as one code point and as two differ.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Literal

from recitative.atomic import write_text
from recitative.errors import DataError
from recitative.reading import LARGEST_SETTINGS, read_text
from recitative.text.pieces import WORD_START, Cutter

BLANK = "<blank>"
SPACE = "<space>"

PlainUnit = Literal["character", "word", "phone"]
Unit = Literal[PlainUnit, "piece"]


@dataclass(frozen=True)
class TokenTable:
    """symbols[i] is the character or the phone with id i, or a space and the word; symbols[0] is '<blank>'.

    So the symbols of a hypothesis, joined, are its text for characters and, but for the first space, for words and
    pieces. What phones spell, only a lexicon knows (``text.lexicon``): here their text is the phones with spaces
    between. scores: of pieces, ln P of symbols[1], symbols[2], ...; of other symbols none.
    """

    symbols: tuple[str, ...]
    scores: tuple[float, ...] = ()

    @classmethod
    def from_texts(cls, texts: Iterable[str], unit: PlainUnit = "character") -> TokenTable:
        """The table of all characters, words or phones in ``texts``, in code point order after the blank."""
        found = {symbol for text in texts for symbol in _split(text, unit)}
        return cls((BLANK, *sorted(found)))

    @classmethod
    def of_pieces(cls, scores: Mapping[str, float]) -> TokenTable:
        """The table of sentence pieces, as ``text.pieces.learn_pieces`` makes them, in their order."""
        return cls((BLANK, *scores), tuple(scores.values()))

    @classmethod
    def read(cls, path: str | Path) -> TokenTable:
        """Raises DataError that names the line for anything but unique symbols of one kind with ids 0, 1, 2, ..."""
        content = read_text(path, "a token table", "make it with 'recitative tokens'", limit=LARGEST_SETTINGS)
        return cls.parse(content, str(path))

    @classmethod
    def parse(cls, content: str, path: str) -> TokenTable:
        """The same of a file's content; ``path`` starts the error lines."""
        lines = content.rstrip("\n").split("\n")
        symbols: list[str] = []
        scores: list[float] = []
        for number, line in enumerate(lines):
            where = f"{path}:{number + 1}"
            bare, score = _score_of(where, line, number, scores)
            symbols.append(_parse_line(where, bare, number, symbols))
            scores += score
        table = cls(tuple(symbols), tuple(scores))
        table._require_one_kind(path)
        return table

    def _require_one_kind(self, where: str) -> None:
        signs = {sign for symbol in self.symbols[1:] for sign in symbol}
        for number, symbol in enumerate(self.symbols[1:], start=1):
            if not _suits(symbol, self.unit):
                found = f"'{name_of(symbol)}' among {self.unit}s"
                raise DataError(f"{where}:{number + 1}", found, "characters, words or phones, not a mixture", "")
        if self.unit == "piece" and (missing := sorted(signs - self.ids.keys())):
            found = f"{', '.join(map(repr, missing))} occur within pieces only"
            raise DataError(where, found, "each character of a piece as a piece too", "make the table again")

    def to_text(self) -> str:
        """The content of the file that ``read`` takes."""
        columns = ["", *(f" {score}" for score in self.scores)] if self.scores else [""] * len(self.symbols)
        rows = zip(self.symbols, columns, strict=True)
        return "".join(f"{name_of(symbol)} {number}{column}\n" for number, (symbol, column) in enumerate(rows))

    def write(self, path: str | Path) -> None:
        """Write the table; atomic."""
        write_text(path, self.to_text())

    def __len__(self) -> int:
        return len(self.symbols)

    @cached_property
    def unit(self) -> Unit:
        """What the symbols are: pieces with scores; all of one character; words with their space; or phones, some of
        two letters."""
        if self.scores:
            return "piece"
        long = [symbol for symbol in self.symbols[1:] if len(symbol) > 1]
        if not long:
            return "character"
        return "word" if long[0].startswith(" ") else "phone"

    @property
    def source(self) -> str:
        """What a message calls it; see ``text.lexicon.Spelling``."""
        return "token table"

    @property
    def holds(self) -> str:
        """What a message calls what is looked up: pieces can write whatever their characters can."""
        return "character" if self.unit == "piece" else self.unit

    @property
    def verb(self) -> str:
        """The command that makes it."""
        return "tokens"

    @cached_property
    def ids(self) -> dict[str, int]:
        """Symbol -> id, without the blank."""
        return {symbol: number for number, symbol in enumerate(self.symbols) if number > 0}

    @cached_property
    def space(self) -> int | None:
        """The label that stands between words; None where words begin with a sign of their own, or with none."""
        return self.ids.get(" ") if self.unit == "character" else None

    def split(self, text: str) -> list[str]:
        """Text -> its L symbols, known or not."""
        if self.unit == "piece":
            return [piece for word in text.split() for piece in self._cutter.cut(word)]
        return _split(text, self.unit)

    @cached_property
    def _cutter(self) -> Cutter:
        return Cutter(dict(zip(self.symbols[1:], self.scores, strict=True)))

    def unknown(self, text: str) -> list[str]:
        """The characters, words or phones of ``text`` that have no id, each once, sorted."""
        missing = set(self.split(text)) - self.ids.keys()
        return sorted(symbol.removeprefix(" ") if self.unit == "word" else symbol for symbol in missing)

    def encode(self, text: str, *, utt_id: str = "") -> list[int]:
        """Text -> L labels in 1..V-1. Raises DataError that names ``utt_id`` for a symbol not in the table."""
        ids = self.ids
        try:
            return [ids[symbol] for symbol in self.split(text)]
        except KeyError:
            where = f"utterance '{utt_id}'" if utt_id else f"text '{text}'"
            unknown = ", ".join(map(repr, self.unknown(text)))
            remedy = "normalise the text, or make the table again with 'recitative tokens'"
            raise DataError(where, f"{unknown} not in the token table", f"its {self.holds}s only", remedy) from None

    def decode(self, ids: Sequence[int]) -> str:
        """Labels in 1..V-1 -> text. Raises ValueError for the blank, which is no label, and for other numbers."""
        for number in ids:
            if not 0 < number < len(self.symbols):
                raise ValueError(f"{number} is no label; labels are 1 to {len(self.symbols) - 1}")
        text = (" " if self.unit == "phone" else "").join(self.symbols[number] for number in ids)
        return text.removeprefix(" ") if self.unit in ("word", "piece") else text


def _split(text: str, unit: PlainUnit) -> list[str]:
    match unit:
        case "word":
            return [f" {word}" for word in text.split()]
        case "phone":
            return text.split()
        case "character":
            return list(text)


def _suits(symbol: str, unit: Unit) -> bool:
    match unit:
        case "word":
            return len(symbol) > 1 and symbol.startswith(" ")
        case "phone":
            return not symbol.startswith(" ")
        case "character":
            return len(symbol) == 1
        case "piece":
            return True


def name_of(symbol: str) -> str:
    """How files write a symbol."""
    if symbol == " ":
        return SPACE
    return WORD_START + symbol[1:] if symbol.startswith(" ") else symbol


def symbol_of(name: str) -> str:
    """The symbol that a file writes so."""
    if name == SPACE:
        return " "
    return f" {name[1:]}" if len(name) > 1 and name.startswith(WORD_START) else name


def _score_of(where: str, line: str, number: int, before: Sequence[float]) -> tuple[str, tuple[float, ...]]:
    """A line without its third column, and that column if it has one: all symbols of a table have it, or none."""
    columns = line.split(" ")
    has_score = number > 0 and len(columns) == 3 and columns[1] == str(number)
    if number > 1 and has_score != bool(before):
        raise DataError(where, f"'{line}'", "a score behind every piece, or behind none", "")
    if not has_score:
        return line, ()
    try:
        score = float(columns[2])
    except ValueError:
        score = math.nan
    if not math.isfinite(score):
        raise DataError(where, f"score '{columns[2]}'", "a number", "make the table again with 'recitative tokens'")
    return f"{columns[0]} {columns[1]}", (score,)


def _parse_line(where: str, line: str, number: int, before: Sequence[str]) -> str:
    name, _, stated = line.rpartition(" ")
    symbol = symbol_of(name)
    if stated != str(number):
        raise DataError(
            where, f"'{line}'", f"'symbol {number}': ids count up from 0", "make it with 'recitative tokens'"
        )
    if (symbol == BLANK) != (number == 0):
        raise DataError(where, f"'{line}'", f"'{BLANK}' in the first line and only there", "")
    if not name or name == " " or (len(name) > 1 and any(sign.isspace() for sign in name)):
        allowed = f"a character, '{SPACE}' for the space, '{WORD_START}word' for a word, or a phone"
        raise DataError(where, f"'{name}' is no symbol", allowed, "")
    if symbol in before:
        raise DataError(where, f"'{name}' appears again", "each symbol once", "remove the line and count on")
    return symbol


def required_frames(labels: Sequence[object]) -> int:
    """The fewest frames on which CTC can write ``labels``: one each, and a blank between equal neighbours.

    ``labels`` are ids or symbols. Graves et al. 2006, section 3.1.
    """
    return len(labels) + sum(a == b for a, b in pairwise(labels))
