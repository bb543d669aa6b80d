"""The notes of a tune in ABC notation in the order of writing: sounds, chord symbols, bars and parts.

abcnotation.com, standard 2.1. Keys, accidentals and unit lengths hold in the order of writing, so they are applied
here; ``abc.played`` gives the order of playing. Grace notes and decorations are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from recitative.music.piece import HIGHEST, LETTERS, LOWEST


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
            pitch = _MIDDLE_C + 12 * octave + _NATURALS[letter] + shift  # octave 0 begins at middle C
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
