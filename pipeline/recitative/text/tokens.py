"""The character token table: which number stands for which character.

File format, as in Kaldi's and k2's tokens.txt: one ``symbol id`` line per token, ids from 0 without gaps. Id 0 is
``<blank>``; the space is written ``<space>``. Nothing is normalised here: 'é' as one code point and as two differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

from recitative.atomic import write_text
from recitative.errors import DataError

BLANK = "<blank>"
SPACE = "<space>"


@dataclass(frozen=True)
class TokenTable:
    """symbols[i] is the character with id i; symbols[0] is '<blank>', which is no character."""

    symbols: tuple[str, ...]

    @classmethod
    def from_texts(cls, texts: Iterable[str]) -> TokenTable:
        """The table of all characters in ``texts``, in code point order after the blank."""
        return cls((BLANK, *sorted(set().union(*texts))))

    @classmethod
    def read(cls, path: str | Path) -> TokenTable:
        """Raises DataError that names the line for anything but unique characters with ids 0, 1, 2, ..."""
        try:
            lines = Path(path).read_bytes().decode("utf-8").rstrip("\n").split("\n")
        except OSError as error:
            found = f"cannot be read ({error.strerror})"
            raise DataError(str(path), found, "a token table", "make it with 'recitative tokens'") from None
        except UnicodeDecodeError:
            raise DataError(str(path), "is not UTF-8", "a token table", "make it with 'recitative tokens'") from None
        symbols: list[str] = []
        for number, line in enumerate(lines):
            symbols.append(_parse_line(f"{path}:{number + 1}", line, number, symbols))
        return cls(tuple(symbols))

    def to_text(self) -> str:
        """The content of the file that ``read`` takes."""
        names = (SPACE if symbol == " " else symbol for symbol in self.symbols)
        return "".join(f"{name} {number}\n" for number, name in enumerate(names))

    def write(self, path: str | Path) -> None:
        """Write the table; atomic."""
        write_text(path, self.to_text())

    def __len__(self) -> int:
        return len(self.symbols)

    @cached_property
    def ids(self) -> dict[str, int]:
        """Character -> id, without the blank."""
        return {symbol: number for number, symbol in enumerate(self.symbols) if number > 0}

    def unknown(self, text: str) -> list[str]:
        """The characters of ``text`` that have no id, each once, sorted."""
        return sorted(set(text) - self.ids.keys())

    def encode(self, text: str, *, utt_id: str = "") -> list[int]:
        """Text -> L labels in 1..V-1. Raises DataError that names ``utt_id`` for a character not in the table."""
        ids = self.ids
        try:
            return [ids[character] for character in text]
        except KeyError:
            where = f"utterance '{utt_id}'" if utt_id else f"text '{text}'"
            unknown = ", ".join(map(repr, self.unknown(text)))
            remedy = "normalise the text, or make the table again with 'recitative tokens'"
            raise DataError(where, f"{unknown} not in the token table", "its characters only", remedy) from None

    def decode(self, ids: Sequence[int]) -> str:
        """Labels in 1..V-1 -> text. Raises ValueError for the blank, which is no label, and for other numbers."""
        for number in ids:
            if not 0 < number < len(self.symbols):
                raise ValueError(f"{number} is no label; labels are 1 to {len(self.symbols) - 1}")
        return "".join(self.symbols[number] for number in ids)


def _parse_line(where: str, line: str, number: int, before: Sequence[str]) -> str:
    name, _, stated = line.rpartition(" ")
    symbol = " " if name == SPACE else name
    if stated != str(number):
        raise DataError(
            where, f"'{line}'", f"'symbol {number}': ids count up from 0", "make it with 'recitative tokens'"
        )
    if (symbol == BLANK) != (number == 0):
        raise DataError(where, f"'{line}'", f"'{BLANK}' in the first line and only there", "")
    if number > 0 and (len(symbol) != 1 or name == " "):
        raise DataError(where, f"'{name}' is not one character", f"one character, '{SPACE}' for the space", "")
    if symbol in before:
        raise DataError(where, f"'{name}' appears again", "each character once", "remove the line and count on")
    return symbol


def required_frames(labels: Sequence[object]) -> int:
    """The fewest frames on which CTC can write ``labels``: one each, and a blank between equal neighbours.

    ``labels`` are ids or characters. Graves et al. 2006, section 3.1.
    """
    return len(labels) + sum(a == b for a, b in pairwise(labels))
