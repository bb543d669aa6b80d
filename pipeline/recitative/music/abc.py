"""Tunes in ABC notation as pieces: the melody is voice 0, and the chord symbols are chords of voice 1. In a tune of
several voices (V:), they are voices in the order of writing, and the chord symbols of the first are the last voice.

abcnotation.com, standard 2.1, as far as the Nottingham Music Database and most collections of folk tunes use it. As in
the cleaned edition of that database, P: fields may name single parts if Y: gives their order.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

from recitative.errors import DataError
from recitative.music.abc_score import (
    Bar,
    Harmony,
    Item,
    Part,
    Sound,
    VoiceReader,
    key_signature,
    parse_meter,
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


def _piece(path: str, first: int, block: Sequence[str]) -> Piece:
    """The tune of a block as it is played. Raises DataError with the line."""
    tune, number = _Tune(), block[0][2:].strip()
    for place, line in enumerate(block, start=first):
        try:
            tune.read(line)
        except ValueError as error:
            raise DataError(f"{path}:{place}", f"X:{number}: {error}", "", _REMEDY) from None
    if not tune.voices:
        raise DataError(f"{path}:{first}", f"X:{number}: no key", "a field K: before the notes", _REMEDY)
    title = tune.fields.get("T", f"{Path(path).stem} {number}")
    try:
        voices = [played(reader.items, tune.part_order) for reader in tune.voices.values()]
        end = max(sum((item.quarters for item in items if isinstance(item, Sound)), Fraction(0)) for items in voices)
        if end > LONGEST_QUARTERS:
            raise ValueError(f"it lasts {int(end)} quarter notes, more than {LONGEST_QUARTERS}")
        notes = [note for voice, items in enumerate(voices) for note in _melody(items, voice)]
        notes += _harmony(voices[0], len(voices))
        if not notes:
            raise ValueError("it has no notes")
    except ValueError as error:
        raise DataError(f"{path}:{first}", f"{title}: {error}", "", _REMEDY) from None
    return Piece(tuple(sorted(notes)), _step(end), STEPS_PER_QUARTER, tune.tempo, title, tune.notation)


class _Tune:
    """The header and the voices of a tune, read line by line.

    fields: of the header; voices: their readers by id, in the order of writing, after the K: field; '' before any V:
    """

    def __init__(self) -> None:
        self.fields: dict[str, str] = {}
        self.voices: dict[str, VoiceReader] = {}
        self._names: dict[str, str] = {}
        self._signature: Mapping[str, int] = {}
        self._reader: VoiceReader | None = None

    def read(self, line: str) -> None:
        """Raises ValueError."""
        bare = re.sub(r"(?<!\\)%.*", "", line).strip()
        field = _FIELD.fullmatch(bare)
        if self._reader is None:
            if field:
                self._read_header(field[1], field[2].strip())
        elif switch := _VOICE.match(bare):
            self._reader = self._voice(switch[1] or switch[2])
            self._reader.read(bare[switch.end() :] if switch[2] else "")
            if label := re.search(r'(?:name|nm)="([^"]*)"', bare):
                self._names[switch[1] or switch[2]] = label[1]
        elif field is None:
            self._reader.read(bare)
        elif field[1] not in _IGNORED:
            self._reader.set_field(field[1], field[2])

    def _read_header(self, letter: str, content: str) -> None:
        """A field before the notes; K: is the last one. Of several titles, the first is kept."""
        self.fields[letter] = self.fields.get("T", content) if letter == "T" else content
        if letter != "K":
            return
        self._signature = key_signature(content)
        meter = parse_meter(self.fields.get("M", ""))
        short = meter is not None and Fraction(*meter) < Fraction(3, 4)
        unit = unit_length(self.fields["L"]) if "L" in self.fields else Fraction(1, 4 if short else 2)
        self._reader = self.voices[""] = VoiceReader(self._signature, unit, meter)
        if self._names_part:
            self._reader.set_field("P", self.fields["P"])

    def _voice(self, name: str) -> VoiceReader:
        """The reader of a voice, a new one at its first V:. Notes before any V: are the first voice."""
        if name not in self.voices and "" in self.voices:
            self.voices[name] = self.voices.pop("")
        elif name not in self.voices:
            first = next(iter(self.voices.values()))
            self.voices[name] = VoiceReader(*first.header)
        return self.voices[name]

    @property
    def _names_part(self) -> bool:
        """Whether P: in the header names the first part: if there is Y:, or if it is one letter. Otherwise it is the
        order."""
        return "P" in self.fields and ("Y" in self.fields or len(self.fields["P"]) == 1)

    @property
    def part_order(self) -> str:
        """'' for as written."""
        return self.fields.get("Y", "" if self._names_part else self.fields.get("P", ""))

    @property
    def tempo(self) -> float:
        """Quarters per minute of a Q: field, such as '1/4=120', '3/8 = 80' or '120'. Words are ignored."""
        text = re.sub(r'"[^"]*"', "", self.fields.get("Q", ""))
        match = re.search(r"(?:(\d+)\s*/\s*(\d+)\s*=\s*)?(\d+(?:\.\d+)?)", text)
        if match is None or float(match[3]) == 0 or (match[1] and not int(match[1]) * int(match[2])):
            return QUARTERS_PER_MINUTE
        return float(match[3]) * (4 * int(match[1]) / int(match[2]) if match[1] else 1.0)

    @property
    def notation(self) -> Notation:
        meter = parse_meter(self.fields.get("M", ""))
        meter = meter if meter and meter[1] in (1, 2, 4, 8, 16, 32) else None
        minor = bool(re.match(r"[A-G][#b]?\s*(m(?!aj|ix)|aeo)", self.fields["K"], re.IGNORECASE))
        parts = tuple(self._names.get(voice, "") for voice in self.voices)
        return Notation(meter, sum(self._signature.values()), minor, parts if any(parts) else ())


def _step(quarters: Fraction) -> int:
    """The nearest step; halves are rounded up."""
    return int(quarters * STEPS_PER_QUARTER + Fraction(1, 2))


def _note(start: Fraction, end: Fraction, pitch: int, voice: int) -> Note:
    return Note(_step(start), pitch, max(1, _step(end) - _step(start)), voice)


def _melody(items: Iterable[Item], voice: int) -> list[Note]:
    """The sounds as notes; tied sounds of one pitch are one note."""
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
    return [_note(start, end, pitch, voice) for start, end, pitch in spans]


def _harmony(items: Iterable[Item], voice: int) -> list[Note]:
    """The chord symbols as notes, each to the next symbol or the end."""
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
    labels = _part_labels(order)
    if missing := sorted(set(labels) - {label for label, _ in parts}):
        raise ValueError(f"the order of parts '{order}' has part '{missing[0]}', which does not exist")
    unfolded_parts = [(label, unfolded(part)) for label, part in parts]
    if labels:
        result = [item for name in ["", *labels] for label, part in unfolded_parts if label == name for item in part]
    else:
        result = [item for _, part in unfolded_parts for item in part]
    if len(result) > MAX_ITEMS:
        raise ValueError(f"with its repeats it has more than {MAX_ITEMS} notes and bars")
    return result


def _part_labels(order: str) -> list[str]:
    """'(AB)2C' -> A B A B C. Raises ValueError for more than MAX_ITEMS."""
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
    place = start = 0  # start: where to go back to
    times = 1  # the current time
    explicit = in_ending = False  # explicit: opened by '|:'
    while place < len(items) and len(result) <= MAX_ITEMS:
        item = items[place]
        place += 1
        if not isinstance(item, Bar):
            result.append(item)
            continue
        if item.closes > 1 and times < _times_in_all(items, start, place):
            place, times, in_ending = start, times + 1, False
            continue
        if item.opens:
            start, times, explicit, in_ending = place, 1, True, False
        elif item.endings:
            in_ending = True
        elif item.closes > 1 or (item.double and (in_ending or (not explicit and times == 1))):
            start, times, explicit, in_ending = place, 1, False, False
        if item.endings and times not in item.endings:
            place = _after_ending(items, place, times)
            if times not in _endings(items, place - 1):
                start, times, explicit, in_ending = place, 1, False, False
    return result


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
