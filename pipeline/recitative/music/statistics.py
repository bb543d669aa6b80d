"""Statistics of pieces: voice leading, chords, histograms and their distances, and copies from a corpus.

Crossings, parallel fifths and octaves, and chords are counted on grids, by the definitions of J. J. Fux, Gradus ad
Parnassum (1725), and Aldwell and Schachter, Harmony and Voice Leading.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from fractions import Fraction
from math import isnan
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from recitative.music.piece import SILENT, Piece, Pitches, from_grid, to_grid

FIFTH, OCTAVE = 7, 0  # semitones modulo 12
OTHER = "other"
_MIN_CHORD = 3  # notes of a chord
# Pitch classes above the root; inversions and spacings are the same chord.
CHORDS: dict[str, tuple[int, ...]] = {
    "major": (0, 4, 7),
    "minor": (0, 3, 7),
    "diminished": (0, 3, 6),
    "augmented": (0, 4, 8),
    "dominant seventh": (0, 4, 7, 10),
    "major seventh": (0, 4, 7, 11),
    "minor seventh": (0, 3, 7, 10),
    "half-diminished seventh": (0, 3, 6, 10),
    "diminished seventh": (0, 3, 6, 9),
}
TRIADS = ("major", "minor", "diminished", "augmented")
SEVENTHS = tuple(name for name in CHORDS if name not in TRIADS)


@dataclass(frozen=True)
class Share:
    """``count`` out of ``of``."""

    count: int
    of: int

    def __add__(self, other: Share) -> Share:
        return Share(self.count + other.count, self.of + other.of)

    @property
    def rate(self) -> float:
        """From 0 to 1; NaN if ``of`` is 0."""
        return self.count / self.of if self.of else float("nan")


def crossings(pitches: Pitches) -> Share:
    """Steps with crossed voices, of the steps in which at least two voices sound. pitches: (T, V), voice 0 the
    highest."""
    crossed = np.zeros(len(pitches), bool)
    for upper, lower in itertools.combinations(range(pitches.shape[1]), 2):
        both = (pitches[:, upper] != SILENT) & (pitches[:, lower] != SILENT)
        crossed |= both & (pitches[:, upper] < pitches[:, lower])
    together = (pitches != SILENT).sum(axis=1) >= 2
    return Share(int(crossed.sum()), int(together.sum()))


def parallels(pitches: Pitches, interval: int) -> Share:
    """Pairs of voices in parallel motion, of the steps at which any pitch changes.

    pitches: (T, V). interval: FIFTH or OCTAVE, modulo 12, so a twelfth is a fifth and a unison an octave. A pair counts
    if both voices move in the same direction and have this interval before and after; contrary motion from a fifth to a
    twelfth does not count.
    """
    count = 0
    for first, second in itertools.combinations(pitches.T, 2):
        apart = (first != SILENT) & (second != SILENT) & (np.abs(first - second) % 12 == interval)
        up, other_up = np.sign(np.diff(first)), np.sign(np.diff(second))
        count += int((apart[:-1] & apart[1:] & (up == other_up) & (up != 0)).sum())
    return Share(count, int((pitches[1:] != pitches[:-1]).any(axis=1).sum()))


def sonorities(pitches: Pitches) -> Counter[str]:
    """The number of steps by chord: a name of CHORDS, or OTHER. pitches: (T, V).

    Steps with fewer than three notes are not counted. A doubled note is two notes.
    """
    rows = ([pitch for pitch in row if pitch != SILENT] for row in pitches.tolist())
    return Counter(chord_name(row) for row in rows if len(row) >= _MIN_CHORD)


def chord_name(sounding: list[int]) -> str:
    """The chord of some MIDI pitches, in any inversion."""
    classes = frozenset(pitch % 12 for pitch in sounding)
    for root in sorted(classes):
        name = _NAMES.get(frozenset((pitch - root) % 12 for pitch in classes))
        if name:
            return name
    return OTHER


_NAMES = {frozenset(above): name for name, above in CHORDS.items()}


# Histograms

Value = TypeVar("Value", bound=Hashable)
NO_RANGE = (128, -1)  # of a voice without notes: lowest above highest


@dataclass(frozen=True)
class Statistics:
    """Counts, which can be summed over pieces.

    pitch_classes: steps by pitch class, 0 = C. intervals: of each voice, semitones between adjacent notes.
    note_lengths: in quarters. ranges: of each voice, MIDI. sonorities: steps by chord.
    """

    pieces: int
    notes: int
    quarters: Fraction
    pitch_classes: Counter[int]
    intervals: tuple[Counter[int], ...]
    note_lengths: Counter[Fraction]
    ranges: tuple[tuple[int, int], ...]
    crossings: Share
    fifths: Share
    octaves: Share
    sonorities: Counter[str]

    @property
    def all_intervals(self) -> Counter[int]:
        return sum(self.intervals, Counter())

    @property
    def triads(self) -> Share:
        return self._chords(TRIADS)

    @property
    def sevenths(self) -> Share:
        return self._chords(SEVENTHS)

    def _chords(self, names: Iterable[str]) -> Share:
        return Share(sum(self.sonorities[name] for name in names), self.sonorities.total())

    def __add__(self, other: Statistics) -> Statistics:
        pairs = zip(self.ranges, other.ranges, strict=True)
        combined: dict[str, Any] = {
            "intervals": tuple(a + b for a, b in zip(self.intervals, other.intervals, strict=True)),
            "ranges": tuple((min(a[0], b[0]), max(a[1], b[1])) for a, b in pairs),
        }
        for field in fields(self):
            if field.name not in combined:
                combined[field.name] = getattr(self, field.name) + getattr(other, field.name)
        return Statistics(**combined)

    def to_dict(self) -> dict[str, Any]:
        """For JSON. NaN becomes None."""

        def named(counts: Mapping[Any, int]) -> dict[str, int]:
            return {str(value): counts[value] for value in sorted(counts)}

        def share(one: Share) -> dict[str, float | None]:
            return {"count": one.count, "of": one.of, "rate": one.rate if one.of else None}

        return {
            "pieces": self.pieces,
            "notes": self.notes,
            "quarters": float(self.quarters),
            "pitch_classes": named(self.pitch_classes),
            "intervals": [named(counts) for counts in self.intervals],
            "note_lengths": named(self.note_lengths),
            "ranges": [list(both) if both != NO_RANGE else None for both in self.ranges],
            "crossings": share(self.crossings),
            "parallel_fifths": share(self.fifths),
            "parallel_octaves": share(self.octaves),
            "triads": share(self.triads),
            "sevenths": share(self.sevenths),
            "sonorities": {name: self.sonorities[name] for name in (*TRIADS, *SEVENTHS, OTHER)},
        }


@dataclass(frozen=True)
class Distances:
    """Total variation distances of the histograms of two corpora: 0 equal, 1 disjoint, NaN if one is empty."""

    pitch_classes: float
    intervals: float
    note_lengths: float
    sonorities: float

    def to_dict(self) -> dict[str, float | None]:
        return {name: None if isnan(value) else value for name, value in vars(self).items()}


def statistics(pieces: Iterable[Piece], voices: int) -> Statistics:
    """The sum over pieces. Of several notes of a voice at once, that of ``to_grid`` counts.

    Raises ValueError for a piece with more than ``voices``.
    """
    nothing, share = Counter[Any](), Share(0, 0)
    total = Statistics(
        0, 0, Fraction(0), nothing, (nothing,) * voices, nothing, (NO_RANGE,) * voices, share, share, share, nothing
    )
    return sum((_of_piece(piece, voices) for piece in pieces), total)


def distances(first: Statistics, second: Statistics) -> Distances:
    """The distances of two corpora."""
    return Distances(
        total_variation(first.pitch_classes, second.pitch_classes),
        total_variation(first.all_intervals, second.all_intervals),
        total_variation(first.note_lengths, second.note_lengths),
        total_variation(first.sonorities, second.sonorities),
    )


def total_variation(first: Mapping[Value, int], second: Mapping[Value, int]) -> float:
    """Half the sum of |p(x) - q(x)| over x, of two histograms of counts; NaN if one of them is empty."""
    all_first, all_second = sum(first.values()), sum(second.values())
    if not all_first or not all_second:
        return float("nan")
    values = first.keys() | second.keys()
    apart = sum(abs(first.get(x, 0) * all_second - second.get(x, 0) * all_first) for x in values)
    return apart / (2 * all_first * all_second)  # in integers up to here, so 0 and 1 are exact


def _of_piece(piece: Piece, voices: int) -> Statistics:
    grid = to_grid(piece, voices)
    notes = from_grid(grid, piece.steps_per_quarter).notes  # one at a time in each voice
    pitch_classes: Counter[int] = Counter()
    intervals, ranges = [], []
    for note in notes:
        pitch_classes[note.pitch % 12] += note.length
    for voice in range(voices):
        part = [note for note in notes if note.voice == voice]
        pairs = itertools.pairwise(part)
        intervals.append(Counter(after.pitch - note.pitch for note, after in pairs if after.start == note.end))
        pitches = [note.pitch for note in part]
        ranges.append((min(pitches), max(pitches)) if pitches else NO_RANGE)
    return Statistics(
        pieces=1,
        notes=len(notes),
        quarters=Fraction(piece.length, piece.steps_per_quarter),
        pitch_classes=pitch_classes,
        intervals=tuple(intervals),
        note_lengths=Counter(Fraction(note.length, piece.steps_per_quarter) for note in notes),
        ranges=tuple(ranges),
        crossings=crossings(grid.pitches),
        fifths=parallels(grid.pitches, FIFTH),
        octaves=parallels(grid.pitches, OCTAVE),
        sonorities=sonorities(grid.pitches),
    )


# Copies: passages of a generated piece that occur in a corpus, in any key.
#
# A passage is a range of consecutive steps in all voices that starts where something sounds. Pitches are compared, not
# onsets. Two passages are equal up to transposition if each step has the same intervals and the reference, the pitch of
# the first voice that sounds, moves alike. In silence the reference stays.

Steps = npt.NDArray[np.int64]
_REST = 1000  # larger than any interval
_NONE: Steps = np.zeros(0, np.int64)
_EMPTY: Steps = np.zeros(1, np.int64)


@dataclass(frozen=True)
class Copy:
    """length: steps, 0 for no copy; start: first step in the original ``name``; at: first step in the piece;
    transposition: semitones from the original to the piece
    """

    length: int = 0
    name: str = ""
    start: int = 0
    transposition: int = 0
    at: int = 0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class _Spans:
    """A grid as runs of equal steps, of which there are far fewer than steps.

    shapes: the pitches of each span relative to its reference; references: (S,) MIDI pitches; motions: intervals from
    the previous reference; starts, lengths: in steps; sounds: whether the span is not silent
    """

    shapes: list[bytes]
    references: Steps
    motions: Steps
    starts: Steps
    lengths: Steps
    sounds: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, pitches: Pitches) -> _Spans:
        references = np.zeros(len(pitches), np.int64)
        last = 0
        for step, row in enumerate(pitches.tolist()):
            last = next((pitch for pitch in row if pitch != SILENT), last)
            references[step] = last
        relative = np.where(pitches == SILENT, _REST, pitches - references[:, None]).astype(np.int16)
        changes = (relative[1:] != relative[:-1]).any(axis=1) | (np.diff(references) != 0)
        starts = np.concatenate([[0], np.flatnonzero(changes) + 1])[: len(pitches)].astype(np.int64)
        sounds = (pitches[starts] != SILENT).any(axis=1)
        lengths = np.diff(starts, append=len(pitches))
        moved = np.diff(references[starts], prepend=0)
        return cls([relative[start].tobytes() for start in starts], references[starts], moved, starts, lengths, sounds)


@dataclass(frozen=True)
class Originals:
    """The spans of a corpus, with an empty one before each piece, indexed by shape.

    firsts: (P,), the first span of each piece; references, motions, starts, lengths: (R,), as in ``_Spans``; places:
    shape -> indices of its spans, ascending
    """

    names: tuple[str, ...]
    firsts: Steps
    references: Steps
    motions: Steps
    starts: Steps
    lengths: Steps
    places: dict[bytes, Steps]
    voices: int

    @classmethod
    def of(cls, pieces: Iterable[Piece], *, voices: int) -> Originals:
        """Raises ValueError for a piece with more than ``voices``."""
        names, firsts = [], []
        joined: list[tuple[Steps, ...]] = [(_NONE, _NONE, _NONE, _NONE)]
        places: dict[bytes, list[int]] = {}
        count = 0
        for piece in pieces:
            spans = _Spans.of(to_grid(piece, voices).pitches)
            names.append(piece.name)
            firsts.append(count + 1)
            joined += [(_EMPTY,) * 4, (spans.references, spans.motions, spans.starts, spans.lengths)]
            for number, shape in enumerate(spans.shapes, start=count + 1):
                places.setdefault(shape, []).append(number)
            count += 1 + len(spans.shapes)
        references, motions, starts, lengths = (np.concatenate(column) for column in zip(*joined, strict=True))
        found = {shape: np.array(numbers, np.int64) for shape, numbers in places.items()}
        first = np.array(firsts, np.int64)
        return cls(tuple(names), first, references, motions, starts, lengths, found, voices)


def longest_copy(piece: Piece, originals: Originals) -> Copy:
    """The longest copy; of equal ones the first in the piece, then the first in the originals.

    Spans i of the piece and j of the originals with equal shapes share as many steps as the shorter one has. If both
    were reached by the same motion, they extend the match that ends at spans i - 1 and j - 1. The match that ends at
    the ends of i and j is the whole match if both have equal lengths, otherwise only the shared steps, since it starts
    within the longer span. Raises ValueError for a piece with more voices than the originals.
    """
    spans = _Spans.of(to_grid(piece, originals.voices).pitches)
    matched = np.zeros(len(originals.references), np.int64)  # steps that are equal up to the ends of spans i - 1 and j
    last = _NONE
    best = Copy()
    for i, shape in enumerate(spans.shapes):
        here = originals.places.get(shape, _NONE)
        shared = np.minimum(originals.lengths[here], spans.lengths[i])
        before = np.where(originals.motions[here] == spans.motions[i], matched[here - 1], 0)
        lengths = np.where((before > 0) | spans.sounds[i], before + shared, 0)
        matched[last] = 0
        matched[here] = np.where(originals.lengths[here] == spans.lengths[i], lengths, shared * spans.sounds[i])
        last = here
        if len(here) and lengths.max() > best.length:
            longest = np.flatnonzero(lengths == lengths.max())
            chosen = longest[shared[longest].argmin()]  # the one that ends first
            j, length = int(here[chosen]), int(lengths[chosen])
            offset = int(shared[chosen]) - length  # from the starts of both spans
            best = Copy(
                length=length,
                name=originals.names[int(np.searchsorted(originals.firsts, j, side="right")) - 1],
                start=int(originals.starts[j]) + offset,
                transposition=int(spans.references[i] - originals.references[j]),
                at=int(spans.starts[i]) + offset,
            )
    return best
