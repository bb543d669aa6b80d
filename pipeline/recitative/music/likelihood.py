"""The likelihood of pieces under a model of music, as frames or as events. NumPy only.

The network runs on PyTorch or on ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recitative.music.composer import OnProgress, Scorer
from recitative.music.events import EventVocabulary
from recitative.music.frames import Conditioning
from recitative.music.piece import Piece
from recitative.stage import Array, Ids, Padded, Stage
from recitative.text.vocabulary import END

BATCH = 16  # pieces that are scored together
SEGMENT = 512  # tokens of events in a call, each of which gives V numbers


@dataclass(frozen=True)
class Likelihood:
    """The NLL of all pieces together, in nats.

    Boulanger-Lewandowski et al. 2012 report it per frame; TonicNet (Peracha 2020) and Music Transformer (Huang et al.
    2018) per token, where a frame has one token for each voice.
    """

    nats: float
    frames: int
    tokens: int

    @property
    def per_frame(self) -> float:
        return self.nats / self.frames

    @property
    def per_token(self) -> float:
        return self.nats / self.tokens


def likelihood_of(
    scorer: Scorer, pieces: Sequence[Ids], key: int = -1, on_progress: OnProgress | None = None
) -> Likelihood:
    """Score pieces as tokens (T, V), each note given those before it. key: the tonic of all, 0 is C; -1: unknown."""
    ordered = sorted((piece for piece in pieces if len(piece)), key=len)
    nats = 0.0
    for start in range(0, len(ordered), BATCH):
        if on_progress:
            on_progress(start, len(ordered))
        nats += _nats(scorer, ordered[start : start + BATCH], key)
    frames = sum(map(len, ordered))
    return Likelihood(nats, frames, frames * scorer.frames.voices)


def pad_pieces(pieces: Sequence[Ids], filler: int) -> Padded[Ids]:
    """A batch of pieces, (N, T, V), padded with the token ``filler``."""
    lengths = np.array([len(piece) for piece in pieces])
    frames = np.full((len(pieces), lengths.max(), pieces[0].shape[1]), filler, np.int64)
    for row, piece in enumerate(pieces):
        frames[row, : len(piece)] = piece
    return Padded(frames, lengths)


def _nats(scorer: Scorer, pieces: Sequence[Ids], key: int) -> float:
    code = scorer.frames.code
    x = pad_pieces(pieces, code.silence)
    context = code.contexts(x.data, code.initial_history(len(pieces)), Conditioning.of_key(key, *x.data.shape[:2]))
    ids = Padded(code.context_ids(context), x.lengths)
    h, _ = scorer.context.step(ids, scorer.context.initial_state(len(pieces)), last=True)
    inside = np.arange(x.data.shape[1]) < x.lengths[:, None]
    nats = 0.0
    for number, voice in enumerate(code.order):
        choice, beside = code.choice_ids(x.data, context, number)
        scores = scorer.scores(h.data[inside], choice[inside], beside[inside])
        scores = np.where(code.allowed(x.data, number)[inside], scores, -np.inf)
        nats += cross_entropy(scores, x.data[inside][:, voice])
    return nats


def cross_entropy(scores: Array, targets: Ids) -> float:
    """The sum of -ln P of the targets (M,) by scores (M, K)."""
    wide = scores.astype(np.float64)
    top = wide.max(axis=-1, keepdims=True)
    norm = top[:, 0] + np.log(np.exp(wide - top).sum(axis=-1))
    return float((norm - wide[np.arange(len(wide)), targets]).sum())


@dataclass(frozen=True)
class EventLikelihood:
    """The NLL of all pieces together, in nats. tokens: including the end of each piece."""

    nats: float
    tokens: int
    notes: int

    @property
    def per_token(self) -> float:
        return self.nats / self.tokens

    @property
    def per_note(self) -> float:
        """The NLL of all tokens by the number of notes, which does not depend on the encoding."""
        return self.nats / self.notes


def event_likelihood(network: Stage[Array], vocabulary: EventVocabulary, pieces: Sequence[Piece]) -> EventLikelihood:
    """Score pieces (see ``fit_to_events``), each from the initial state. Illegal tokens are not masked.

    network: token ids (N, T) -> ln P of the next token (N, T, V)
    """
    rows = sorted((vocabulary.encode(piece) for piece in pieces), key=len)
    nats = sum(_event_nats(network, rows[start : start + BATCH]) for start in range(0, len(rows), BATCH))
    notes = sum(len(piece.notes) for piece in pieces)
    return EventLikelihood(nats, sum(len(row) + 1 for row in rows), notes)


def _event_nats(network: Stage[Array], rows: Sequence[Sequence[int]]) -> float:
    lengths = np.array([len(row) + 1 for row in rows], np.int64)
    tokens = np.full((len(rows), int(lengths.max()) + 1), END, np.int64)  # END, the row, END
    for target, row in zip(tokens, rows, strict=True):
        target[1 : len(row) + 1] = row
    state, nats = network.initial_state(len(rows)), 0.0
    for first in range(0, int(lengths.max()), SEGMENT):
        left = (lengths - first).clip(0, SEGMENT)
        inputs, targets = tokens[:, :-1][:, first : first + SEGMENT], tokens[:, 1:][:, first : first + SEGMENT]
        y, state = network.step(Padded(inputs, left), state, last=False)
        log_probs = np.take_along_axis(y.data, targets[..., None], axis=-1)[..., 0]  # (N, T, V) -> (N, T)
        nats -= float(np.where(np.arange(inputs.shape[1]) < left[:, None], log_probs, 0.0).sum(dtype=np.float64))
    return nats
