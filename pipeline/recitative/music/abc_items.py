"""What a tune in ABC notation is made of: sounds, harmonies, bars, parts and meters, in the order of writing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class Sound:
    """Notes that begin together; none: a rest. tied: they go on in the next sound that has them."""

    pitches: tuple[int, ...]
    quarters: Fraction
    tied: bool = False


@dataclass(frozen=True)
class Harmony:
    """A chord that lasts until the next one; without pitches: no chord; None: the one before goes on."""

    pitches: tuple[int, ...] | None


@dataclass(frozen=True)
class Bar:
    """closes: how often what stands before is played in all (1: no repeat); endings: which times play what follows."""

    line: int
    closes: int = 1
    opens: bool = False
    double: bool = False
    endings: frozenset[int] = frozenset()

    @property
    def plain(self) -> bool:
        return self == Bar(self.line)


@dataclass(frozen=True)
class Part:
    label: str


@dataclass(frozen=True)
class Meter:
    """How long a bar is; None: free."""

    quarters: Fraction | None
    compound: bool = False  # 6/8, 9/8, 12/8: beats of three


Item = Sound | Harmony | Bar | Part | Meter


def meter(text: str) -> Meter:
    """The content of an M: field. Raises ValueError for what is none."""
    bare = {"C": "4/4", "C|": "2/2"}.get(text.strip(), text.strip())
    if bare.lower() in ("", "none"):
        return Meter(None)
    match = re.fullmatch(r"\(?(\d{1,3}(?:\s*\+\s*\d{1,3})*)\)?\s*/\s*(\d{1,3})", bare)
    beats = sum(int(beat) for beat in match[1].split("+")) if match else 0
    if match is None or beats == 0 or int(match[2]) == 0:
        raise ValueError(f"'{text}' is no meter")
    return Meter(Fraction(4 * beats, int(match[2])), beats in (6, 9, 12))


def unit_length(text: str) -> Fraction:
    """The content of an L: field, in quarters. Raises ValueError for what is none."""
    match = re.fullmatch(r"\s*(\d{1,3})\s*(?:/\s*(\d{1,3}))?\s*", text)
    if match is None or not int(match[1]) or not int(match[2] or 1):
        raise ValueError(f"'{text}' is no length")
    return Fraction(4 * int(match[1]), int(match[2] or 1))


def default_unit(of: Meter) -> Fraction:
    """Section 3.1.7: sixteenths in meters shorter than 3/4, otherwise eighths; in quarters."""
    return Fraction(1, 4) if of.quarters is not None and of.quarters < 3 else Fraction(1, 2)
