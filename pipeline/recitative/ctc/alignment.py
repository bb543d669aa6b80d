"""Forced CTC alignment: at which frames a known labelling begins on its likeliest path. NumPy only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from recitative.errors import DataError
from recitative.text.tokens import required_frames


def forced_alignment(log_probs: npt.NDArray[Any], labels: Sequence[int]) -> npt.NDArray[np.int64]:
    """The token of every frame on the likeliest path that collapses to ``labels``.

    log_probs: (T, V), token 0 is the blank; labels: L numbers in 1..V-1. Returns (T,) tokens.
    Viterbi over the states blank, l1, blank, l2, ..., blank of Graves et al. 2006, section 4.1, max in place of sum.
    Raises DataError if T frames are too few for the labels.
    """
    frames = len(log_probs)
    if frames < required_frames(labels):
        raise DataError("alignment", f"{frames} frames", f"at least {required_frames(labels)} for these labels", "")
    if frames == 0:
        return np.zeros(0, np.int64)
    states = np.zeros(2 * len(labels) + 1, np.int64)
    states[1::2] = labels
    may_skip = np.zeros(len(states), bool)  # from two states before: over a blank between different labels
    may_skip[3::2] = states[3::2] != states[1:-2:2]
    best = np.full(len(states), -np.inf)
    best[:2] = log_probs[0, states[:2]]
    came_from = np.zeros((frames, len(states)), np.int64)
    for t in range(1, frames):
        candidates = np.full((3, len(states)), -np.inf)
        candidates[0] = best
        candidates[1, 1:] = best[:-1]
        candidates[2, 2:] = np.where(may_skip[2:], best[:-2], -np.inf)
        came_from[t] = candidates.argmax(0)
        best = candidates.max(0) + log_probs[t, states]
    state = len(states) - 1 if len(states) == 1 or best[-1] >= best[-2] else len(states) - 2
    path = np.zeros(frames, np.int64)
    for t in reversed(range(frames)):
        path[t] = states[state]
        state -= came_from[t, state]
    return path
