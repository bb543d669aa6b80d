"""Greedy (best path) CTC decoding with explicit state. NumPy only: the runtime uses this very stage."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from recitative.stage import Padded, State

Array = npt.NDArray[Any]


class GreedyDecoder:
    """Stage: log probabilities (N, T, V) -> (N, T) int64, the label that begins at each frame, 0 where none does.

    The best path takes the likeliest token of every frame; a run of one token is one label, which begins where the run
    does; blanks (0) separate equal labels. State: ``previous`` (N,), the token of the last frame.
    """

    stride = 1
    lookahead = 0

    def output_lengths(self, lengths: Array) -> Array:
        return lengths

    def initial_state(self, n: int) -> State:
        return {"previous": np.zeros(n, np.int64)}

    def step(self, x: Padded[Array], state: State, *, last: bool) -> tuple[Padded[Array], State]:
        n, frames = x.data.shape[:2]
        if frames == 0:
            return Padded(np.zeros((n, 0), np.int64), x.lengths), self.initial_state(n) if last else dict(state)
        path = x.data.argmax(-1).astype(np.int64)  # (N, T)
        before = np.concatenate([state["previous"][:, None], path[:, :-1]], axis=1)
        begins = np.where(path != before, path, 0)
        rows = np.arange(n)
        ends_with = np.where(x.lengths > 0, path[rows, np.maximum(x.lengths, 1) - 1], state["previous"])
        return Padded(begins, x.lengths), self.initial_state(n) if last else {"previous": ends_with}


@dataclass(frozen=True)
class TokenRun:
    """One label of a best path: the frames [begin, end) on which it is the likeliest token."""

    label: int
    begin: int
    end: int
    confidence: float  # its largest probability on those frames, 0..1


def best_path(log_probs: Array) -> tuple[Array, Array]:
    """(T, V) -> the likeliest token of every frame (T,) int64 and its log probability (T,)."""
    path = log_probs.argmax(-1).astype(np.int64)
    return path, np.take_along_axis(log_probs, path[:, None], axis=1)[:, 0]


def collapse(path: Array, log_probs: Array) -> list[TokenRun]:
    """A best path (T,) and its log probabilities (T,) -> the runs of its labels, blanks left out."""
    changes = np.flatnonzero(np.diff(path)) + 1
    bounds = [0, *changes.tolist(), len(path)]
    return [
        TokenRun(int(path[begin]), begin, end, float(np.exp(log_probs[begin:end].max())))
        for begin, end in itertools.pairwise(bounds)
        if end > begin and path[begin] != 0
    ]
