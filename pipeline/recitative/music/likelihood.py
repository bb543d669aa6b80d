"""The likelihood of pieces under a model of music, in frames or as events. NumPy only.

The network may be PyTorch's or ONNX Runtime's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recitative.music.composer import OnProgress, Scorer
from recitative.music.events import EventVocabulary
from recitative.music.frames import Wishes
from recitative.music.piece import Piece
from recitative.stage import Array, Ids, Padded, Stage
from recitative.text.vocabulary import END

BATCH = 16  # pieces that are scored together


@dataclass(frozen=True)
class Likelihood:
    """Of all pieces together. Boulanger-Lewandowski et al. 2012 give nats a frame; TonicNet (Peracha 2020) and Music
    Transformer (Huang et al. 2018) nats a token, where each voice's pitch or silence in each frame is one."""

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
    """Of pieces as tokens (T, V), every note given those before it. key: the tonic of all, 0 is C, or -1: not told."""
    ordered = sorted((piece for piece in pieces if len(piece)), key=len)
    nats = 0.0
    for start in range(0, len(ordered), BATCH):
        if on_progress:
            on_progress(start, len(ordered))
        nats += _nats(scorer, ordered[start : start + BATCH], key)
    frames = sum(map(len, ordered))
    return Likelihood(nats, frames, frames * scorer.frames.voices)


def padded(pieces: Sequence[Ids], filler: int) -> Padded[Ids]:
    """Pieces side by side, (N, T, V); what lies beyond one has the token ``filler``."""
    lengths = np.array([len(piece) for piece in pieces])
    frames = np.full((len(pieces), lengths.max(), pieces[0].shape[1]), filler, np.int64)
    for row, piece in enumerate(pieces):
        frames[row, : len(piece)] = piece
    return Padded(frames, lengths)


def _nats(scorer: Scorer, pieces: Sequence[Ids], key: int) -> float:
    code, x = scorer.frames.code, padded(pieces, scorer.frames.code.silence)
    wishes = Wishes(np.zeros(x.data.shape[:2], np.int64), np.full(len(pieces), 1 + key, np.int64))  # 0: not told
    context = code.contexts(x.data, code.nothing_read(len(pieces)), wishes)
    ids = Padded(code.context_ids(context), x.lengths)
    h, _ = scorer.context.step(ids, scorer.context.initial_state(len(pieces)), last=True)
    inside = np.arange(x.data.shape[1]) < x.lengths[:, None]
    nats = 0.0
    for number, voice in enumerate(code.order):
        choice, beside = code.choice_ids(x.data, context, number)
        scores = scorer.scores(h.data[inside], choice[inside], beside[inside])
        scores = np.where(code.allowed(x.data, number)[inside], scores, -np.inf)
        nats += _cross_entropy(scores, x.data[inside][:, voice])
    return nats


def _cross_entropy(scores: Array, targets: Ids) -> float:
    """-ln P of the targets (M,) by scores (M, K), added up."""
    wide = scores.astype(np.float64)
    top = wide.max(axis=-1, keepdims=True)
    norm = top[:, 0] + np.log(np.exp(wide - top).sum(axis=-1))
    return float((norm - wide[np.arange(len(wide)), targets]).sum())


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
    nats = sum(_event_nats(network, rows[start : start + BATCH]) for start in range(0, len(rows), BATCH))
    notes = sum(len(piece.notes) for piece in pieces)
    return EventLikelihood(nats, sum(len(row) + 1 for row in rows), notes)


def _event_nats(network: Stage[Array], rows: Sequence[Sequence[int]]) -> float:
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
