"""How probable pieces are to a model of events. NumPy only.

The network may be PyTorch's or ONNX Runtime's: both are stages, token ids (N, T) -> ln P of the next token (N, T, V).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recitative.music.events import EventVocabulary
from recitative.music.piece import Piece
from recitative.stage import Array, Padded, Stage
from recitative.text.vocabulary import END

BATCH = 16  # pieces that are scored together
SEGMENT = 512  # tokens that are read at once: pieces may be long, and every token has V numbers


@dataclass(frozen=True)
class EventLikelihood:
    """Of all pieces together. tokens: their ends included, as the sum of nats does."""

    nats: float
    tokens: int
    notes: int

    @property
    def per_token(self) -> float:
        return self.nats / self.tokens

    @property
    def per_note(self) -> float:
        """All tokens' nats by the number of notes: it does not depend on how notes are told in tokens."""
        return self.nats / self.notes


def event_likelihood(network: Stage[Array], vocabulary: EventVocabulary, pieces: Sequence[Piece]) -> EventLikelihood:
    """Of ``fitted`` pieces, each of which starts from nothing. The rules of tokens are not told to the network."""
    rows = sorted((vocabulary.encode(piece) for piece in pieces), key=len)
    nats = sum(_nats(network, rows[start : start + BATCH]) for start in range(0, len(rows), BATCH))
    notes = sum(len(piece.notes) for piece in pieces)
    return EventLikelihood(nats, sum(len(row) + 1 for row in rows), notes)


def _nats(network: Stage[Array], rows: Sequence[Sequence[int]]) -> float:
    lengths = np.array([len(row) + 1 for row in rows], np.int64)
    read = np.full((len(rows), int(lengths.max()) + 1), END, np.int64)  # END, the row, END
    for target, row in zip(read, rows, strict=True):
        target[1 : len(row) + 1] = row
    state, nats = network.initial_state(len(rows)), 0.0
    for first in range(0, int(lengths.max()), SEGMENT):
        left = (lengths - first).clip(0, SEGMENT)
        inputs, targets = read[:, :-1][:, first : first + SEGMENT], read[:, 1:][:, first : first + SEGMENT]
        y, state = network.step(Padded(inputs, left), state, last=False)
        log_probs = np.take_along_axis(y.data, targets[..., None], axis=-1)[..., 0]  # (N, T, V) -> (N, T)
        nats -= float(np.where(np.arange(inputs.shape[1]) < left[:, None], log_probs, 0.0).sum(dtype=np.float64))
    return nats
