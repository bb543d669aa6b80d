"""Pieces of music as batches: whole pieces side by side, cut into segments for truncated back-propagation.

In every epoch each piece comes once, moved to another key and told more or less about itself, all drawn from (seed,
epoch, piece) alone. Pieces of about the same length lie side by side. A batch of them is read in segments of ``bptt``
frames, each of which goes on where the one before ended; no frame is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recitative.errors import DataError, Problem
from recitative.music.folder import read_folder
from recitative.music.frames import Context, FrameCode, History, Wishes, as_sets
from recitative.music.piece import Piece, key_of, to_grid
from recitative.music.settings import MusicSettings
from recitative.stage import Ids
from recitative.train.task import Batch


@dataclass(frozen=True)
class Frames:
    """A piece as tokens (T, V), and its tonic's pitch class."""

    name: str
    tokens: Ids
    tonic: int


@dataclass(frozen=True)
class Segment(Batch):
    """Frames of pieces side by side as tokens (N, T, V), what was before the first and before each of them, and how
    many there are (N,)."""

    frames: Ids
    before: History
    context: Context
    lengths: Ids
    first: bool  # nothing was read before
    names: tuple[str, ...]

    def split(self, parts: int) -> list[Segment]:
        """Not at all: pieces side by side carry their state together."""
        return [self]


def frames_of(piece: Piece, settings: MusicSettings) -> Frames:
    """Raises DataError for a piece that these settings have no frames for, such as one with more voices."""
    code = settings.frames.code
    piece = piece.at_resolution(settings.frames.steps_per_quarter)
    try:
        pitches = to_grid(piece, max(piece.voices, 1) if code.sets else code.voices).pitches
        pitches = as_sets(pitches, code.voices) if code.sets else pitches
        tokens = code.tokens(pitches)
    except ValueError as error:
        text = str(error).removeprefix(f"{piece.name}: ")
        allowed = f"{code.voices} voices from {code.lowest} to {code.highest}"
        raise DataError(piece.name, text, allowed, "leave it out, or change the settings frames") from None
    tonic = settings.pieces.key if settings.pieces.key >= 0 else key_of(pitches)[0]
    return Frames(piece.name, tokens, tonic)


def read_pieces(folder: Path, settings: MusicSettings, skip: Callable[[Problem], object] | None = None) -> list[Frames]:
    """Every piece in a folder. Raises DataError that lists the files which hold none that these settings can read.

    skip: is told these problems instead, as long as one piece is left.
    """
    pieces, errors = read_folder(folder, settings.frames.steps_per_quarter)
    found: list[Frames] = []
    problems = [problem for error in errors for problem in error.problems]
    for piece in pieces:
        try:
            found.append(frames_of(piece, settings))
        except DataError as error:
            problems.extend(error.problems)
    if problems and (not skip or not found):
        raise DataError.collect(problems)
    if skip:
        for problem in problems:
            skip(problem)
    return found


class PieceStreams:
    """The segments of every epoch."""

    def __init__(self, pieces: Sequence[Frames], settings: MusicSettings) -> None:
        self._pieces = [piece for piece in pieces if len(piece.tokens)]
        self._settings = settings
        self._code = settings.frames.code
        self.rows = min(settings.pieces.rows, len(self._pieces))

    def num_segments(self, epoch: int) -> int:
        return sum(self._segments_of(group) for group in self._groups(epoch))

    def segments(self, epoch: int, start: int) -> Iterator[Segment]:
        """Those of an epoch from number ``start`` on."""
        for group in self._groups(epoch):
            if start >= (count := self._segments_of(group)):
                start -= count
                continue
            yield from self._cut(group, epoch, start)
            start = 0

    def _groups(self, epoch: int) -> list[list[int]]:
        """Numbers of pieces that are read side by side: of about the same length, in another order each epoch."""
        rng = np.random.default_rng([self._settings.train.seed, epoch])
        lengths = np.array([len(piece.tokens) for piece in self._pieces])
        order = np.argsort(lengths * rng.uniform(0.8, 1.25, len(lengths)), kind="stable")
        groups = [order[i : i + self.rows].tolist() for i in range(0, len(order), self.rows)]
        return [groups[i] for i in rng.permutation(len(groups))]

    def _segments_of(self, group: Sequence[int]) -> int:
        return -(-max(len(self._pieces[i].tokens) for i in group) // self._settings.pieces.bptt)

    def _cut(self, group: Sequence[int], epoch: int, start: int) -> Iterator[Segment]:
        tokens, told = zip(*(self._drawn(i, epoch) for i in group), strict=True)
        lengths = np.array([len(piece) for piece in tokens] + [0] * (self.rows - len(group)))
        frames = np.full((self.rows, lengths.max(), self._code.voices), self._code.silence, np.int64)
        left = np.zeros(frames.shape[:2], np.int64)
        key = np.zeros(self.rows, np.int64)
        for row, (piece, wish) in enumerate(zip(tokens, told, strict=True)):
            frames[row, : len(piece)], left[row, : len(piece)], key[row] = piece, wish.left[0], wish.key[0]
        bptt = self._settings.pieces.bptt
        names = tuple(self._pieces[i].name for i in group)
        history = self._code.nothing_read(self.rows)
        for number in range(self._segments_of(group)):
            part = frames[:, number * bptt : (number + 1) * bptt]
            if number >= start:
                wishes = Wishes(left[:, number * bptt : (number + 1) * bptt], key)
                context = self._code.contexts(part, history, wishes)
                remaining = (lengths - number * bptt).clip(0, bptt)
                yield Segment(part, history, context, remaining, number == 0, names)
            for step in range(part.shape[1] if number + 1 < self._segments_of(group) else 0):
                history = self._code.read(history, part[:, step])

    def _drawn(self, number: int, epoch: int) -> tuple[Ids, Wishes]:
        """A piece in another key, and what the model is told about it."""
        piece, how = self._pieces[number], self._settings.pieces
        rng = np.random.default_rng([self._settings.train.seed, epoch, number])
        tokens, tonic = moved(rng, piece, self._code, how.transpose)
        steps = np.arange(len(tokens), 0, -1)[None]
        left = steps if rng.random() < how.tell_end else np.zeros_like(steps)
        key = 1 + tonic if rng.random() < how.tell_key else 0
        return tokens, Wishes(left, np.array([key]))


def moved(rng: np.random.Generator, piece: Frames, code: FrameCode, most: int) -> tuple[Ids, int]:
    """A piece's tokens in another key, at most so many semitones away and within the range, and its tonic there."""
    notes = piece.tokens[piece.tokens < code.silence]
    if not len(notes):
        return piece.tokens, piece.tonic
    low, high = max(-most, -int(notes.min())), min(most, code.pitches - 1 - int(notes.max()))
    shift = int(rng.integers(low, high + 1))
    return np.where(piece.tokens < code.silence, piece.tokens + shift, piece.tokens), (piece.tonic + shift) % 12
