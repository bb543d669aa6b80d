"""Tunes in ABC notation as pieces: the melody is voice 0, and the chord symbols are chords of voice 1. In a tune of
several voices (V:), they are voices in the order of writing, and the chord symbols of the first are the last voice.

abcnotation.com, standard 2.1, as far as the Nottingham Music Database and most collections of folk tunes use it. As in
the cleaned edition of that database, P: fields may name single parts if Y: gives their order.
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
    Part,
    ScoreReader,
    Sound,
    key_signature,
    meter,
    unit_length,
)
from recitative.music.piece import Notation, Note, Piece
from recitative.reading import LARGEST_SETTINGS, read_bytes

STEPS_PER_QUARTER = 12  # a sixteenth is 3 steps, in a triplet 2
QUARTERS_PER_MINUTE = 100.0  # of a tune without Q:
LONGEST_QUARTERS = 20_000
_REMEDY = "correct it, or leave the tune out"
_FIELD = re.compile(r"([A-Za-z]):(?![|:])(.*)")  # but not 'A:|', a note before a repeat
_VOICE = re.compile(r"V:\s*(\S+)|\[V:\s*([^\]\s]+)[^\]]*\]")
_IGNORED = frozenset("ABCDFGHINORSTWXYZmrsw")  # fields that do not affect the notes


@dataclass(frozen=True)
class Tune:
    """A tune in the order of writing. voices: at least one; order: of its parts, '' for as written."""

    name: str
    voices: tuple[tuple[Item, ...], ...]
    order: str
    quarters_per_minute: float
    notation: Notation


@dataclass
class _Header:
    """The fields of a tune before its K: field."""

    number: str
    titles: list[str] = field(default_factory=list)
    fields: dict[str, str] = field(default_factory=dict)
    key: tuple[int | None, bool] = (None, False)  # sharps of the signature, minor
    parts: dict[str, str] = field(default_factory=dict)  # names of voices

    @property
    def meter(self) -> tuple[int, int] | None:
        """Beats and note value of M:, if it is a fraction or a sign of one."""
        text = self.fields.get("M", "").strip()
        match = re.fullmatch(r"(\d{1,2})/(\d{1,2})", {"C": "4/4", "C|": "2/2"}.get(text, text))
        return (int(match[1]), int(match[2])) if match and int(match[2]) in (1, 2, 4, 8, 16, 32) else None


def read_abc(path: str | Path) -> tuple[list[Piece], list[DataError]]:
    """Read the tunes of a file, STEPS_PER_QUARTER to a quarter, and an error with file:line for each that is invalid.

    A file that cannot be read, or without tunes, is one error.
    """
    try:
        content = read_bytes(path, "a file in ABC notation", limit=LARGEST_SETTINGS)
    except DataError as error:
        return [], [error]
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")  # as in older files
    pieces: list[Piece] = []
    errors: list[DataError] = []
    for first, block in _blocks(text.splitlines()):
        try:
            pieces.append(_piece(str(path), first, block))
        except DataError as error:
            errors.append(error)
    if not pieces and not errors:
        errors.append(DataError(str(path), "no tune in it", "tunes that begin with 'X:'", "correct or remove the file"))
    return pieces, errors


def _piece(path: str, first: int, block: Sequence[str]) -> Piece:
    """The tune of a block as it is played. Raises DataError with the line."""
    tune = _tune(path, first, block)
    try:
        voices = [played(items, tune.order) for items in tune.voices]
        end = max(sum((item.quarters for item in items if isinstance(item, Sound)), Fraction(0)) for items in voices)
        if end > LONGEST_QUARTERS:
            raise ValueError(f"it lasts {int(end)} quarter notes, more than {LONGEST_QUARTERS}")
        notes = [note for voice, items in enumerate(voices) for note in _melody(items, voice)]
        notes += _harmony(voices[0], len(voices))
        if not notes:
            raise ValueError("it has no notes")
    except ValueError as error:
        raise DataError(f"{path}:{first}", f"{tune.name}: {error}", "", _REMEDY) from None
    length, tempo = _step(end), tune.quarters_per_minute
    return Piece(tuple(sorted(notes)), length, STEPS_PER_QUARTER, tempo, tune.name, tune.notation)


def _blocks(lines: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """(line number of X:, lines) of each tune, which ends at an empty line or before the next X:."""
    first, block = 0, list[str]()
    for number, line in enumerate([*lines, ""], start=1):
        begins = line.startswith("X:")
        if block and (begins or not line.strip()):
            yield first, block
            block = []
        if begins or block:
            first, block = (number, [line]) if begins else (first, [*block, line])


def _tune(path: str, first: int, block: Sequence[str]) -> Tune:
    """Raises DataError with the line."""
    header = _Header(block[0][2:].strip())
    voices: dict[str, ScoreReader] = {}  # by their ids, in the order of writing; '' before the first V:
    reader: ScoreReader | None = None
    for number, line in enumerate(block, start=first):
        try:
            bare = re.sub(r"(?<!\\)%.*", "", line).strip()
            match = _FIELD.fullmatch(bare)
            if reader is None:
                reader = _header_line(header, match)
                voices = {"": reader} if reader else {}
            elif switch := _VOICE.match(bare):
                voice = switch[1] or switch[2]
                reader = _voice(voices, voice)
                reader.read(bare[switch.end() :] if switch[2] else "")
                if label := re.search(r'(?:name|nm)="([^"]*)"', bare):
                    header.parts[voice] = label[1]
            elif match is None:
                reader.read(bare)
            elif match[1] not in _IGNORED:
                reader.set_field(match[1], match[2])
        except ValueError as error:
            raise DataError(f"{path}:{number}", f"X:{header.number}: {error}", "", _REMEDY) from None
    if reader is None:
        raise DataError(f"{path}:{first}", f"X:{header.number}: no key", "a field K: before the notes", _REMEDY)
    title = header.titles[0] if header.titles else f"{Path(path).stem} {header.number}"
    parts = tuple(header.parts.get(voice, "") for voice in voices)
    notation = Notation(header.meter, *header.key, parts if any(parts) else ())
    items = tuple(tuple(one.items) for one in voices.values())
    return Tune(title, items, _part_order(header), _tempo(header.fields.get("Q", "")), notation)


def _voice(voices: dict[str, ScoreReader], name: str) -> ScoreReader:
    """The reader of a voice, a new one at its first V:. What was read before any V: is the first voice."""
    if name not in voices and "" in voices:
        voices[name] = voices.pop("")
    elif name not in voices:
        like = next(iter(voices.values()))
        voices[name] = ScoreReader(like.first_key, like.first_unit, like.first_meter)
    return voices[name]


def _header_line(header: _Header, match: re.Match[str] | None) -> ScoreReader | None:
    """A reader of the notes after the K: field, which ends the header."""
    if match is None:
        return None
    letter, content = match[1], match[2].strip()
    if letter == "T":
        header.titles.append(content)
    if letter != "K":
        header.fields[letter] = content
        return None
    time = meter(header.fields.get("M", ""))
    unit = unit_length(header.fields["L"]) if "L" in header.fields else time.default_unit
    signature = key_signature(content)
    reader = ScoreReader(signature, unit, time)
    header.key = sum(signature.values()), bool(re.match(r"[A-G][#b]?\s*(m(?!aj|ix)|aeo)", content, re.IGNORECASE))
    if _is_label(header):
        reader.set_field("P", header.fields["P"])
    return reader


def _is_label(header: _Header) -> bool:
    """Whether P: in the header names the first part: if there is Y:, or if it is one letter. Otherwise it is the
    order."""
    return "P" in header.fields and ("Y" in header.fields or len(header.fields["P"]) == 1)


def _part_order(header: _Header) -> str:
    return header.fields.get("Y", "" if _is_label(header) else header.fields.get("P", ""))


def _tempo(text: str) -> float:
    """Quarters per minute of a Q: field, such as '1/4=120', '3/8 = 80' or '120'. Words are ignored."""
    match = re.search(r"(?:(\d+)\s*/\s*(\d+)\s*=\s*)?(\d+(?:\.\d+)?)", re.sub(r'"[^"]*"', "", text))
    if match is None or float(match[3]) == 0 or (match[1] and not int(match[1]) * int(match[2])):
        return QUARTERS_PER_MINUTE
    beat = 4 * int(match[1]) / int(match[2]) if match[1] else 1.0
    return float(match[3]) * beat


def _step(quarters: Fraction) -> int:
    """The nearest step; halves are rounded up."""
    return int(quarters * STEPS_PER_QUARTER + Fraction(1, 2))


def _melody(items: Iterable[Item], voice: int) -> list[Note]:
    spans: list[tuple[Fraction, Fraction, int]] = []
    held: dict[int, int] = {}  # pitch -> index of the span that is tied
    now = Fraction(0)
    for item in items:
        if not isinstance(item, Sound):
            continue
        end, tied = now + item.quarters, held
        held = {}
        for pitch in item.pitches:
            number = tied.get(pitch, len(spans))
            start = spans[number][0] if pitch in tied else now
            spans[number : number + 1] = [(start, end, pitch)]
            held |= {pitch: number} if item.tied else {}
        now = end
    return [_note(*span, voice) for span in spans]


def _harmony(items: Iterable[Item], voice: int) -> list[Note]:
    changes: list[tuple[Fraction, tuple[int, ...]]] = []
    now = Fraction(0)
    for item in items:
        if isinstance(item, Sound):
            now += item.quarters
        elif isinstance(item, Harmony) and item.pitches is not None:
            changes.append((now, item.pitches))
    ends = [*(start for start, _ in changes[1:]), now]
    spans = [(start, end, pitches) for (start, pitches), end in zip(changes, ends, strict=False) if end > start]
    return [_note(start, end, pitch, voice) for start, end, pitches in spans for pitch in pitches]


def _note(start: Fraction, end: Fraction, pitch: int, voice: int) -> Note:
    return Note(_step(start), pitch, max(1, _step(end) - _step(start)), voice)


# The order of playing: repeats, endings and parts (sections 3.1.9 and 4.8 to 4.10 of the standard).

MAX_ITEMS = 100_000  # more than any tune has


def played(items: Sequence[Item], order: str = "") -> list[Item]:
    """The items in the order of playing. order: of the parts, such as 'AAB', 'A2B' or '(AB)3C'; '': as written.

    Items before the first part are played first. Raises ValueError for an order with an unknown part.
    """
    parts: list[tuple[str, list[Item]]] = [("", [])]
    for item in items:
        if isinstance(item, Part):
            parts.append((item.label, []))
        else:
            parts[-1][1].append(item)
    labels = _expanded(order)
    if missing := sorted(set(labels) - {label for label, _ in parts}):
        raise ValueError(f"the order of parts '{order}' has part '{missing[0]}', which does not exist")
    if not labels:
        return _limited([item for _, part in parts for item in unfolded(part)])
    by_label: dict[str, list[Item]] = {}
    for label, part in parts:
        by_label[label] = by_label.get(label, []) + unfolded(part)
    return _limited([item for label in ["", *labels] for item in by_label[label]])


def _limited(items: list[Item]) -> list[Item]:
    if len(items) > MAX_ITEMS:
        raise ValueError(f"with its repeats it has more than {MAX_ITEMS} notes and bars")
    return items


def _expanded(order: str) -> list[str]:
    """'(AB)2C' -> A B A B C."""
    text = re.sub(r"[\s.,*]", "", order)
    while match := re.search(r"\(([^()]*)\)(\d{0,2})|(.)(\d{1,2})", text):
        text = (
            text[: match.start()] + (match[1] or match[3] or "") * int(match[2] or match[4] or 1) + text[match.end() :]
        )
        if len(text) > MAX_ITEMS:
            raise ValueError(f"the order of parts '{order}' is too long")
    return list(text)


def unfolded(items: Sequence[Item]) -> list[Item]:
    """One part with its repeats written out, without its bars.

    A repeat goes back to '|:', otherwise to the last ':|' or double bar, or to the beginning of the part. Endings of
    other times are skipped, up to the next ending or the repeat that closes them.
    """
    result: list[Item] = []
    repeat = _Repeat(0)
    place = 0
    while place < len(items) and len(result) <= MAX_ITEMS:
        item = items[place]
        place += 1
        if not isinstance(item, Bar):
            result.append(item)
        elif item.closes > 1 and repeat.times < _times_in_all(items, repeat.start, place):
            place, repeat = repeat.start, replace(repeat, times=repeat.times + 1, in_ending=False)
        else:
            repeat = repeat.after(item, place)
            if item.endings and repeat.times not in item.endings:
                place = _after_ending(items, place, repeat.times)
                repeat = repeat if repeat.times in _endings(items, place - 1) else _Repeat(place)
    return result


@dataclass(frozen=True)
class _Repeat:
    """start: where to go back to; times: the current time, from 1; explicit: opened by '|:'"""

    start: int
    times: int = 1
    explicit: bool = False
    in_ending: bool = False

    def after(self, bar: Bar, place: int) -> _Repeat:
        """The state after a bar that is not repeated. place: the index after it."""
        if bar.opens:
            return _Repeat(place, explicit=True)
        if bar.endings:
            return replace(self, in_ending=True)
        ends_repeat = bar.closes > 1 or (bar.double and self.in_ending)
        if ends_repeat or (bar.double and not self.explicit and self.times == 1):
            return _Repeat(place)
        return self


def _times_in_all(items: Sequence[Item], start: int, place: int) -> int:
    """How often the section from ``start`` to the bar before ``place`` is played."""
    closes = max(item.closes for item in items[place - 1 : place] if isinstance(item, Bar))
    endings = (time for number in range(start, place + 1) for time in _endings(items, number))
    return max(closes, *endings, 1)


def _after_ending(items: Sequence[Item], place: int, times: int) -> int:
    """The index after an ending of another time, which starts at ``place``."""
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
