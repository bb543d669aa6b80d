"""The notes of a tune in ABC notation as they are written: bars, repeats and parts are signs yet.

abcnotation.com, standard 2.1, section 4. Pitches and lengths are settled here, since keys, accidentals and unit lengths
hold in the order of writing; what is played when, ``abc_order`` says. Grace notes and decorations are left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

from recitative.music.abc_items import Bar, Harmony, Item, Meter, Part, Sound, meter, unit_length
from recitative.music.abc_key import ACCIDENTALS, key_signature
from recitative.music.chords import chord_pitches
from recitative.music.piece import HIGHEST, LOWEST

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
# A tuplet stands before the slurs that are ignored.
_ORDER = ("quoted", "tuplet", *(name for name in _SIGNS if name not in ("quoted", "tuplet")))
_TOKEN = re.compile("|".join(f"(?P<{name}>{_SIGNS[name]})" for name in _ORDER))
_ONE_NOTE = re.compile(_NOTE)
_WHOLE_CHORD = re.compile(rf"(?:{_NOTE}|[\s\-~.()]|![^!]*!)*")
_IN_TIME_OF = {2: 3, 3: 2, 4: 3, 6: 2, 8: 3}  # p notes in the time of so many; others depend on the meter
_NATURALS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_MIDDLE_C = 60


@dataclass
class ScoreReader:
    """Reads the body of one tune line by line; ``items`` is what it has read so far."""

    key: Mapping[str, int]
    unit: Fraction  # quarters
    meter: Meter
    items: list[Item] = field(default_factory=list)
    _altered: dict[str, int] = field(default_factory=dict)  # letter -> semitones, until the end of the bar
    _held: dict[tuple[str, int], int] = field(default_factory=dict)  # (letter, octave) -> pitch, of a tie over a bar
    _last: dict[tuple[str, int], int] = field(default_factory=dict)  # the same, of the last sound
    _tuplet: Fraction = Fraction(1)
    _tuplet_left: int = 0
    _broken: Fraction = Fraction(1)  # for the next sound

    def __post_init__(self) -> None:
        self.items.append(self.meter)

    def read(self, text: str, line: int) -> None:
        """A line of music. Raises ValueError that says what is not understood."""
        place = 0
        while place < len(text):
            match = _TOKEN.match(text, place)
            if match is None:
                raise ValueError(f"'{text[place : place + 12]}' is not understood")
            self._take(match, line)
            place = match.end()

    def set_field(self, letter: str, content: str) -> None:
        """A field between the lines of music, or within one; those that do not concern the notes are ignored."""
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
                raise ValueError("it has several voices (V:), which are not read")

    def _take(self, token: re.Match[str], line: int) -> None:
        match next(name for name in _ORDER if token[name] is not None):
            case "quoted":
                self._harmony(token["quote"].strip())
            case "field":
                self.set_field(token["letter"], token["content"])
            case "ending":
                self.items.append(Bar(line, endings=_times(token["times"])))
            case "bar":
                self._bar(token["line"], token["after"], line)
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
        """Of alternatives for the repeats, written side by side, the first; an empty one changes nothing."""
        symbol = re.sub(r"[()\s]", "", quote)
        if quote.startswith(("^", "_", "<", ">", "@")) or (self.items and isinstance(self.items[-1], Harmony)):
            return
        if symbol == "":
            self.items.append(Harmony(None))
        else:
            self.items.append(Harmony(() if symbol.upper() in ("N.C.", "NC") else chord_pitches(symbol)))

    def _bar(self, sign: str, after: str | None, line: int) -> None:
        leading, trailing = (len(sign) - len(sign.lstrip(":")), len(sign) - len(sign.rstrip(":")))
        if set(sign) == {":"}:  # '::' stands for ':|:'
            leading = trailing = max(1, len(sign) // 2)
        double = "||" in sign or "]" in sign or "[" in sign
        endings = _times(after) if after else frozenset()
        self.items.append(Bar(line, leading + 1, trailing > 0, double, endings))
        self._altered = {}

    def _sound(self, notes: Sequence[str], stretch: Fraction) -> None:
        """Notes that begin together; they last as long as the first of them."""
        parsed = [match for match in map(_ONE_NOTE.fullmatch, notes) if match]
        places = [(match[2].upper(), _octave(match[2], match[3])) for match in parsed]
        pitches = [self._pitch(*place, match[1]) for place, match in zip(places, parsed, strict=True)]
        self._last, self._held = dict(zip(places, pitches, strict=True)), {}
        self._append(tuple(sorted(set(pitches))), _factor(*parsed[0].groups()[3:]) * stretch * self.unit)

    def _pitch(self, letter: str, octave: int, accidental: str | None) -> int:
        """An accidental holds for its letter in all octaves, to the end of the bar (section 11.3)."""
        if accidental:
            self._altered[letter] = ACCIDENTALS[accidental]
        elif (letter, octave) in self._held:
            return self._held[letter, octave]
        shift = self._altered.get(letter, self.key.get(letter, 0))
        pitch = _MIDDLE_C + 12 * octave + _NATURALS[letter] + shift
        if not LOWEST <= pitch <= HIGHEST:
            raise ValueError(f"a note {letter} has MIDI pitch {pitch}, outside of {LOWEST} to {HIGHEST}")
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
            raise ValueError(f"'{kind}': a rest of whole bars, where there is no meter")
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
            raise ValueError(f"'({p}' is no tuplet")
        time = q or _IN_TIME_OF.get(p, 3 if self.meter.compound else 2)
        self._tuplet, self._tuplet_left = Fraction(time, p), r or p

    def _break(self, sign: str) -> None:
        """'a>b': a is half as long again, b half as long; '>>': 7/4 and 1/4 (section 4.4)."""
        short = Fraction(1, 2 ** len(sign))
        first, second = (2 - short, short) if sign[0] == ">" else (short, 2 - short)
        self._change_last(lambda sound: replace(sound, quarters=sound.quarters * first), sign)
        self._broken = second

    def _tie(self) -> None:
        self._change_last(lambda sound: replace(sound, tied=True), "-")
        self._held = dict(self._last)

    def _change_last(self, change: Callable[[Sound], Sound], sign: str) -> None:
        """The sound before a sign: it stands right before it, or a bar or a chord symbol is between."""
        for number in range(len(self.items) - 1, -1, -1):
            item = self.items[number]
            if isinstance(item, Sound):
                self.items[number] = change(item)
                return
        raise ValueError(f"'{sign}' stands before the first note")


def _octave(letter: str, marks: str) -> int:
    """From middle C's, 0."""
    return letter.islower() + marks.count("'") - marks.count(",")


def _length_groups(text: str) -> tuple[str, str, str]:
    match = re.fullmatch(_LENGTH, text)
    return (match[1], match[2], match[3]) if match else ("", "", "")


def _factor(above: str, slashes: str, below: str) -> Fraction:
    """'3/2', '3', '/4', '/', '//': of the unit length (section 4.3)."""
    divisor = int(below) if below else 2 ** min(len(slashes), 10)
    if divisor == 0 or int(above or 1) == 0 or (below and len(slashes) != 1):
        raise ValueError(f"'{above}{slashes}{below}' is no length")
    return Fraction(int(above or 1), divisor)


def _times(text: str) -> frozenset[int]:
    """'1', '1,3' or '1-3'."""
    spans = [span.split("-") for span in text.split(",")]
    return frozenset(time for span in spans for time in range(int(span[0]), int(span[-1]) + 1))
