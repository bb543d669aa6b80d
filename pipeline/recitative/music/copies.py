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

Steps = npt.NDArray[np.int64]

_REST = 1000  # beyond every interval
_NONE: Steps = np.zeros(0, np.int64)
_EMPTY: Steps = np.zeros(1, np.int64)


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
class _Spans:
    """A grid as what is compared: steps in a row in which nothing changes, of which there are far fewer than steps.

    shapes: what each span is, relative to its reference, (S,) MIDI pitches; motions: how far the reference moved from
    the span before; starts, lengths: in steps; sounds: whether anything does.
    """

    shapes: list[bytes]
    references: Steps
    motions: Steps
    starts: Steps
    lengths: Steps
    sounds: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, pitches: Pitches, transposed: bool) -> _Spans:
        references = _references(pitches) if transposed else np.zeros(len(pitches), np.int64)
        relative = np.where(pitches == SILENT, _REST, pitches - references[:, None]).astype(np.int16)
        changes = (relative[1:] != relative[:-1]).any(axis=1) | (np.diff(references) != 0)
        starts = np.concatenate([[0], np.flatnonzero(changes) + 1])[: len(pitches)].astype(np.int64)
        sounds = (pitches[starts] != SILENT).any(axis=1)
        lengths = np.diff(starts, append=len(pitches))
        moved = np.diff(references[starts], prepend=0)
        return cls([relative[start].tobytes() for start in starts], references[starts], moved, starts, lengths, sounds)


@dataclass(frozen=True)
class Originals:
    """Pieces one after another, with an empty span before each, and where each kind of span occurs.

    firsts, (P,): the first span of each piece. references, motions, starts, lengths, (R,): as those of ``_Spans``.
    places: shape -> its spans, ascending.
    """

    names: tuple[str, ...]
    firsts: Steps
    references: Steps
    motions: Steps
    starts: Steps
    lengths: Steps
    places: dict[bytes, Steps]
    voices: int
    transposed: bool

    @classmethod
    def of(cls, pieces: Iterable[Piece], *, voices: int, transposed: bool = True) -> Originals:
        """transposed: whether a copy in another key is one. Raises ValueError for a note beyond ``voices``."""
        names, firsts = [], []
        joined: list[tuple[Steps, ...]] = [(_NONE, _NONE, _NONE, _NONE)]
        places: dict[bytes, list[int]] = {}
        count = 0
        for piece in pieces:
            spans = _Spans.of(to_grid(piece, voices).pitches, transposed)
            names.append(piece.name)
            firsts.append(count + 1)
            joined += [(_EMPTY,) * 4, (spans.references, spans.motions, spans.starts, spans.lengths)]
            for number, shape in enumerate(spans.shapes, start=count + 1):
                places.setdefault(shape, []).append(number)
            count += 1 + len(spans.shapes)
        references, motions, starts, lengths = (np.concatenate(column) for column in zip(*joined, strict=True))
        found = {shape: np.array(numbers, np.int64) for shape, numbers in places.items()}
        first = np.array(firsts, np.int64)
        return cls(tuple(names), first, references, motions, starts, lengths, found, voices, transposed)


def longest_copy(piece: Piece, originals: Originals) -> Copy:
    """The longest, of equally long ones the first in the piece, then the first in the originals.

    Spans i of the piece and j of the originals that have the same shape are the same for as many steps as the shorter
    one lasts. What was the same up to their beginnings, behind(i - 1, j - 1), comes before that if both were reached
    by the same motion. behind(i, j), the steps that are the same up to the ends of both, is all of this if both last
    equally long; else it is what the shorter one lasts, since the stretch begins within the longer.
    Raises ValueError for a note of a voice that the originals don't have.
    """
    spans = _Spans.of(to_grid(piece, originals.voices).pitches, originals.transposed)
    behind = np.zeros(len(originals.references), np.int64)
    last = _NONE
    best = Copy()
    for i, shape in enumerate(spans.shapes):
        here = originals.places.get(shape, _NONE)
        shared = np.minimum(originals.lengths[here], spans.lengths[i])
        before = np.where(originals.motions[here] == spans.motions[i], behind[here - 1], 0)
        lengths = np.where((before > 0) | spans.sounds[i], before + shared, 0)
        behind[last] = 0
        behind[here] = np.where(originals.lengths[here] == spans.lengths[i], lengths, shared * spans.sounds[i])
        last = here
        if len(here) and lengths.max() > best.length:
            longest = np.flatnonzero(lengths == lengths.max())
            chosen = longest[shared[longest].argmin()]  # which ends first
            best = _copy(originals, spans, i, int(here[chosen]), int(shared[chosen]), int(lengths[chosen]))
    return best


def _copy(originals: Originals, spans: _Spans, i: int, j: int, shared: int, length: int) -> Copy:
    """``length`` steps, of which ``shared`` are in span i of the piece and span j of the originals."""
    return Copy(
        length=length,
        name=originals.names[int(np.searchsorted(originals.firsts, j, side="right")) - 1],
        start=int(originals.starts[j]) + shared - length,
        transposition=int(spans.references[i] - originals.references[j]),
        at=int(spans.starts[i]) + shared - length,
    )


def _references(pitches: Pitches) -> npt.NDArray[np.int64]:
    """(T,): the pitch of the first voice that sounds; of a silent row that of the row before."""
    references = np.zeros(len(pitches), np.int64)
    last = 0
    for step, row in enumerate(pitches.tolist()):
        last = next((pitch for pitch in row if pitch != SILENT), last)
        references[step] = last
    return references
