"""The notes of a tune in ABC notation, in the order in which they are played: bars, repeats, endings, and parts.

Source: abcnotation.com, standard 2.1, sections 3.1.9, 4 and 4.8 to 4.10.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

from recitative.music.abc_items import (
    ACCIDENTALS,
    Bar,
    Harmony,
    Item,
    Meter,
    Part,
    Sound,
    key_signature,
    meter,
    unit_length,
)
from recitative.music.counterpoint import chord_pitches
from recitative.music.piece import HIGHEST, LOWEST

MOST_ITEMS = 100_000  # more than any tune has


def played(items: Sequence[Item], order: str = "") -> list[Item]:
    """The items in the order of playing. order: 'AAB', 'A2B', '(AB)3C' of the labels of parts; '': as written.

    What stands before the first part is played first. Raises ValueError for an order that names another part.
    """
    parts = _parts(items)
    labels = _expanded(order)
    if missing := sorted(set(labels) - {label for label, _ in parts}):
        raise ValueError(f"the order of parts '{order}' names part '{missing[0]}', which is not there")
    if not labels:
        return _limited([item for _, part in parts for item in unfolded(part)])
    by_label: dict[str, list[Item]] = {}
    for label, part in parts:
        by_label[label] = by_label.get(label, []) + unfolded(part)
    return _limited([item for label in ["", *labels] for item in by_label[label]])


def _parts(items: Sequence[Item]) -> list[tuple[str, list[Item]]]:
    parts: list[tuple[str, list[Item]]] = [("", [])]
    for item in items:
        if isinstance(item, Part):
            parts.append((item.label, []))
        else:
            parts[-1][1].append(item)
    return parts


def _limited(items: list[Item]) -> list[Item]:
    if len(items) > MOST_ITEMS:
        raise ValueError(f"with its repeats it has more than {MOST_ITEMS} notes and bars")
    return items


def _expanded(order: str) -> list[str]:
    """'(AB)2C' -> A B A B C."""
    text = re.sub(r"[\s.,*]", "", order)
    while match := re.search(r"\(([^()]*)\)(\d{0,2})|(.)(\d{1,2})", text):
        text = (
            text[: match.start()] + (match[1] or match[3] or "") * int(match[2] or match[4] or 1) + text[match.end() :]
        )
        if len(text) > MOST_ITEMS:
            raise ValueError(f"the order of parts '{order}' is too long")
    return list(text)


def unfolded(items: Sequence[Item]) -> list[Item]:
    """One part with its repeats written out, and without its bars.

    A repeat goes back to '|:' or, where there is none, to the last ':|' or double bar, or the beginning of the part. An
    ending that is not this time's is left out, up to the next one or behind the repeat that closes it.
    """
    result: list[Item] = []
    repeat = _Repeat(0)
    place = 0
    while place < len(items) and len(result) <= MOST_ITEMS:
        item = items[place]
        place += 1
        if not isinstance(item, Bar):
            result.append(item)
        elif item.closes > 1 and repeat.times < _times_in_all(items, repeat.start, place):
            place, repeat = repeat.start, replace(repeat, times=repeat.times + 1, in_ending=False)
        else:
            repeat = repeat.behind(item, place)
            if item.endings and repeat.times not in item.endings:
                place = _behind_ending(items, place, repeat.times)
                repeat = repeat if repeat.times in _endings(items, place - 1) else _Repeat(place)
    return result


@dataclass(frozen=True)
class _Repeat:
    """start: where to go back to; times: the how manieth time this is, from 1; explicit: it was opened by '|:'."""

    start: int
    times: int = 1
    explicit: bool = False
    in_ending: bool = False

    def behind(self, bar: Bar, place: int) -> _Repeat:
        """What holds behind a bar that is played through; ``place`` is behind it."""
        if bar.opens:
            return _Repeat(place, explicit=True)
        if bar.endings:
            return replace(self, in_ending=True)
        ends_repeat = bar.closes > 1 or (bar.double and self.in_ending)
        if ends_repeat or (bar.double and not self.explicit and self.times == 1):
            return _Repeat(place)
        return self


def _times_in_all(items: Sequence[Item], start: int, place: int) -> int:
    """How often the section from ``start`` is played which the bar before ``place`` closes."""
    closes = max(item.closes for item in items[place - 1 : place] if isinstance(item, Bar))
    endings = (time for number in range(start, place + 1) for time in _endings(items, number))
    return max(closes, *endings, 1)


def _behind_ending(items: Sequence[Item], place: int, times: int) -> int:
    """Where to go on, if what begins at ``place`` is another time's ending."""
    for number in range(place, len(items)):
        bar = items[number]
        if times in _endings(items, number):
            return number + 1
        another = _endings(items, number) or _endings(items, number + 1)
        if isinstance(bar, Bar) and (bar.closes > 1 or bar.opens or bar.double) and not another:
            return number + 1
    return len(items)


def _endings(items: Sequence[Item], place: int) -> frozenset[int]:
    item = items[place] if place < len(items) else None
    return item.endings if isinstance(item, Bar) else frozenset()


# The notes of a tune in ABC notation as they are written: bars, repeats and parts are signs yet.
#
# abcnotation.com, standard 2.1, section 4. Pitches and lengths are settled here, since keys, accidentals and unit
# lengths hold in the order of writing; ``played`` gives the order of playing. Grace notes and decorations are left
# out.

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
