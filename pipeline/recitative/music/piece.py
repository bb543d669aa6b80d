"""A piece of music as notes and as a grid of voices: its key, its dynamics, and voices for music that has none.

Time is counted in steps, ``steps_per_quarter`` to a quarter note. A grid is the input of a frame-wise model: one row
per step and one column per voice, each of which sounds one pitch or is silent.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, groupby, pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from recitative.errors import UsageError, counted

SILENT = -1  # in a grid
LOWEST, HIGHEST = 0, 127  # MIDI pitches; 60 is middle C
Pitches = npt.NDArray[np.int16]


@dataclass(frozen=True, order=True)
class Note:
    """start, length: steps, length > 0; pitch: MIDI, 0..127; voice: 0 is the highest"""

    start: int
    pitch: int
    length: int
    voice: int = 0

    @property
    def end(self) -> int:
        return self.start + self.length


VOICES = ("soprano", "alto", "tenor", "bass")  # of four-part music


@dataclass(frozen=True)
class Notation:
    """How a piece is written down; None and () where this is not known.

    meter: beats in a bar and their note value (at most 32), such as (3, 4); fifths: sharps of the key signature,
    flats below 0; minor: of the key; parts: names of the voices, '' for none
    """

    meter: tuple[int, int] | None = None
    fifths: int | None = None
    minor: bool = False
    parts: tuple[str, ...] = ()

    @property
    def bar_quarters(self) -> float:
        """Quarter notes in a bar; 4 without a meter."""
        beats, value = self.meter or (4, 4)
        return 4 * beats / value

    @property
    def beat_quarters(self) -> float:
        """Quarter notes in a beat. Compound meters, such as 6/8, have beats of three."""
        beats, value = self.meter or (4, 4)
        return (12 if value >= 8 and beats > 3 and beats % 3 == 0 else 4) / value

    def part(self, voice: int) -> str:
        return self.parts[voice] if voice < len(self.parts) else ""


@dataclass(frozen=True)
class Piece:
    """notes: sorted; length: steps, including rests at the end"""

    notes: tuple[Note, ...]
    length: int
    steps_per_quarter: int = 4
    quarters_per_minute: float = 100.0
    name: str = ""
    notation: Notation = Notation()

    @classmethod
    def of(cls, notes: Iterable[Note], steps_per_quarter: int, quarters_per_minute: float, name: str) -> Piece:
        """Sorts the notes. The piece ends with the last note."""
        ordered = tuple(sorted(notes))
        length = max((note.end for note in ordered), default=0)
        return cls(ordered, length, steps_per_quarter, quarters_per_minute, name)

    @property
    def voices(self) -> int:
        """One more than the highest voice number."""
        return max((note.voice for note in self.notes), default=-1) + 1

    @property
    def seconds(self) -> float:
        return self.length * self.step_s

    @property
    def step_s(self) -> float:
        return 60.0 / self.quarters_per_minute / self.steps_per_quarter

    def at_resolution(self, steps_per_quarter: int) -> Piece:
        """On another grid. Starts and ends are rounded to the nearest step; notes keep at least one step."""
        ratio = steps_per_quarter / self.steps_per_quarter

        def moved(note: Note) -> Note:
            start = round(note.start * ratio)
            return replace(note, start=start, length=max(1, round(note.end * ratio) - start))

        notes = tuple(sorted(moved(note) for note in self.notes))
        length = max(round(self.length * ratio), max((note.end for note in notes), default=0))
        return replace(self, notes=notes, length=length, steps_per_quarter=steps_per_quarter)


@dataclass(frozen=True)
class Grid:
    """pitches: (T, V), MIDI numbers or SILENT; onsets: (T, V), true where a note starts"""

    pitches: Pitches
    onsets: npt.NDArray[np.bool_]


def to_grid(piece: Piece, voices: int) -> Grid:
    """One pitch for each voice and step: of several notes, the one that started last, then the highest.

    Raises ValueError for a piece with more than ``voices``.
    """
    pitches = np.full((piece.length, voices), SILENT, np.int16)
    onsets = np.zeros((piece.length, voices), bool)
    for note in piece.notes:  # sorted by start and pitch: later ones replace earlier ones
        if note.voice >= voices:
            raise ValueError(f"{piece.name}: a note of voice {note.voice + 1} of {voices}")
        pitches[note.start : note.end, note.voice] = note.pitch
        onsets[note.start : note.end, note.voice] = False
        onsets[note.start, note.voice] = True
    return Grid(pitches, onsets)


def tied(pitches: Pitches) -> Grid:
    """Equal consecutive pitches are one note."""
    before = np.vstack([np.full((1, pitches.shape[1]), SILENT, np.int16), pitches[:-1]])
    return Grid(pitches, (pitches != SILENT) & (pitches != before))


def from_grid(grid: Grid, steps_per_quarter: int, quarters_per_minute: float = 100.0, name: str = "") -> Piece:
    """The notes of a grid. Each lasts to the next onset, change of pitch or silence of its voice."""
    notes: list[Note] = []
    for voice, pitches in enumerate(grid.pitches.T.tolist()):
        for step, pitch in enumerate(pitches):
            if step and pitches[step - 1] == pitch != SILENT and not grid.onsets[step, voice]:
                notes[-1] = replace(notes[-1], length=notes[-1].length + 1)
            elif pitch != SILENT:
                notes.append(Note(step, pitch, 1, voice))
    return Piece(tuple(sorted(notes)), len(grid.pitches), steps_per_quarter, quarters_per_minute, name)


# The key of a piece, by correlation of durations with key profiles (Krumhansl & Kessler 1982; Temperley)

# Key profiles, from the tonic upwards: Krumhansl & Kessler's probe tone ratings
MAJOR = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
MINOR = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)


MAJOR_SCALE = (0, 2, 4, 5, 7, 9, 11)
MINOR_SCALE = (0, 2, 3, 5, 7, 8, 9, 10, 11)  # natural, harmonic and melodic


class Key(NamedTuple):
    """tonic: pitch class, 0 is C"""

    tonic: int
    minor: bool = False

    @property
    def pitch_classes(self) -> frozenset[int]:
        """The notes of its scales."""
        return frozenset((self.tonic + step) % 12 for step in (MINOR_SCALE if self.minor else MAJOR_SCALE))


def key_of(pitches: Pitches) -> Key:
    """The key with the best correlation. C major for silence."""
    return likeliest_keys(pitches)[0]


def likeliest_keys(pitches: Pitches) -> list[Key]:
    """All keys, those with the best correlation first."""
    counts = np.bincount(pitches[pitches != SILENT].astype(np.int64) % 12, minlength=12).astype(np.float64)
    keys = [Key(tonic, minor) for minor in (False, True) for tonic in range(12)]
    if not counts.any() or counts.min() == counts.max():
        return keys
    profiles = (MAJOR, MINOR)
    return sorted(keys, key=lambda key: -float(np.corrcoef(np.roll(profiles[key.minor], key.tonic), counts)[0, 1]))


def fifths_of(tonic: int, minor: bool) -> int:
    """The sharps of the key signature of a tonic (pitch class), -6..5 in major; flats below 0."""
    return ((tonic + (3 if minor else 0)) * 7 + 6) % 12 - 6


def tonic_of(fifths: int, minor: bool) -> int:
    """The pitch class of the tonic of a key signature."""
    return (fifths * 7 + (9 if minor else 0)) % 12


LETTERS = "FCGDAEB"  # on the line of fifths
NATURALS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}  # semitones above C


def tonic_name(place: int) -> str:
    """A note by its place on the line of fifths: 0 is C, 1 G, -2 Bb, 6 F#."""
    signs, letter = divmod(place + 1, 7)
    return LETTERS[letter] + ("#" * signs or "b" * -signs)


def signature_name(fifths: int, minor: bool) -> str:
    """The key of a signature, such as Bb or F#m."""
    return tonic_name(fifths + 3) + "m" if minor else tonic_name(fifths)


def key_name(tonic: int, minor: bool) -> str:
    """Such as Bb major."""
    return f"{tonic_name(fifths_of(tonic, minor) + (3 if minor else 0))} {'minor' if minor else 'major'}"


def spelled(pitch: int, fifths: int) -> tuple[str, int, int]:
    """A MIDI pitch in a key signature -> (letter, semitones of its accidental, octave; middle C is in octave 4)."""
    place = (7 * pitch - fifths + 3) % 12 + fifths - 3
    alter, letter = divmod(place + 1, 7)
    return LETTERS[letter], alter, (pitch - alter) // 12 - 1


def pitch_name(pitch: int, fifths: int = 0) -> str:
    """A MIDI pitch in a key signature, such as C4 (60) or F#4."""
    letter, alter, octave = spelled(pitch, fifths)
    return f"{letter}{'#' * alter or 'b' * -alter}{octave}"


def transposed(piece: Piece, semitones: int) -> Piece:
    """The piece and its key signature, higher by ``semitones``. Raises UsageError for notes that MIDI lacks."""
    pitches = [note.pitch + semitones for note in piece.notes]
    if pitches and not LOWEST <= min(pitches) <= max(pitches) <= HIGHEST:
        raise UsageError(
            f"{piece.name}: {semitones:+d} semitones lead to pitch {min(pitches)} or {max(pitches)}; 0 to 127"
        )
    notation = piece.notation
    if notation.fifths is not None:
        tonic = (tonic_of(notation.fifths, notation.minor) + semitones) % 12
        notation = replace(notation, fifths=fifths_of(tonic, notation.minor))
    notes = tuple(replace(note, pitch=pitch) for note, pitch in zip(piece.notes, pitches, strict=True))
    return replace(piece, notes=notes, notation=notation)


# Voices of polyphonic music that has none, such as piano music


def separated(piece: Piece, voices: int) -> Piece:
    """Assign the notes to ``voices`` voices, from the highest to the lowest.

    Notes that start together are assigned, ordered by pitch, to the free voices with the fewest crossings and then the
    smallest movement. If there are more notes than free voices, they share voices, and the outer voices keep the outer
    notes. Raises ValueError for fewer than one voice.
    """
    if voices < 1:
        raise ValueError(f"{piece.name}: {counted(voices, 'voice')}; at least 1")
    pitches = [note.pitch for note in piece.notes] or [0]
    last = [float(np.quantile(pitches, 1 - (voice + 0.5) / voices)) for voice in range(voices)]  # initial pitches
    ends = [0] * voices
    result: list[Note] = []
    for start, together in groupby(sorted(piece.notes), key=lambda note: note.start):
        chord = sorted(together, key=lambda note: note.pitch, reverse=True)
        for note, voice in zip(chord, _assigned(chord, start, last, ends), strict=True):
            result.append(replace(note, voice=voice))
            last[voice], ends[voice] = float(note.pitch), max(ends[voice], note.end)
    return replace(piece, notes=tuple(sorted(result)))


def _assigned(chord: Sequence[Note], start: int, last: Sequence[float], ends: Sequence[int]) -> Sequence[int]:
    """A voice for each note of a chord, in descending order. last: the last pitch of each voice; ends: its end"""
    free = [voice for voice, end in enumerate(ends) if end <= start]
    if len(chord) > len(free):  # the first has the highest note, the last the lowest
        free = free or [min(range(len(last)), key=lambda voice: abs(last[voice] - chord[0].pitch))]
        most = len(chord) - 1
        return [free[(number * (len(free) - 1) + most // 2) // most if most else 0] for number in range(len(chord))]
    held = [(voice, last[voice]) for voice in range(len(ends)) if voice not in free]

    def cost(choice: Sequence[int]) -> tuple[int, float]:
        pairs = list(zip(chord, choice, strict=True))
        crossings = sum(
            (note.pitch - other_pitch) * (other - voice) < 0 for note, voice in pairs for other, other_pitch in held
        )
        return crossings, sum(abs(note.pitch - last[voice]) for note, voice in pairs)

    return min(combinations(free, len(chord)), key=cost)


# Dynamics: louder on strong beats, and rising and falling with the phrase. A function of the notes.

VELOCITY = 80  # MIDI, mean
LOUDEST = 127
_PHRASE = 7  # from the mean to the height of a phrase, and to its ends
_STRONG, _MIDDLE, _BEAT, _WEAK = 6, 3, 0, -4  # the first beat, the middle of a bar, other beats, and between beats
_TOP, _BOTTOM, _INNER = 5, 1, -3  # voices
_SHORTEST_PHRASE, _LONGEST_PHRASE = 4, 16  # quarters
_HELD = 2  # quarters: a note of the highest voice that ends a phrase
_HEIGHT = 1.3  # exponent: the height of a phrase is after its middle


def velocities(piece: Piece, level: int = VELOCITY) -> list[int]:
    """The MIDI velocity of each note, 1..127. level: the mean, before rounding and limits."""
    ends = phrase_ends(piece)
    top, bottom = (choose((note.voice for note in piece.notes), default=0) for choose in (min, max))
    found: list[float] = []
    for note in piece.notes:
        number = next(i for i, end in enumerate(ends) if note.start < end)
        begin = ends[number - 1] if number else 0
        place = (note.start - begin) / (ends[number] - begin)
        arch = _PHRASE * (2 * math.sin(math.pi * place**_HEIGHT) - 1)
        balance = 0 if top == bottom else _TOP if note.voice == top else _BOTTOM if note.voice == bottom else _INNER
        found.append(arch + _accent(piece, note.start) + balance)
    shift = level - sum(found) / max(1, len(found))
    return [min(LOUDEST, max(1, round(value + shift))) for value in found]


def _accent(piece: Piece, start: int) -> int:
    bar, beat = piece.notation.bar_quarters, piece.notation.beat_quarters
    within = start / piece.steps_per_quarter % bar
    if within == 0:
        return _STRONG
    if bar >= 4 * beat and within == bar / 2:
        return _MIDDLE
    return _BEAT if within % beat == 0 else _WEAK


def phrase_ends(piece: Piece) -> list[int]:
    """Steps at which phrases end, the last at or after the end of the piece.

    A phrase ends with a note of the highest voice that is long or before a rest, or after four bars of four quarters.
    """
    quarter = piece.steps_per_quarter
    top = min((note.voice for note in piece.notes), default=0)
    melody = [note for note in piece.notes if note.voice == top]
    ends: list[int] = []
    begin = 0
    for note, after in pairwise([*melody, Note(piece.length + 1, 0, 1)]):
        while note.start - begin >= _LONGEST_PHRASE * quarter:
            begin += _LONGEST_PHRASE * quarter
            ends.append(begin)
        ends_here = note.length >= _HELD * quarter or after.start - note.end >= quarter
        if ends_here and note.end - begin >= _SHORTEST_PHRASE * quarter:
            begin = max(note.end, begin + 1)
            ends.append(begin)
    return [*ends, max(begin, piece.length) + 1]
