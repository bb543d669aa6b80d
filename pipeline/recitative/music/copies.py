"""Whether a generated piece is a copy: the longest stretch of it that stands in an original, note for note.

A stretch is some consecutive steps of the grid, all voices, that begin where something sounds. Pitches are compared,
not where a pitch is struck again. Two stretches are the same up to transposition if every row has the same intervals
and the reference, the first voice that sounds, moves alike; over a silence it stays where it was.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from recitative.music.piece import SILENT, Piece, Pitches, to_grid

_REST = 1000  # beyond every interval
_NO_ROWS: npt.NDArray[np.int64] = np.zeros(0, np.int64)


@dataclass(frozen=True)
class Copy:
    """length: steps, 0 if not even one is the same. start: its step in the original ``name``; at: in the piece.

    transposition: semitones by which the piece lies above the original.
    """

    length: int = 0
    name: str = ""
    start: int = 0
    transposition: int = 0
    at: int = 0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class _Rows:
    """A grid as what is compared. references, (T,): MIDI pitches to which the rows are relative."""

    shapes: list[bytes]
    references: npt.NDArray[np.int64]
    sounds: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, pitches: Pitches, transposed: bool) -> _Rows:
        sounds = (pitches != SILENT).any(axis=1)
        references = _references(pitches) if transposed else np.zeros(len(pitches), np.int64)
        relative = np.where(pitches == SILENT, _REST, pitches - references[:, None]).astype(np.int16)
        return cls([row.tobytes() for row in relative], references, sounds)


@dataclass(frozen=True)
class Originals:
    """Pieces one after another, with an empty row before each, and where each kind of row occurs.

    motions, (R,): how far the reference moved from the row before. places: shape -> its rows, ascending.
    """

    names: tuple[str, ...]
    firsts: npt.NDArray[np.int64]
    references: npt.NDArray[np.int64]
    motions: npt.NDArray[np.int64]
    places: dict[bytes, npt.NDArray[np.int64]]
    voices: int
    transposed: bool

    @classmethod
    def of(cls, pieces: Iterable[Piece], *, voices: int, transposed: bool = True) -> Originals:
        """transposed: whether a copy in another key is one. Raises ValueError for a note beyond ``voices``."""
        names, firsts, references = [], [], [np.zeros(0, np.int64)]
        places: dict[bytes, list[int]] = {}
        num_rows = 0
        for piece in pieces:
            rows = _Rows.of(to_grid(piece, voices).pitches, transposed)
            names.append(piece.name)
            firsts.append(num_rows + 1)
            references.append(np.concatenate([[0], rows.references]))
            for row, shape in enumerate(rows.shapes, start=num_rows + 1):
                places.setdefault(shape, []).append(row)
            num_rows += 1 + len(rows.shapes)
        joined = np.concatenate(references).astype(np.int64)
        found = {shape: np.array(rows, np.int64) for shape, rows in places.items()}
        motions = np.diff(joined, prepend=0)
        return cls(tuple(names), np.array(firsts, np.int64), joined, motions, found, voices, transposed)


def longest_copy(piece: Piece, originals: Originals) -> Copy:
    """The longest, of equally long ones the first in the piece, then the first in the originals.

    run(i, j), how many steps up to step i of the piece and row j of the originals are the same, is
    1 + run(i - 1, j - 1) if both rows have the same shape and were reached by the same motion. Only rows of that
    shape are looked at.
    Raises ValueError for a note of a voice that the originals don't have.
    """
    rows = _Rows.of(to_grid(piece, originals.voices).pitches, originals.transposed)
    motions = np.diff(rows.references, prepend=0)
    run = np.zeros(len(originals.references), np.int64)
    before = _NO_ROWS
    best = Copy()
    for step, shape in enumerate(rows.shapes):
        here = originals.places.get(shape, _NO_ROWS)
        goes_on = (run[here - 1] > 0) & (originals.motions[here] == motions[step])
        lengths = np.where(goes_on, run[here - 1] + 1, int(rows.sounds[step]))
        run[before] = 0
        run[here] = lengths
        before = here
        if len(here) and lengths.max() > best.length:
            row = int(here[lengths.argmax()])
            best = _copy(originals, int(lengths.max()), row, step, int(rows.references[step]))
    return best


def _copy(originals: Originals, length: int, last_row: int, last_step: int, reference: int) -> Copy:
    number = int(np.searchsorted(originals.firsts, last_row, side="right")) - 1
    return Copy(
        length=length,
        name=originals.names[number],
        start=last_row - int(originals.firsts[number]) - length + 1,
        transposition=reference - int(originals.references[last_row]),
        at=last_step - length + 1,
    )


def _references(pitches: Pitches) -> npt.NDArray[np.int64]:
    """(T,): the pitch of the first voice that sounds; of a silent row that of the row before."""
    references = np.zeros(len(pitches), np.int64)
    last = 0
    for step, row in enumerate(pitches.tolist()):
        last = next((pitch for pitch in row if pitch != SILENT), last)
        references[step] = last
    return references
