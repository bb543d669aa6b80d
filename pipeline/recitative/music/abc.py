"""Tunes in ABC notation as pieces: the melody is voice 0, and the chord symbols are chords of voice 1. In a tune of
several voices (V:), they are voices in the order of writing, and the chord symbols of the first are the last voice.

abcnotation.com, standard 2.1, as far as the Nottingham Music Database and most collections of folk tunes use it. As in
the cleaned edition of that database, P: fields may name single parts if Y: gives their order.

First the notes are read in the order of writing, in which keys, accidentals and unit lengths hold; then they are put
into the order of playing. Grace notes and decorations are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from recitative.errors import DataError
from recitative.music.piece import HIGHEST, LETTERS, LOWEST, NATURALS, Notation, Note, Piece
from recitative.reading import LARGEST_SETTINGS, read_bytes


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
    """closes: how often the section before it is played in all, 1: no repeat; endings: the times of the section after
    it"""

    closes: int = 1
    opens: bool = False
    double: bool = False
    endings: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Part:
    label: str


Item = Sound | Harmony | Bar | Part
Meter = tuple[int, int] | None  # beats in a bar and their note value; None for free meter


def parse_meter(text: str) -> Meter:
    """Parse an M: field. Raises ValueError."""
    bare = {"C": "4/4", "C|": "2/2"}.get(text.strip(), text.strip())
    if bare.lower() in ("", "none"):
        return None
    match = re.fullmatch(r"\(?(\d{1,3}(?:\s*\+\s*\d{1,3})*)\)?\s*/\s*(\d{1,3})", bare)
    beats = sum(int(beat) for beat in match[1].split("+")) if match else 0
    if match is None or beats == 0 or int(match[2]) == 0:
        raise ValueError(f"'{text}' is not a meter")
    return beats, int(match[2])


def unit_length(text: str) -> Fraction:
    """Parse an L: field, in quarters. Raises ValueError."""
    match = re.fullmatch(r"\s*(\d{1,3})\s*(?:/\s*(\d{1,3}))?\s*", text)
    if match is None or not int(match[1]) or not int(match[2] or 1):
        raise ValueError(f"'{text}' is not a length")
    return Fraction(4 * int(match[1]), int(match[2] or 1))


# Key signatures (section 3.1.14): a tonic, a mode, and further accidentals.

ACCIDENTALS = {"^^": 2, "^": 1, "=": 0, "_": -1, "__": -2}  # semitones
_MODES = {"maj": 0, "ion": 0, "min": -3, "aeo": -3, "mix": -1, "dor": -2, "phr": -4, "lyd": 1, "loc": -5}  # sharps
_KEY = re.compile(r"(?P<tonic>[A-G])(?P<sign>[#b]?)\s*(?P<mode>[A-Za-z]*)(?P<rest>.*)")
_OPTION = re.compile(r"[A-Za-z-]{2,}=\S+|treble\S*|bass\S*|alto\S*|tenor\S*|perc\S*|none\b")
_ADDED = re.compile(r"(\^\^|__|\^|_|=)([A-Ga-g])")


def key_signature(text: str) -> Mapping[str, int]:
    """Parse a K: field -> semitones by letter, without natural letters. Raises ValueError.

    Clefs and options such as 'transpose=' are ignored.
    """
    bare = _OPTION.sub("", text).strip()
    if bare in ("HP", "Hp"):  # bagpipes
        return {"F": 1, "C": 1} if bare == "Hp" else {}
    signature: dict[str, int] = {}
    match = _KEY.fullmatch(bare)
    mode = match["mode"].lower() if match else "exp"
    if match and mode != "exp":
        shift = {"": 0, "m": -3}.get(mode, _MODES.get(mode[:3]))  # in sharps, relative to the major key
        major = LETTERS.index(match["tonic"]) - 1 + {"": 0, "#": 7, "b": -7}[match["sign"]]
        if shift is None or abs(major + shift) > 7:
            raise ValueError(f"'{text}' is not a key")
        sharps = major + shift
        signature = dict.fromkeys(LETTERS[:sharps], 1) if sharps >= 0 else dict.fromkeys(LETTERS[sharps:], -1)
    added = match["rest"] if match else bare
    if _ADDED.sub("", added).strip() not in ("", "exp"):
        raise ValueError(f"'{text}' is not a key")
    return signature | {letter.upper(): ACCIDENTALS[accidental] for accidental, letter in _ADDED.findall(added)}


# Chord symbols, such as Am7 or G/b, as pitches (section 4.18). The Nottingham Music Database writes Cd for diminished,
# Ca for augmented, and the bass as a lowercase letter with + for a sharp: D/f+.

LOWEST_ROOT = 48  # C3; roots are in the octave from here
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
    root = LOWEST_ROOT + (NATURALS[match["root"]] + _ROOT_SIGNS[match["sign"]]) % 12
    pitches = tuple(root + interval for interval in quality)
    if match["bass"] is None:
        return pitches
    below = (root - NATURALS[match["bass"].upper()] - _ROOT_SIGNS[match["bass_sign"]]) % 12
    return pitches if below == 0 else (root - below, *pitches)


# The tune body (section 4)

_LENGTH = r"\d{0,4}/*\d{0,4}"
_NOTE = rf"(\^\^|__|\^|_|=)?([A-Ga-g])([,']*)({_LENGTH})"
_ENDINGS = r"\d{1,2}(?:[,-]\d{1,2})*"
_TOKEN = re.compile(  # tuplets are matched before slurs, which are ignored
    rf"""(?P<quoted>"(?P<quote>[^"]*)")
    | (?P<tuplet>\((?P<p>\d)(?::(?P<q>\d?)(?::(?P<r>\d?))?)?)
    | (?P<ignored>\{{[^}}]*\}}|![^!|]*!|[\s()~.H-WYh-wy`$*\\!])
    | (?P<field>\[(?P<letter>[A-Za-z]):(?P<content>[^\]]*)\])
    | (?P<ending>\[(?P<times>{_ENDINGS}))
    | (?P<bar>(?P<line>:+\|[|\]:]*|\|[|\]:]*|\[\|[|\]:]*|::+)(?P<after>{_ENDINGS})?)
    | (?P<note>{_NOTE})
    | (?P<chord>\[(?P<inside>[^\]|:]*)\](?P<stretch>{_LENGTH}))
    | (?P<rest>(?P<kind>[zxZX])(?P<length>{_LENGTH}))
    | (?P<broken>>{{1,3}}|<{{1,3}})
    | (?P<tie>-)""",
    re.VERBOSE,
)
_ONE_NOTE = re.compile(_NOTE)
_WHOLE_CHORD = re.compile(rf"(?:{_NOTE}|[\s\-~.()]|![^!]*!)*")
_IN_TIME_OF = {2: 3, 3: 2, 4: 3, 6: 2, 8: 3}  # tuplets: p notes in the time of q; others depend on the meter
_MIDDLE_C = 60


class VoiceReader:
    """Reads the notes of one voice line by line. items: all read so far; header: key, unit and meter at the start"""

    def __init__(self, key: Mapping[str, int], unit: Fraction, meter: Meter) -> None:
        self.header = (key, unit, meter)
        self.items: list[Item] = []
        self._key, self._unit, self._meter = key, unit, meter  # unit in quarters
        self._altered: dict[str, int] = {}  # letter -> semitones, to the end of the bar
        self._held: dict[tuple[str, int], int] = {}  # (letter, octave) -> pitch of a tie over a bar
        self._last: dict[tuple[str, int], int] = {}  # the same of the last sound
        self._tuplet, self._tuplet_left = Fraction(1), 0
        self._broken = Fraction(1)  # for the next sound

    def read(self, text: str) -> None:
        """Read a line of music. Raises ValueError."""
        place = 0
        while place < len(text):
            token = _TOKEN.match(text, place)
            if token is None:
                raise ValueError(f"'{text[place : place + 12]}' is not understood")
            self._take(token)
            place = token.end()

    def set_field(self, letter: str, content: str) -> None:
        """Apply a field between lines of music, or within one. Fields that do not affect the notes are ignored."""
        match letter:
            case "K":
                self._key, self._altered = key_signature(content), {}
            case "M":
                self._meter = parse_meter(content)
            case "L":
                self._unit = unit_length(content)
            case "P":
                self._altered = {}
                self.items.append(Part(content.strip()))
            case "V":
                raise ValueError("a voice (V:) must begin its line")

    def _take(self, token: re.Match[str]) -> None:
        match token.lastgroup:
            case "quoted":
                self._harmony(token["quote"].strip())
            case "field":
                self.set_field(token["letter"], token["content"])
            case "ending":
                self.items.append(Bar(endings=_times(token["times"])))
            case "bar":
                self._bar(token["line"], token["after"])
            case "note":
                self._sound([token["note"]], Fraction(1))
            case "chord":
                notes = [note[0] for note in _ONE_NOTE.finditer(token["inside"])]
                if not notes or not _WHOLE_CHORD.fullmatch(token["inside"]):
                    raise ValueError(f"'[{token['inside']}]' is not understood")
                self._sound(notes, _length(token["stretch"]))
                if "-" in token["inside"]:
                    self._tie()
            case "rest":
                self._rest(token["kind"], _length(token["length"]))
            case "tuplet":
                p = int(token["p"])
                if p < 2:
                    raise ValueError(f"'({p}' is not a tuplet")
                compound = self._meter is not None and self._meter[0] in (6, 9, 12)
                time = int(token["q"] or 0) or _IN_TIME_OF.get(p, 3 if compound else 2)
                self._tuplet, self._tuplet_left = Fraction(time, p), int(token["r"] or 0) or p
            case "broken":  # section 4.4: 'a>b' has 3/2 and 1/2 of the lengths, '>>' 7/4 and 1/4
                short = Fraction(1, 2 ** len(token["broken"]))
                first, second = (2 - short, short) if token["broken"][0] == ">" else (short, 2 - short)
                self._change_last(lambda sound: replace(sound, quarters=sound.quarters * first), token["broken"])
                self._broken = second
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
        """Add notes that start together, with the length of the first.

        Accidentals hold for the letter in all octaves, to the end of the bar (section 11.3).
        """
        parsed = [match.groups() for match in map(_ONE_NOTE.fullmatch, notes) if match]
        places, pitches = [], []
        for accidental, name, marks, _ in parsed:
            letter, octave = name.upper(), name.islower() + marks.count("'") - marks.count(",")
            if accidental:
                self._altered[letter] = ACCIDENTALS[accidental]
            shift = self._altered.get(letter, self._key.get(letter, 0))
            pitch = _MIDDLE_C + 12 * octave + NATURALS[letter] + shift  # octave 0 begins at middle C
            if not accidental:
                pitch = self._held.get((letter, octave), pitch)
            if not LOWEST <= pitch <= HIGHEST:
                raise ValueError(f"a note {letter} has MIDI pitch {pitch}, not from {LOWEST} to {HIGHEST}")
            places.append((letter, octave))
            pitches.append(pitch)
        self._last, self._held = dict(zip(places, pitches, strict=True)), {}
        self._append(tuple(sorted(set(pitches))), _length(parsed[0][3]) * stretch * self._unit)

    def _rest(self, kind: str, length: Fraction) -> None:
        if kind in "ZX" and self._meter is None:
            raise ValueError(f"'{kind}': a rest of whole bars requires a meter")
        self._last, self._held = {}, {}
        self._append((), length * (4 * Fraction(*self._meter) if self._meter and kind in "ZX" else self._unit))

    def _append(self, pitches: tuple[int, ...], quarters: Fraction) -> None:
        quarters *= self._broken
        self._broken = Fraction(1)
        if self._tuplet_left:
            quarters *= self._tuplet
            self._tuplet_left -= 1
        self.items.append(Sound(pitches, quarters))

    def _tie(self) -> None:
        self._change_last(lambda sound: replace(sound, tied=True), "-")
        self._held = dict(self._last)

    def _change_last(self, change: Callable[[Sound], Sound], sign: str) -> None:
        """Change the sound before a sign; bars and chord symbols may be in between."""
        for number, item in reversed(list(enumerate(self.items))):
            if isinstance(item, Sound):
                self.items[number] = change(item)
                return
        raise ValueError(f"'{sign}' before the first note")


def _length(text: str) -> Fraction:
    """A multiple of the unit length (section 4.3): '3/2', '3', '/4', '/' or '//'."""
    match = re.fullmatch(r"(\d{0,4})(/*)(\d{0,4})", text)
    above, slashes, below = match.groups() if match else ("", "", "0")
    divisor = int(below) if below else 2 ** min(len(slashes), 10)
    if divisor == 0 or int(above or 1) == 0 or (below and len(slashes) != 1):
        raise ValueError(f"'{text}' is not a length")
    return Fraction(int(above or 1), divisor)


def _times(text: str) -> frozenset[int]:
    """The times of an ending: '1', '1,3' or '1-3'."""
    spans = [span.split("-") for span in text.split(",")]
    return frozenset(time for span in spans for time in range(int(span[0]), int(span[-1]) + 1))


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
