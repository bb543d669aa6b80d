"""The notes of a tune in ABC notation in the order of writing: sounds, harmonies, bars, parts and meters.

Source: abcnotation.com, standard 2.1. Keys, accidentals and unit lengths are applied here, since they hold in the order
of writing; ``abc.played`` gives the order of playing. Grace notes and decorations are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

from recitative.music.piece import HIGHEST, LOWEST


@dataclass(frozen=True)
class Sound:
    """Notes that start together, or a rest. tied: to equal notes of the next sound."""

    pitches: tuple[int, ...]
    quarters: Fraction
    tied: bool = False


@dataclass(frozen=True)
class Harmony:
    """A chord that lasts to the next one. (): no chord; None: no change"""

    pitches: tuple[int, ...] | None


@dataclass(frozen=True)
class Bar:
    """closes: how often the section before it is played in all, 1: no repeat; endings: the times of what follows"""

    closes: int = 1
    opens: bool = False
    double: bool = False
    endings: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Part:
    label: str


@dataclass(frozen=True)
class Meter:
    """quarters: of a bar, None for free meter; compound: 6/8, 9/8 or 12/8"""

    quarters: Fraction | None
    compound: bool = False

    @property
    def default_unit(self) -> Fraction:
        """The unit length in quarters (section 3.1.7): sixteenths in meters shorter than 3/4, otherwise eighths."""
        return Fraction(1, 4) if self.quarters is not None and self.quarters < 3 else Fraction(1, 2)


Item = Sound | Harmony | Bar | Part | Meter


def meter(text: str) -> Meter:
    """Parse an M: field. Raises ValueError."""
    bare = {"C": "4/4", "C|": "2/2"}.get(text.strip(), text.strip())
    if bare.lower() in ("", "none"):
        return Meter(None)
    match = re.fullmatch(r"\(?(\d{1,3}(?:\s*\+\s*\d{1,3})*)\)?\s*/\s*(\d{1,3})", bare)
    beats = sum(int(beat) for beat in match[1].split("+")) if match else 0
    if match is None or beats == 0 or int(match[2]) == 0:
        raise ValueError(f"'{text}' is not a meter")
    return Meter(Fraction(4 * beats, int(match[2])), beats in (6, 9, 12))


def unit_length(text: str) -> Fraction:
    """Parse an L: field, in quarters. Raises ValueError."""
    match = re.fullmatch(r"\s*(\d{1,3})\s*(?:/\s*(\d{1,3}))?\s*", text)
    if match is None or not int(match[1]) or not int(match[2] or 1):
        raise ValueError(f"'{text}' is not a length")
    return Fraction(4 * int(match[1]), int(match[2] or 1))


# Key signatures (section 3.1.14): a tonic, a mode, and further accidentals.

ACCIDENTALS = {"^^": 2, "^": 1, "=": 0, "_": -1, "__": -2}  # semitones
_SHARPS = "FCGDAEB"  # in the order in which sharps are added; flats are added from the end
_MAJOR = {"C": 0, "G": 1, "D": 2, "A": 3, "E": 4, "B": 5, "F": -1}  # sharps of the major keys; negative for flats
_SIGN = {"": 0, "#": 7, "b": -7}
_MODES = {"maj": 0, "ion": 0, "min": -3, "aeo": -3, "mix": -1, "dor": -2, "phr": -4, "lyd": 1, "loc": -5}
_HIGHLAND = {"HP": {}, "Hp": {"F": 1, "C": 1}}  # bagpipes
_KEY = re.compile(r"(?P<tonic>[A-G])(?P<sign>[#b]?)\s*(?P<mode>[A-Za-z]*)(?P<rest>.*)")
_OPTION = re.compile(r"[A-Za-z-]{2,}=\S+|treble\S*|bass\S*|alto\S*|tenor\S*|perc\S*|none\b")
_ADDED = re.compile(r"(\^\^|__|\^|_|=)([A-Ga-g])")


def key_signature(text: str) -> Mapping[str, int]:
    """Parse a K: field -> semitones by letter, without natural letters. Raises ValueError.

    Clefs and options such as 'transpose=' are ignored.
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
    shift = {"": 0, "m": -3}.get(mode, _MODES.get(mode[:3]))  # in sharps, relative to the major key
    if shift is None or abs(sharps := _MAJOR[tonic] + _SIGN[sign] + shift) > 7:
        raise ValueError(f"'{text}' is not a key")
    if sharps >= 0:
        return dict.fromkeys(_SHARPS[:sharps], 1)
    return dict.fromkeys(_SHARPS[sharps:], -1)


def _added(text: str, whole: str) -> dict[str, int]:
    left = _ADDED.sub("", text).strip()
    if left not in ("", "exp"):
        raise ValueError(f"'{whole}' is not a key")
    return {letter.upper(): ACCIDENTALS[accidental] for accidental, letter in _ADDED.findall(text)}


# Chord symbols, such as Am7 or G/b, as pitches (section 4.18). The Nottingham Music Database writes Cd for diminished,
# Ca for augmented, and the bass as a lowercase letter with + for a sharp: D/f+.

LOWEST_ROOT = 48  # C3; roots are in the octave from here
_NATURALS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_ROOT_SIGNS = {"": 0, "#": 1, "+": 1, "b": -1, "-": -1}
_QUALITIES: dict[str, tuple[int, ...]] = {
    "": (0, 4, 7), "maj": (0, 4, 7), "M": (0, 4, 7),
    "m": (0, 3, 7), "min": (0, 3, 7), "-": (0, 3, 7),
    "5": (0, 7),
    "6": (0, 4, 7, 9), "m6": (0, 3, 7, 9),
    "7": (0, 4, 7, 10), "maj7": (0, 4, 7, 11), "M7": (0, 4, 7, 11), "m7": (0, 3, 7, 10), "min7": (0, 3, 7, 10),
    "9": (0, 4, 7, 10, 14), "m9": (0, 3, 7, 10, 14), "maj9": (0, 4, 7, 11, 14), "7b9": (0, 4, 7, 10, 13),
    "d": (0, 3, 6), "dim": (0, 3, 6), "o": (0, 3, 6), "dim7": (0, 3, 6, 9), "o7": (0, 3, 6, 9), "m7b5": (0, 3, 6, 10),
    "a": (0, 4, 8), "aug": (0, 4, 8), "+": (0, 4, 8), "a7": (0, 4, 8, 10), "aug7": (0, 4, 8, 10), "+7": (0, 4, 8, 10),
    "sus": (0, 5, 7), "sus4": (0, 5, 7), "sus2": (0, 2, 7), "7sus": (0, 5, 7, 10), "7sus4": (0, 5, 7, 10),
}  # fmt: skip
_CHORD = re.compile(r"(?P<root>[A-G])(?P<sign>[#b]?)(?P<quality>[^/]*)(?:/(?P<bass>[A-Ga-g])(?P<bass_sign>[#b+-]?))?")


def chord_pitches(symbol: str) -> tuple[int, ...]:
    """MIDI pitches, ascending. The root is in the octave from LOWEST_ROOT, another bass below it.

    Raises ValueError for an unknown symbol.
    """
    match = _CHORD.fullmatch(symbol)
    quality = _QUALITIES.get(match["quality"]) if match else None
    if match is None or quality is None:
        raise ValueError(f"chord '{symbol}' is not understood")
    root = LOWEST_ROOT + (_NATURALS[match["root"]] + _ROOT_SIGNS[match["sign"]]) % 12
    pitches = tuple(root + interval for interval in quality)
    if match["bass"] is None:
        return pitches
    below = (root - _NATURALS[match["bass"].upper()] - _ROOT_SIGNS[match["bass_sign"]]) % 12
    return pitches if below == 0 else (root - below, *pitches)


# The tune body (section 4)

_LENGTH = r"(\d{0,4})(/*)(\d{0,4})"
_NOTE = rf"(\^\^|__|\^|_|=)?([A-Ga-g])([,']*){_LENGTH}"
_ENDINGS = r"\d{1,2}(?:[,-]\d{1,2})*"
_SIGNS = {
    "quoted": r'"(?P<quote>[^"]*)"',
    "ignored": r"\{[^}]*\}|![^!|]*!|[\s()~.H-WYh-wy`$*\\!]",
    "field": r"\[(?P<letter>[A-Za-z]):(?P<content>[^\]]*)\]",
    "ending": rf"\[(?P<times>{_ENDINGS})",
    "bar": rf"(?P<line>:+\|[|\]:]*|\|[|\]:]*|\[\|[|\]:]*|::+)(?P<after>{_ENDINGS})?",
    "note": rf"(?P<one>{_NOTE})",
    "chord": rf"\[(?P<many>[^\]|:]*)\](?P<stretch>{_LENGTH})",
    "rest": rf"(?P<kind>[zxZX])(?P<still>{_LENGTH})",
    "tuplet": r"\((?P<p>\d)(?::(?P<q>\d?)(?::(?P<r>\d?))?)?",
    "broken": r">{1,3}|<{1,3}",
    "tie": r"-",
}
# Tuplets are matched before slurs, which are ignored.
_ORDER = ("quoted", "tuplet", *(name for name in _SIGNS if name not in ("quoted", "tuplet")))
_TOKEN = re.compile("|".join(f"(?P<{name}>{_SIGNS[name]})" for name in _ORDER))
_ONE_NOTE = re.compile(_NOTE)
_WHOLE_CHORD = re.compile(rf"(?:{_NOTE}|[\s\-~.()]|![^!]*!)*")
_IN_TIME_OF = {2: 3, 3: 2, 4: 3, 6: 2, 8: 3}  # tuplets: p notes in the time of q; others depend on the meter
_MIDDLE_C = 60


@dataclass
class ScoreReader:
    """Reads the body of one tune line by line. items: all read so far"""

    key: Mapping[str, int]
    unit: Fraction  # quarters
    meter: Meter
    items: list[Item] = field(default_factory=list)
    _altered: dict[str, int] = field(default_factory=dict)  # letter -> semitones, to the end of the bar
    _held: dict[tuple[str, int], int] = field(default_factory=dict)  # (letter, octave) -> pitch of a tie over a bar
    _last: dict[tuple[str, int], int] = field(default_factory=dict)  # the same of the last sound
    _tuplet: Fraction = Fraction(1)
    _tuplet_left: int = 0
    _broken: Fraction = Fraction(1)  # for the next sound

    def __post_init__(self) -> None:
        self.first_key, self.first_unit, self.first_meter = self.key, self.unit, self.meter  # of the header
        self.items.append(self.meter)

    def read(self, text: str) -> None:
        """Read a line of music. Raises ValueError."""
        place = 0
        while place < len(text):
            match = _TOKEN.match(text, place)
            if match is None:
                raise ValueError(f"'{text[place : place + 12]}' is not understood")
            self._take(match)
            place = match.end()

    def set_field(self, letter: str, content: str) -> None:
        """Apply a field between lines of music, or within one. Fields that do not affect the notes are ignored."""
        match letter:
            case "K":
                self.key, self._altered = key_signature(content), {}
            case "M":
                self.meter = meter(content)
                self.items.append(self.meter)
            case "L":
                self.unit = unit_length(content)
            case "P":
                self._altered = {}
                self.items.append(Part(content.strip()))
            case "V":
                raise ValueError("a voice (V:) must begin its line")

    def _take(self, token: re.Match[str]) -> None:
        match next(name for name in _ORDER if token[name] is not None):
            case "quoted":
                self._harmony(token["quote"].strip())
            case "field":
                self.set_field(token["letter"], token["content"])
            case "ending":
                self.items.append(Bar(endings=_times(token["times"])))
            case "bar":
                self._bar(token["line"], token["after"])
            case "note":
                self._sound([token["one"]], Fraction(1))
            case "chord":
                self._chord(token["many"], token["stretch"])
            case "rest":
                self._rest(token["kind"], token["still"])
            case "tuplet":
                self._start_tuplet(int(token["p"]), int(token["q"] or 0), int(token["r"] or 0))
            case "broken":
                self._break(token["broken"])
            case "tie":
                self._tie()

    def _harmony(self, quote: str) -> None:
        """Add a chord symbol. Of several in a row, which are alternatives for repeats, the first is used."""
        symbol = re.sub(r"[()\s]", "", quote)
        if quote.startswith(("^", "_", "<", ">", "@")) or (self.items and isinstance(self.items[-1], Harmony)):
            return
        if symbol == "":
            self.items.append(Harmony(None))
        else:
            self.items.append(Harmony(() if symbol.upper() in ("N.C.", "NC") else chord_pitches(symbol)))

    def _bar(self, sign: str, after: str | None) -> None:
        leading, trailing = (len(sign) - len(sign.lstrip(":")), len(sign) - len(sign.rstrip(":")))
        if set(sign) == {":"}:  # '::' is ':|:'
            leading = trailing = max(1, len(sign) // 2)
        double = "||" in sign or "]" in sign or "[" in sign
        endings = _times(after) if after else frozenset()
        self.items.append(Bar(leading + 1, trailing > 0, double, endings))
        self._altered = {}

    def _sound(self, notes: Sequence[str], stretch: Fraction) -> None:
        """Add notes that start together, with the length of the first."""
        parsed = [match for match in map(_ONE_NOTE.fullmatch, notes) if match]
        places = [(match[2].upper(), _octave(match[2], match[3])) for match in parsed]
        pitches = [self._pitch(*place, match[1]) for place, match in zip(places, parsed, strict=True)]
        self._last, self._held = dict(zip(places, pitches, strict=True)), {}
        self._append(tuple(sorted(set(pitches))), _factor(*parsed[0].groups()[3:]) * stretch * self.unit)

    def _pitch(self, letter: str, octave: int, accidental: str | None) -> int:
        """MIDI pitch. Accidentals hold for the letter in all octaves, to the end of the bar (section 11.3)."""
        if accidental:
            self._altered[letter] = ACCIDENTALS[accidental]
        elif (letter, octave) in self._held:
            return self._held[letter, octave]
        shift = self._altered.get(letter, self.key.get(letter, 0))
        pitch = _MIDDLE_C + 12 * octave + _NATURALS[letter] + shift
        if not LOWEST <= pitch <= HIGHEST:
            raise ValueError(f"a note {letter} has MIDI pitch {pitch}, not from {LOWEST} to {HIGHEST}")
        return pitch

    def _chord(self, inside: str, stretch: str) -> None:
        notes = [match[0] for match in _ONE_NOTE.finditer(inside)]
        if not notes or not _WHOLE_CHORD.fullmatch(inside):
            raise ValueError(f"'[{inside}]' is not understood")
        self._sound(notes, _factor(*_length_groups(stretch)))
        if "-" in inside:
            self._tie()

    def _rest(self, kind: str, length: str) -> None:
        factor = _factor(*_length_groups(length))
        if kind in "ZX" and self.meter.quarters is None:
            raise ValueError(f"'{kind}': a rest of whole bars requires a meter")
        self._last, self._held = {}, {}
        self._append((), factor * (self.meter.quarters or 0) if kind in "ZX" else factor * self.unit)

    def _append(self, pitches: tuple[int, ...], quarters: Fraction) -> None:
        quarters *= self._broken
        self._broken = Fraction(1)
        if self._tuplet_left:
            quarters *= self._tuplet
            self._tuplet_left -= 1
        self.items.append(Sound(pitches, quarters))

    def _start_tuplet(self, p: int, q: int, r: int) -> None:
        if p < 2:
            raise ValueError(f"'({p}' is not a tuplet")
        time = q or _IN_TIME_OF.get(p, 3 if self.meter.compound else 2)
        self._tuplet, self._tuplet_left = Fraction(time, p), r or p

    def _break(self, sign: str) -> None:
        """Broken rhythm (section 4.4): 'a>b' has 3/2 and 1/2 of the lengths, '>>' 7/4 and 1/4."""
        short = Fraction(1, 2 ** len(sign))
        first, second = (2 - short, short) if sign[0] == ">" else (short, 2 - short)
        self._change_last(lambda sound: replace(sound, quarters=sound.quarters * first), sign)
        self._broken = second

    def _tie(self) -> None:
        self._change_last(lambda sound: replace(sound, tied=True), "-")
        self._held = dict(self._last)

    def _change_last(self, change: Callable[[Sound], Sound], sign: str) -> None:
        """Change the sound before a sign; bars and chord symbols may be in between."""
        for number in range(len(self.items) - 1, -1, -1):
            item = self.items[number]
            if isinstance(item, Sound):
                self.items[number] = change(item)
                return
        raise ValueError(f"'{sign}' before the first note")


def _octave(letter: str, marks: str) -> int:
    """0 is the octave from middle C."""
    return letter.islower() + marks.count("'") - marks.count(",")


def _length_groups(text: str) -> tuple[str, str, str]:
    match = re.fullmatch(_LENGTH, text)
    return (match[1], match[2], match[3]) if match else ("", "", "")


def _factor(above: str, slashes: str, below: str) -> Fraction:
    """A multiple of the unit length (section 4.3): '3/2', '3', '/4', '/' or '//'."""
    divisor = int(below) if below else 2 ** min(len(slashes), 10)
    if divisor == 0 or int(above or 1) == 0 or (below and len(slashes) != 1):
        raise ValueError(f"'{above}{slashes}{below}' is not a length")
    return Fraction(int(above or 1), divisor)


def _times(text: str) -> frozenset[int]:
    """The times of an ending: '1', '1,3' or '1-3'."""
    spans = [span.split("-") for span in text.split(",")]
    return frozenset(time for span in spans for time in range(int(span[0]), int(span[-1]) + 1))
