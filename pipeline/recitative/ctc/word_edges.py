"""Where a word may begin, in a stream of CTC output: how probable it is, after each frame, that a word's edge is here.

The edge is a token that stands between words, such as the space, with or without blanks behind it; or so many blanks on
end; or the begin of the segment. Frames are independent given the audio, so that these are exact sums over all paths:

    u(t) = p(t, space) + p(t, blank) u(t-1)                       the last label was a space; u(-1) = 1
    edge(t) = u(t) + (1 - u(t-K)) prod_{i<K} p(t-i, blank)        or else K frames of silence are behind
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]

BLANK = 0


@dataclass(frozen=True)
class WordEdges:
    """How the tokens of a table show the edges of words.

    starts:         labels with which words begin; in a table of characters the space alone
    before:         whether one must stand before a phrase; False where the phrase's own first label is one
    silence_frames: K >= 1, so many blanks do as well
    """

    starts: tuple[int, ...]
    before: bool
    silence_frames: int


@dataclass(frozen=True)
class EdgeState:
    """spaces: u of the last K + 1 frames, the oldest first; blanks: p(blank) of the last K frames."""

    spaces: tuple[float, ...]
    blanks: tuple[float, ...]

    @property
    def silence(self) -> float:
        """The probability that the last K frames are blanks."""
        return math.prod(self.blanks)

    @property
    def edge(self) -> float:
        """The probability that a word may begin on the next frame."""
        return self.spaces[-1] + (1.0 - self.spaces[0]) * self.silence


def first_edge(edges: WordEdges) -> EdgeState:
    """Where a segment begins, so does a word."""
    return EdgeState((1.0,) * (edges.silence_frames + 1), (0.0,) * edges.silence_frames)


def next_edge(edges: WordEdges, state: EdgeState, probabilities: Array) -> EdgeState:
    """After one more frame of token probabilities (V,)."""
    space, blank = float(probabilities[list(edges.starts)].sum()), float(probabilities[BLANK])
    return EdgeState((*state.spaces[1:], space + blank * state.spaces[-1]), (*state.blanks[1:], blank))
