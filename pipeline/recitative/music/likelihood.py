"""How probable frames of music are to a model that continues music, whatever runs its network. NumPy only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recitative.music.composer import OnProgress, Scorer
from recitative.music.frames import Wishes
from recitative.stage import Array, Ids, Padded

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
