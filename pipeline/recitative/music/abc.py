"""Tunes in ABC notation as pieces: the melody is voice 0, its chord symbols are chords of voice 1.

abcnotation.com, standard 2.1, as far as the Nottingham Music Database and most collections of folk tunes use it. As in
the cleaned edition of that database a P: field may also name single parts, when Y: gives their order.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

from recitative.errors import DataError
from recitative.music.abc_score import (
    Bar,
    Harmony,
    Item,
    Meter,
    Part,
    ScoreReader,
    Sound,
    default_unit,
    key_signature,
    meter,
    unit_length,
)
from recitative.music.piece import Note, Piece
from recitative.reading import LARGEST_SETTINGS, read_bytes

STEPS_PER_QUARTER = 12  # sixteenths are 3 steps, those of triplets 2
QUARTERS_PER_MINUTE = 100.0  # where a tune says nothing
LONGEST_QUARTERS = 20_000
_MELODY, _CHORDS = 0, 1
_REMEDY = "correct it, or leave the tune out"
_FIELD = re.compile(r"([A-Za-z]):(?![|:])(.*)")  # not 'A:|', which is a note before a repeat
_NOT_OF_THE_NOTES = frozenset("ABCDFGHINORSTWXYZmrsw")  # fields that change nothing among the notes


@dataclass(frozen=True)
class Tune:
    """One tune as it is written."""

    name: str
    items: tuple[Item, ...]
    order: str  # of its parts; '': as written
    quarters_per_minute: float


@dataclass
class _Header:
    """What is known of a tune before its K: field."""

    number: str
    titles: list[str] = field(default_factory=list)
    fields: dict[str, str] = field(default_factory=dict)


def read_abc(path: str | Path) -> tuple[list[Piece], list[DataError]]:
    """The tunes of a file, STEPS_PER_QUARTER to a quarter, and an error with file:line for each that is not understood.

    A file that cannot be read, or has no tune, is one error.
    """
    tunes, errors = read_tunes(path)
    pieces: list[Piece] = []
    for where, tune in tunes:
        try:
            pieces.append(piece_of(tune))
        except ValueError as error:
            errors.append(DataError(where, f"{tune.name}: {error}", "", _REMEDY))
    return pieces, errors


def read_tunes(path: str | Path) -> tuple[list[tuple[str, Tune]], list[DataError]]:
    """The tunes of a file as they are written, each with its place, and what is not understood."""
    try:
        lines = _decoded(read_bytes(path, "a file in ABC notation", limit=LARGEST_SETTINGS)).splitlines()
    except DataError as error:
        return [], [error]
    tunes: list[tuple[str, Tune]] = []
    errors: list[DataError] = []
    for first, block in _blocks(lines):
        try:
            tunes.append((f"{path}:{first}", _tune(str(path), first, block)))
        except DataError as error:
            errors.append(error)
    if not tunes and not errors:
        errors.append(DataError(str(path), "no tune in it", "tunes that begin with 'X:'", "correct or remove the file"))
    return tunes, errors


def piece_of(tune: Tune) -> Piece:
    """The tune as it is played: its repeats written out. Raises ValueError if that is not possible or too long."""
    items = played(tune.items, tune.order)
    end = sum((item.quarters for item in items if isinstance(item, Sound)), Fraction(0))
    if end > LONGEST_QUARTERS:
        raise ValueError(f"it lasts {int(end)} quarter notes, more than {LONGEST_QUARTERS}")
    notes = [*_melody(items), *_harmony(items)]
    if not notes:
        raise ValueError("it has no notes")
    return Piece(tuple(sorted(notes)), _step(end), STEPS_PER_QUARTER, tune.quarters_per_minute, tune.name)


def odd_bars(tune: Tune) -> list[tuple[int, Fraction, Fraction]]:
    """Bars that are not as long as the meter says: (line, quarters found, quarters of the meter).

    A bar at a repeat, a double bar, or an end of a part may be shorter: an upbeat begins or ends there.
    """
    found: list[tuple[int, Fraction, Fraction]] = []
    short: list[tuple[int, Fraction, Fraction]] = []  # the bar before, which is odd if its part goes on
    quarters, due, inner = Fraction(0), Fraction(0), False
    for item in tune.items:
        match item:
            case Sound():
                found, short = [*found, *short], []
                quarters += item.quarters
            case Meter():
                due = item.quarters or Fraction(0)
            case Part():
                quarters, inner, short = Fraction(0), False, []
            case Bar():
                odd = [(item.line, quarters, due)] if quarters and due else []
                found += odd if quarters > due else []
                short = odd if quarters < due and inner and item.plain else []
                quarters, inner = Fraction(0), item.plain and (inner or quarters > 0)
    return found


def _decoded(content: bytes) -> str:
    """UTF-8, or Latin-1 as in older files."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _blocks(lines: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """(line number of X:, lines) of each tune: it ends at an empty line, or where the next one begins."""
    first, block = 0, list[str]()
    for number, line in enumerate([*lines, ""], start=1):
        begins = line.startswith("X:")
        if block and (begins or not line.strip()):
            yield first, block
            block = []
        if begins or block:
            first, block = (number, [line]) if begins else (first, [*block, line])


def _tune(path: str, first: int, block: Sequence[str]) -> Tune:
    """Raises DataError with the line of what is not understood."""
    header = _Header(block[0][2:].strip())
    reader: ScoreReader | None = None
    for number, line in enumerate(block, start=first):
        try:
            reader = _read_line(header, reader, line, number)
        except ValueError as error:
            raise DataError(f"{path}:{number}", f"X:{header.number}: {error}", "", _REMEDY) from None
    if reader is None:
        raise DataError(f"{path}:{first}", f"X:{header.number}: no key", "a field K: before the notes", _REMEDY)
    name = header.titles[0] if header.titles else f"{Path(path).stem} {header.number}"
    return Tune(name, tuple(reader.items), _part_order(header), _tempo(header.fields.get("Q", "")))


def _read_line(header: _Header, reader: ScoreReader | None, line: str, number: int) -> ScoreReader | None:
    bare = re.sub(r"(?<!\\)%.*", "", line).strip()
    match = _FIELD.fullmatch(bare)
    if reader is None:
        return _header_line(header, match)
    if match is None:
        reader.read(bare, number)
    elif match[1] not in _NOT_OF_THE_NOTES:
        reader.set_field(match[1], match[2])
    return reader


def _header_line(header: _Header, match: re.Match[str] | None) -> ScoreReader | None:
    """A reader of the notes once the key is known, which ends the header."""
    if match is None:
        return None
    letter, content = match[1], match[2].strip()
    if letter == "T":
        header.titles.append(content)
    if letter != "K":
        header.fields[letter] = content
        return None
    of = meter(header.fields.get("M", ""))
    unit = unit_length(header.fields["L"]) if "L" in header.fields else default_unit(of)
    reader = ScoreReader(key_signature(content), unit, of)
    if _is_label(header):
        reader.set_field("P", header.fields["P"])
    return reader


def _is_label(header: _Header) -> bool:
    """A P: before the notes is the order of the parts, unless Y: is, or it is one letter: then it names the first."""
    return "P" in header.fields and ("Y" in header.fields or len(header.fields["P"]) == 1)


def _part_order(header: _Header) -> str:
    return header.fields.get("Y", "" if _is_label(header) else header.fields.get("P", ""))


def _tempo(text: str) -> float:
    """The content of a Q: field, '1/4=120', '3/8 = 80', '120': quarters a minute; words alone say nothing."""
    match = re.search(r"(?:(\d+)\s*/\s*(\d+)\s*=\s*)?(\d+(?:\.\d+)?)", re.sub(r'"[^"]*"', "", text))
    if match is None or float(match[3]) == 0 or (match[1] and not int(match[1]) * int(match[2])):
        return QUARTERS_PER_MINUTE
    beat = 4 * int(match[1]) / int(match[2]) if match[1] else 1.0
    return float(match[3]) * beat


def _step(quarters: Fraction) -> int:
    """The nearest step, halves up."""
    return int(quarters * STEPS_PER_QUARTER + Fraction(1, 2))


def _melody(items: Iterable[Item]) -> list[Note]:
    spans: list[tuple[Fraction, Fraction, int]] = []
    held: dict[int, int] = {}  # pitch -> which span goes on
    now = Fraction(0)
    for item in items:
        if not isinstance(item, Sound):
            continue
        end, going_on = now + item.quarters, held
        held = {}
        for pitch in item.pitches:
            number = going_on.get(pitch, len(spans))
            start = spans[number][0] if pitch in going_on else now
            spans[number : number + 1] = [(start, end, pitch)]
            held |= {pitch: number} if item.tied else {}
        now = end
    return [_note(*span, _MELODY) for span in spans]


def _harmony(items: Iterable[Item]) -> list[Note]:
    changes: list[tuple[Fraction, tuple[int, ...]]] = []
    now = Fraction(0)
    for item in items:
        if isinstance(item, Sound):
            now += item.quarters
        elif isinstance(item, Harmony) and item.pitches is not None:
            changes.append((now, item.pitches))
    ends = [*(start for start, _ in changes[1:]), now]
    spans = [(start, end, pitches) for (start, pitches), end in zip(changes, ends, strict=False) if end > start]
    return [_note(start, end, pitch, _CHORDS) for start, end, pitches in spans for pitch in pitches]


def _note(start: Fraction, end: Fraction, pitch: int, voice: int) -> Note:
    return Note(_step(start), pitch, max(1, _step(end) - _step(start)), voice)


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
