"""What pieces are like, in numbers: of one, or of a corpus, and how far two corpora are apart."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, TypeVar

from recitative.music import counterpoint
from recitative.music.counterpoint import OTHER, SEVENTHS, TRIADS, Share
from recitative.music.piece import Grid, Note, Piece, from_grid, to_grid

Value = TypeVar("Value", bound=Hashable)

NO_RANGE = (128, -1)  # of a voice without notes: lowest above highest


@dataclass(frozen=True)
class Statistics:
    """Counts; those of several pieces add up.

    pitch_classes: steps in which 0 = C to 11 = B sound. intervals: of each voice, semitones from a note to the next one
    if no rest lies between. note_lengths: in quarters. ranges: of each voice, MIDI. sonorities: steps by chord, see
    ``counterpoint.sonorities``.
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

    def to_dict(self) -> dict[str, Any]:
        """For JSON: keys are strings, rates NaN if nothing was counted become None."""
        return {
            "pieces": self.pieces,
            "notes": self.notes,
            "quarters": float(self.quarters),
            "pitch_classes": _named(self.pitch_classes),
            "intervals": [_named(counts) for counts in self.intervals],
            "note_lengths": _named(self.note_lengths),
            "ranges": [list(both) if both != NO_RANGE else None for both in self.ranges],
            "crossings": _share(self.crossings),
            "parallel_fifths": _share(self.fifths),
            "parallel_octaves": _share(self.octaves),
            "triads": _share(self.triads),
            "sevenths": _share(self.sevenths),
            "sonorities": {name: self.sonorities[name] for name in (*TRIADS, *SEVENTHS, OTHER)},
        }


@dataclass(frozen=True)
class Distances:
    """Total variation between the histograms of two corpora: 0 the same, 1 nothing in common, NaN if one is empty."""

    pitch_classes: float
    intervals: float
    note_lengths: float
    sonorities: float

    def to_dict(self) -> dict[str, float | None]:
        values = vars(self)
        return {name: value if value == value else None for name, value in values.items()}  # NaN isn't itself


def statistics(pieces: Iterable[Piece], voices: int) -> Statistics:
    """Of all pieces together; where a voice has a chord, its highest note counts as ``to_grid`` says.

    Raises ValueError for a note of a voice beyond ``voices``.
    """
    nothing, share = Counter[Any](), Share(0, 0)
    total = Statistics(
        0, 0, Fraction(0), nothing, (nothing,) * voices, nothing, (NO_RANGE,) * voices, share, share, share, nothing
    )
    for piece in pieces:
        total = _sum(total, _of_piece(piece, voices))
    return total


def distances(first: Statistics, second: Statistics) -> Distances:
    """Between two corpora, or a piece and a corpus."""
    return Distances(
        total_variation(first.pitch_classes, second.pitch_classes),
        total_variation(first.all_intervals, second.all_intervals),
        total_variation(first.note_lengths, second.note_lengths),
        total_variation(first.sonorities, second.sonorities),
    )


def total_variation(first: Mapping[Value, int], second: Mapping[Value, int]) -> float:
    """Half the sum over x of |p(x) - q(x)| of two histograms of counts; NaN if one of them is empty."""
    all_first, all_second = sum(first.values()), sum(second.values())
    if not all_first or not all_second:
        return float("nan")
    values = first.keys() | second.keys()
    apart = sum(abs(first.get(x, 0) * all_second - second.get(x, 0) * all_first) for x in values)
    return apart / (2 * all_first * all_second)  # integers till here: no rounding, so 0 and 1 are exact


def _of_piece(piece: Piece, voices: int) -> Statistics:
    grid = to_grid(piece, voices)
    parts = _parts(grid, piece, voices)
    notes = [note for part in parts for note in part]
    lengths = Counter(Fraction(note.length, piece.steps_per_quarter) for note in notes)
    pitch_classes: Counter[int] = Counter()
    for note in notes:
        pitch_classes[note.pitch % 12] += note.length
    return Statistics(
        pieces=1,
        notes=len(notes),
        quarters=Fraction(piece.length, piece.steps_per_quarter),
        pitch_classes=pitch_classes,
        intervals=tuple(_melodic_intervals(part) for part in parts),
        note_lengths=lengths,
        ranges=tuple(_range(part) for part in parts),
        crossings=counterpoint.crossings(grid.pitches),
        fifths=counterpoint.parallels(grid.pitches, counterpoint.FIFTH),
        octaves=counterpoint.parallels(grid.pitches, counterpoint.OCTAVE),
        sonorities=counterpoint.sonorities(grid.pitches),
    )


def _parts(grid: Grid, piece: Piece, voices: int) -> list[list[Note]]:
    """The notes of each voice, one at a time."""
    single = from_grid(grid, piece.steps_per_quarter).notes
    return [[note for note in single if note.voice == voice] for voice in range(voices)]


def _melodic_intervals(part: list[Note]) -> Counter[int]:
    pairs = itertools.pairwise(part)
    return Counter(after.pitch - note.pitch for note, after in pairs if after.start == note.end)


def _range(part: list[Note]) -> tuple[int, int]:
    pitches = [note.pitch for note in part]
    return (min(pitches), max(pitches)) if pitches else NO_RANGE


def _sum(first: Statistics, second: Statistics) -> Statistics:
    return replace(
        first,
        pieces=first.pieces + second.pieces,
        notes=first.notes + second.notes,
        quarters=first.quarters + second.quarters,
        pitch_classes=first.pitch_classes + second.pitch_classes,
        intervals=tuple(a + b for a, b in zip(first.intervals, second.intervals, strict=True)),
        note_lengths=first.note_lengths + second.note_lengths,
        ranges=tuple((min(a[0], b[0]), max(a[1], b[1])) for a, b in zip(first.ranges, second.ranges, strict=True)),
        crossings=first.crossings + second.crossings,
        fifths=first.fifths + second.fifths,
        octaves=first.octaves + second.octaves,
        sonorities=first.sonorities + second.sonorities,
    )


def _named(counts: Mapping[Any, int]) -> dict[str, int]:
    return {str(value): counts[value] for value in sorted(counts)}


def _share(share: Share) -> dict[str, float | None]:
    return {"count": share.count, "of": share.of, "rate": share.rate if share.of else None}
