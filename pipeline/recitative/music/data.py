"""Batches of pieces for training: segments that carry their state, frames with holes, and streams of tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from recitative.music.composer import BLOCKS, hidden_blocks
from recitative.music.events import Event, EventVocabulary, Kind
from recitative.music.frames import Context, FrameCode, History, Wishes
from recitative.music.piece import Piece
from recitative.music.pieces import Frames
from recitative.music.settings import EventsSettings, MusicSettings
from recitative.stage import Ids, Mask
from recitative.train.stateful import TextStreams
from recitative.train.task import Batch


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


@dataclass(frozen=True)
class Puzzle(Batch):
    """Frames side by side as tokens (N, T, V), what of them is hidden, (N,) how many there are, and the tonics (N,)."""

    frames: Ids
    hidden: Mask
    lengths: Ids
    key: Ids
    names: tuple[str, ...]


class Puzzles:
    """The batches of every epoch: each piece once, a part of at most ``bptt`` frames of it, in another key."""

    def __init__(self, pieces: Sequence[Frames], settings: MusicSettings) -> None:
        self._pieces = [piece for piece in pieces if len(piece.tokens)]
        self._settings = settings
        self._code = settings.frames.code

    @property
    def num_batches(self) -> int:
        return -(-len(self._pieces) // self._settings.pieces.rows)

    def batches(self, epoch: int, start: int) -> Iterator[Puzzle]:
        """Those of an epoch from number ``start`` on."""
        rows = self._settings.pieces.rows
        order = np.random.default_rng([self._settings.train.seed, epoch]).permutation(len(self._pieces)).tolist()
        for number in range(start, self.num_batches):
            yield self._puzzle(order[number * rows : (number + 1) * rows], epoch)

    def _puzzle(self, numbers: Sequence[int], epoch: int) -> Puzzle:
        parts = [self._drawn(number, epoch) for number in numbers]
        return puzzle_of(self._code, parts, tuple(self._pieces[i].name for i in numbers))

    def _drawn(self, number: int, epoch: int) -> tuple[Ids, Mask, int]:
        """A part of a piece that begins with a bar, what is hidden of it, and its key."""
        how, rng = self._settings.pieces, np.random.default_rng([self._settings.train.seed, epoch, number])
        tokens, tonic = moved(rng, self._pieces[number], self._code, how.transpose)
        bars = max(0, -(-(len(tokens) - how.bptt) // self._code.bar))
        first = int(rng.integers(bars + 1)) * self._code.bar
        part = tokens[first : first + how.bptt]
        return part, hidden_places(rng, *part.shape), 1 + tonic if rng.random() < how.tell_key else 0


def puzzle_of(code: FrameCode, parts: Sequence[tuple[Ids, Mask, int]], names: tuple[str, ...]) -> Puzzle:
    """Parts of unequal lengths as one batch."""
    lengths = np.array([len(tokens) for tokens, _, _ in parts])
    frames = np.full((len(parts), lengths.max(), code.voices), code.silence, np.int64)
    hidden = np.zeros(frames.shape, bool)
    for row, (tokens, mask, _) in enumerate(parts):
        frames[row, : len(tokens)], hidden[row, : len(tokens)] = tokens, mask
    return Puzzle(frames, hidden, lengths, np.array([key for _, _, key in parts]), names)


def hidden_places(rng: np.random.Generator, steps: int, voices: int) -> Mask:
    """(T, V), at least one true: blocks here and there, or whole voices, or all voices for a while, and few blocks."""
    share = rng.uniform(0.05, 1.0)
    hidden = hidden_blocks(rng, share, steps, voices, int(rng.choice(BLOCKS)))
    kind = rng.integers(4)
    if kind == 0:  # some voices, and little else
        hidden &= rng.random(hidden.shape) < 0.2
        hidden[:, rng.permutation(voices)[: rng.integers(1, voices + 1)]] = True
    elif kind == 1:  # a while
        hidden &= rng.random(hidden.shape) < 0.2
        first, last = np.sort(rng.integers(0, steps + 1, 2))
        hidden[first:last] = True
    if not hidden.any():
        hidden[rng.integers(steps), rng.integers(voices)] = True
    return hidden


class Transposed:
    """Pieces as tokens, each moved in every epoch by semitones drawn from (seed, epoch, piece) alone.

    All shifts within ``most`` that keep every note in the vocabulary are as likely.
    """

    def __init__(self, pieces: Sequence[Piece], vocabulary: EventVocabulary, most: int, seed: int) -> None:
        self.tokens: list[Ids] = [np.array(vocabulary.encode(piece), np.int64) for piece in pieces]
        self._shifts = [_shifts(piece, vocabulary, most) for piece in pieces]
        self._notes = (
            vocabulary.ids[Event(Kind.NOTE, vocabulary.lowest)],
            vocabulary.ids[Event(Kind.NOTE, vocabulary.highest)],
        )
        self._seed = seed

    def __call__(self, epoch: int, number: int) -> Ids:
        """The tokens of a piece in an epoch."""
        low, high = self._shifts[number]
        semitones = int(np.random.default_rng([self._seed, epoch, number]).integers(low, high + 1))
        tokens = self.tokens[number]
        first, last = self._notes
        return np.where((tokens >= first) & (tokens <= last), tokens + semitones, tokens)


def event_streams(pieces: Sequence[Piece], settings: EventsSettings) -> TextStreams:
    """The segments of every epoch of ``fitted`` pieces."""
    how, seed = settings.pieces, settings.train.seed
    moved = Transposed(pieces, settings.events.vocabulary, how.transpose, seed)
    return TextStreams(moved.tokens, streams=how.streams, bptt=how.bptt, seed=seed, variant=moved)


def _shifts(piece: Piece, vocabulary: EventVocabulary, most: int) -> tuple[int, int]:
    """The lowest and the highest; 0 is among them."""
    pitches = [note.pitch for note in piece.notes] or [vocabulary.lowest]
    return max(-most, vocabulary.lowest - min(pitches)), min(most, vocabulary.highest - max(pitches))
