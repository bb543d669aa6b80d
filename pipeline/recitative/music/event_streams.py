"""Pieces as one long text of events, of which training reads parts side by side; in every epoch in other keys."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from recitative.lm.data import TextStreams
from recitative.music.event_settings import EventsSettings
from recitative.music.events import Event, EventVocabulary, Kind
from recitative.music.piece import Piece

Ids = npt.NDArray[np.int64]


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
