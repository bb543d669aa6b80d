"""What a tune in ABC notation is made of: sounds, harmonies, bars, parts and meters, in the order of writing."""

from __future__ import annotations

import re
from collections.abc import Mapping
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


# Key signatures of ABC notation: which letters a key raises or lowers.
#
# abcnotation.com, standard 2.1, section 3.1.14: a tonic, a mode, and accidentals that are added to those.

LETTERS = "CDEFGAB"
ACCIDENTALS = {"^^": 2, "^": 1, "=": 0, "_": -1, "__": -2}  # semitones

_SHARPS = "FCGDAEB"  # the order in which sharps are added; flats come from its end
_MAJOR = {"C": 0, "G": 1, "D": 2, "A": 3, "E": 4, "B": 5, "F": -1}  # sharps of the major keys; below 0: flats
_SIGN = {"": 0, "#": 7, "b": -7}
_MODES = {"maj": 0, "ion": 0, "min": -3, "aeo": -3, "mix": -1, "dor": -2, "phr": -4, "lyd": 1, "loc": -5}
_HIGHLAND = {"HP": {}, "Hp": {"F": 1, "C": 1}}  # the bagpipe's two notations
_KEY = re.compile(r"(?P<tonic>[A-G])(?P<sign>[#b]?)\s*(?P<mode>[A-Za-z]*)(?P<rest>.*)")
_OPTION = re.compile(r"[A-Za-z-]{2,}=\S+|treble\S*|bass\S*|alto\S*|tenor\S*|perc\S*|none\b")
_ADDED = re.compile(r"(\^\^|__|\^|_|=)([A-Ga-g])")


def key_signature(text: str) -> Mapping[str, int]:
    """The content of a K: field -> semitones by letter; a letter that is missing is natural.

    Clefs and options such as 'transpose=' are ignored. Raises ValueError for what is no key.
    """
    bare = _OPTION.sub("", text).strip()
    if not bare:
        return {}
    if bare in _HIGHLAND:
        return dict(_HIGHLAND[bare])
    match = _KEY.fullmatch(bare)
    if match is None:
        return _added(bare, text)
    mode, rest = match["mode"].lower(), match["rest"]
    if mode == "exp":
        return _added(rest, text)
    return _signature(match["tonic"], match["sign"], mode, text) | _added(rest, text)


def _signature(tonic: str, sign: str, mode: str, text: str) -> dict[str, int]:
    shift = _mode_shift(mode)
    if shift is None or abs(sharps := _MAJOR[tonic] + _SIGN[sign] + shift) > 7:
        raise ValueError(f"'{text}' is no key")
    if sharps >= 0:
        return dict.fromkeys(_SHARPS[:sharps], 1)
    return dict.fromkeys(_SHARPS[sharps:], -1)


def _mode_shift(mode: str) -> int | None:
    """In sharps, against the major key; only the first three letters of a mode count, and m is minor."""
    return {"": 0, "m": -3}.get(mode, _MODES.get(mode[:3]))


def _added(text: str, whole: str) -> dict[str, int]:
    left = _ADDED.sub("", text).strip()
    if left not in ("", "exp"):
        raise ValueError(f"'{whole}' is no key")
    return {letter.upper(): ACCIDENTALS[accidental] for accidental, letter in _ADDED.findall(text)}
