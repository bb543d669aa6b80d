"""Batches of pieces for training: segments for truncated BPTT, frames with masked notes, and streams of events.

All random choices depend on (seed, epoch, piece) alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from recitative.music.events import Event, EventVocabulary, Kind
from recitative.music.frames import Conditioning, Context, FrameCode, History
from recitative.music.generation import BLOCKS, random_blocks
from recitative.music.piece import Piece
from recitative.music.pieces import Frames
from recitative.music.settings import EventsSettings, MusicSettings
from recitative.stage import Ids, Mask
from recitative.train.stateful import TextStreams
from recitative.train.task import Batch


def transpose(rng: np.random.Generator, piece: Frames, code: FrameCode, semitones: int) -> tuple[Ids, int]:
    """The tokens and the tonic of a piece after a random transposition by up to ``semitones``, within the range."""
    notes = piece.tokens[piece.tokens < code.silence]
    if not len(notes):
        return piece.tokens, piece.tonic
    low, high = max(-semitones, -int(notes.min())), min(semitones, code.pitches - 1 - int(notes.max()))
    shift = int(rng.integers(low, high + 1))
    return np.where(piece.tokens < code.silence, piece.tokens + shift, piece.tokens), (piece.tonic + shift) % 12


# Continuing music in frames


@dataclass(frozen=True)
class Segment(Batch):
    """Segments of pieces. frames: (N, T, V) tokens; before: the history before the first frame; context: before each
    frame; lengths: (N,) frames; first: whether the pieces begin here."""

    frames: Ids
    before: History
    context: Context
    lengths: Ids
    first: bool
    names: tuple[str, ...]

    def split(self, parts: int) -> list[Segment]:
        """Not split: the rows share one recurrent state."""
        return [self]


class PieceStreams:
    """The segments of all epochs.

    In each epoch every piece is transposed and conditioned anew. Pieces of similar length form a group, which is read
    in segments of ``bptt`` frames that carry the recurrent state.
    """

    def __init__(self, pieces: Sequence[Frames], settings: MusicSettings) -> None:
        self._pieces = [piece for piece in pieces if len(piece.tokens)]
        self._settings = settings
        self._code = settings.frames.code
        self.rows = min(settings.pieces.rows, len(self._pieces))

    def num_segments(self, epoch: int) -> int:
        return sum(self._segments_of(group) for group in self._groups(epoch))

    def segments(self, epoch: int, start: int) -> Iterator[Segment]:
        """The segments of an epoch from number ``start`` on."""
        for group in self._groups(epoch):
            if start >= (count := self._segments_of(group)):
                start -= count
                continue
            yield from self._cut(group, epoch, start)
            start = 0

    def _groups(self, epoch: int) -> list[list[int]]:
        """Indices of pieces of similar length, in random order."""
        rng = np.random.default_rng([self._settings.train.seed, epoch])
        lengths = np.array([len(piece.tokens) for piece in self._pieces])
        order = np.argsort(lengths * rng.uniform(0.8, 1.25, len(lengths)), kind="stable")
        groups = [order[i : i + self.rows].tolist() for i in range(0, len(order), self.rows)]
        return [groups[i] for i in rng.permutation(len(groups))]

    def _segments_of(self, group: Sequence[int]) -> int:
        return -(-max(len(self._pieces[i].tokens) for i in group) // self._settings.pieces.bptt)

    def _cut(self, group: Sequence[int], epoch: int, start: int) -> Iterator[Segment]:
        tokens, conditions = zip(*(self._draw(i, epoch) for i in group), strict=True)
        lengths = np.array([len(piece) for piece in tokens] + [0] * (self.rows - len(group)))
        frames = np.full((self.rows, lengths.max(), self._code.voices), self._code.silence, np.int64)
        left = np.zeros(frames.shape[:2], np.int64)
        key = np.zeros(self.rows, np.int64)
        for row, (piece, condition) in enumerate(zip(tokens, conditions, strict=True)):
            frames[row, : len(piece)] = piece
            left[row, : len(piece)], key[row] = condition.left[0], condition.key[0]
        names = tuple(self._pieces[i].name for i in group)
        bptt, count = self._settings.pieces.bptt, self._segments_of(group)
        history = self._code.initial_history(self.rows)
        for number in range(count):
            span = slice(number * bptt, (number + 1) * bptt)
            part = frames[:, span]
            if number >= start:
                context = self._code.contexts(part, history, Conditioning(left[:, span], key))
                remaining = (lengths - number * bptt).clip(0, bptt)
                yield Segment(part, history, context, remaining, number == 0, names)
            for step in range(part.shape[1] if number + 1 < count else 0):
                history = self._code.read(history, part[:, step])

    def _draw(self, number: int, epoch: int) -> tuple[Ids, Conditioning]:
        """A transposed piece, and its conditioning."""
        piece, how = self._pieces[number], self._settings.pieces
        rng = np.random.default_rng([self._settings.train.seed, epoch, number])
        tokens, tonic = transpose(rng, piece, self._code, how.transpose)
        steps = np.arange(len(tokens), 0, -1)[None]
        left = steps if rng.random() < how.tell_end else np.zeros_like(steps)
        key = 1 + tonic if rng.random() < how.tell_key else 0
        return tokens, Conditioning(left, np.array([key]))


# Filling in notes


@dataclass(frozen=True)
class MaskedBatch(Batch):
    """Parts of pieces. frames: (N, T, V) tokens; hidden: (N, T, V), what is to be predicted; lengths: (N,) frames; key:
    (N,), as in ``Conditioning``."""

    frames: Ids
    hidden: Mask
    lengths: Ids
    key: Ids
    names: tuple[str, ...]


class MaskedBatches:
    """The batches of all epochs. Each has every piece once, transposed: at most ``bptt`` frames from the start of a
    bar."""

    def __init__(self, pieces: Sequence[Frames], settings: MusicSettings) -> None:
        self._pieces = [piece for piece in pieces if len(piece.tokens)]
        self._settings = settings
        self._code = settings.frames.code

    @property
    def num_batches(self) -> int:
        return -(-len(self._pieces) // self._settings.pieces.rows)

    def batches(self, epoch: int, start: int) -> Iterator[MaskedBatch]:
        """The batches of an epoch from number ``start`` on."""
        rows = self._settings.pieces.rows
        order = np.random.default_rng([self._settings.train.seed, epoch]).permutation(len(self._pieces)).tolist()
        for number in range(start, self.num_batches):
            numbers = order[number * rows : (number + 1) * rows]
            parts = [self._draw(i, epoch) for i in numbers]
            yield masked_batch(self._code, parts, tuple(self._pieces[i].name for i in numbers))

    def _draw(self, number: int, epoch: int) -> tuple[Ids, Mask, int]:
        """A part of a piece, its mask, and its key."""
        how, rng = self._settings.pieces, np.random.default_rng([self._settings.train.seed, epoch, number])
        tokens, tonic = transpose(rng, self._pieces[number], self._code, how.transpose)
        bars = max(0, -(-(len(tokens) - how.bptt) // self._code.bar))
        first = int(rng.integers(bars + 1)) * self._code.bar
        part = tokens[first : first + how.bptt]
        return part, random_mask(rng, *part.shape), 1 + tonic if rng.random() < how.tell_key else 0


def masked_batch(code: FrameCode, parts: Sequence[tuple[Ids, Mask, int]], names: tuple[str, ...]) -> MaskedBatch:
    """A batch of parts (tokens, mask, key) of unequal lengths."""
    lengths = np.array([len(tokens) for tokens, _, _ in parts])
    frames = np.full((len(parts), lengths.max(), code.voices), code.silence, np.int64)
    hidden = np.zeros(frames.shape, bool)
    for row, (tokens, mask, _) in enumerate(parts):
        frames[row, : len(tokens)], hidden[row, : len(tokens)] = tokens, mask
    return MaskedBatch(frames, hidden, lengths, np.array([key for _, _, key in parts]), names)


def random_mask(rng: np.random.Generator, steps: int, voices: int) -> Mask:
    """(T, V) with at least one True: random blocks, or some blocks and either whole voices or a range of frames."""
    share = rng.uniform(0.05, 1.0)
    hidden = random_blocks(rng, share, steps, voices, int(rng.choice(BLOCKS)))
    kind = rng.integers(4)
    if kind == 0:
        hidden &= rng.random(hidden.shape) < 0.2
        hidden[:, rng.permutation(voices)[: rng.integers(1, voices + 1)]] = True
    elif kind == 1:
        hidden &= rng.random(hidden.shape) < 0.2
        first, last = np.sort(rng.integers(0, steps + 1, 2))
        hidden[first:last] = True
    if not hidden.any():
        hidden[rng.integers(steps), rng.integers(voices)] = True
    return hidden


# Events


class TransposedEvents:
    """Pieces as tokens, each with a random transposition in every epoch.

    All transpositions by up to ``semitones`` that keep the notes within the vocabulary have equal probability.
    """

    def __init__(self, pieces: Sequence[Piece], vocabulary: EventVocabulary, semitones: int, seed: int) -> None:
        self.tokens: list[Ids] = [np.array(vocabulary.encode(piece), np.int64) for piece in pieces]
        self._seed = seed
        self._shifts = []
        for piece in pieces:
            pitches = [note.pitch for note in piece.notes] or [vocabulary.lowest]
            low, high = vocabulary.lowest - min(pitches), vocabulary.highest - max(pitches)
            self._shifts.append((max(-semitones, low), min(semitones, high)))
        self._first_note = vocabulary.ids[Event(Kind.NOTE, vocabulary.lowest)]
        self._last_note = vocabulary.ids[Event(Kind.NOTE, vocabulary.highest)]

    def __call__(self, epoch: int, number: int) -> Ids:
        """The tokens of a piece in an epoch."""
        low, high = self._shifts[number]
        shift = int(np.random.default_rng([self._seed, epoch, number]).integers(low, high + 1))
        tokens = self.tokens[number]
        return np.where((tokens >= self._first_note) & (tokens <= self._last_note), tokens + shift, tokens)


def event_streams(pieces: Sequence[Piece], settings: EventsSettings) -> TextStreams:
    """The segments of all epochs of pieces; see ``fit_to_events``."""
    how, seed = settings.pieces, settings.train.seed
    events = TransposedEvents(pieces, settings.events.vocabulary, how.transpose, seed)
    return TextStreams(events.tokens, streams=how.streams, bptt=how.bptt, seed=seed, variant=events)
