"""Where everything of a piano roll lies, whatever it is drawn with: time to the right, pitch upwards, rows of bars.

A long piece is broken into systems as a score is, so that four bars and two hundred are equally readable.
Coordinates are those of a picture, in pixels: x from the left, y from the top.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from recitative.music.piece import HIGHEST, LOWEST, Note, Piece

LEFT, RIGHT = 38.0, 12.0  # margins of a system: names of the pitches stand on the left
HEAD, ABOVE, BELOW = 44.0, 15.0, 12.0  # title and legend; number of the bar over each system; space under it
WIDTH = 960.0  # of a whole system
WIDEST_QUARTER = 36.0  # a short piece is not stretched beyond this
LEAST_WIDTH = 420.0  # room for title and legend
ROW = 5.0  # height of a semitone
BLACK_KEYS = frozenset({1, 3, 6, 8, 10})
OCTAVE = 12


@dataclass(frozen=True)
class Box:
    """A note, or the part of one that lies in one system."""

    note: Note
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class System:
    """A row of bars: steps ``first`` to before ``stop``, its top edge at ``y``."""

    first: int
    stop: int
    y: float


@dataclass(frozen=True)
class Roll:
    """The measures of a picture. low, high: the lowest and highest pitch that has a row."""

    piece: Piece
    quarters_per_bar: int
    systems: tuple[System, ...]
    step_width: float
    low: int
    high: int

    @classmethod
    def of(cls, piece: Piece, quarters_per_bar: int = 4, bars_per_system: int | None = None) -> Roll:
        """bars_per_system: by default as many as suit the length of the piece. Raises ValueError for an empty bar."""
        if quarters_per_bar < 1:
            raise ValueError(f"{quarters_per_bar} quarters a bar; at least 1")
        bar = quarters_per_bar * piece.steps_per_quarter
        bars = max(1, math.ceil(piece.length / bar))
        per_system = min(bars, bars_per_system or _bars_per_system(bars))
        low, high = _pitch_range(piece)
        apart = ABOVE + (high - low + 1) * ROW + BELOW
        systems = tuple(
            System(first * bar, min(first + per_system, bars) * bar, HEAD + ABOVE + n * apart)
            for n, first in enumerate(range(0, bars, per_system))
        )
        widest = WIDEST_QUARTER / piece.steps_per_quarter
        step_width = min(widest, (WIDTH - LEFT - RIGHT) / (per_system * bar))
        return cls(piece, quarters_per_bar, systems, step_width, low, high)

    @property
    def width(self) -> float:
        longest = max(system.stop - system.first for system in self.systems)
        return max(LEAST_WIDTH, LEFT + longest * self.step_width + RIGHT)

    @property
    def height(self) -> float:
        return self.systems[-1].y + self.system_height + BELOW

    @property
    def system_height(self) -> float:
        return (self.high - self.low + 1) * ROW

    @property
    def steps_per_bar(self) -> int:
        return self.quarters_per_bar * self.piece.steps_per_quarter

    def x(self, system: System, step: int) -> float:
        return LEFT + (step - system.first) * self.step_width

    def y(self, system: System, pitch: int) -> float:
        """The upper edge of a pitch's row."""
        return system.y + (self.high - pitch) * ROW

    def octaves(self) -> range:
        """The Cs that have a row."""
        return range(self.low + -self.low % OCTAVE, self.high + 1, OCTAVE)

    def boxes(self) -> Iterator[Box]:
        """One for each note and system it lies in, in the order of the notes."""
        for note in self.piece.notes:
            for system in self.systems:
                start, stop = max(note.start, system.first), min(note.end, system.stop)
                if start < stop:
                    width = (stop - start) * self.step_width
                    yield Box(note, self.x(system, start), self.y(system, note.pitch), width, ROW)


def pitch_name(pitch: int) -> str:
    """C4 for 60."""
    names = ("C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B")
    return f"{names[pitch % OCTAVE]}{pitch // OCTAVE - 1}"


def _bars_per_system(bars: int) -> int:
    """Few while there are few, so that notes are wide; more in a long piece, so that it isn't endlessly high."""
    return 8 if bars <= 64 else 16


def _pitch_range(piece: Piece) -> tuple[int, int]:
    """A tone more on either side, an octave and so a C at least."""
    pitches = [note.pitch for note in piece.notes] or [60]
    low, high = min(pitches) - 2, max(pitches) + 2
    missing = max(0, OCTAVE - (high - low + 1))
    low, high = low - missing // 2, high + (missing + 1) // 2
    return max(LOWEST, low), min(HIGHEST, high)
