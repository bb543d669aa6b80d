"""The states of many phrases at once: the paths of each, frame by frame, as one array of probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from recitative.ctc.word_edges import BLANK

Array = npt.NDArray[Any]

WAY_IN = 2  # columns before the first state, from which paths enter


@dataclass(frozen=True)
class Carried:
    """What R phrases of at most S states carry on from a frame.

    probability: (R, 2 + S) of the paths that are in a state, with nothing in the way in
    span:        (2, R, 2 + S) the frames [begin, end) of the phrase on the likeliest of them
    first:       (R,) the probability of the first label on the frame
    """

    probability: Array
    span: Array
    first: Array


class PhraseStates:
    """Label, blank, label, ..., label of every row, and if words end with ``starts`` a blank and one of these."""

    def __init__(self, rows: Sequence[Sequence[int]], starts: Sequence[int] = ()) -> None:
        width = max(map(len, rows)) * 2 + (1 if starts else -1)
        self._tokens = np.full((len(rows), width), BLANK)
        self._skips = np.zeros((len(rows), width))  # 1 where the state before, a blank, may be left out
        for row, labels in enumerate(rows):
            self._tokens[row, : 2 * len(labels) : 2] = labels
            self._skips[row, 2 * np.flatnonzero(np.diff(labels)) + 2] = 1.0
        self._rows = np.arange(len(rows))
        self._last = np.array([2 * len(labels) for labels in rows])  # its column
        self._starts = list(starts)
        self._is_start = np.isin([labels[-1] for labels in rows], self._starts)  # the phrase ends as a word begins
        self._first = np.array([labels[0] for labels in rows])
        self._final = np.array([labels[-1] for labels in rows])

    def start(self) -> Carried:
        shape = (len(self._rows), self._tokens.shape[1] + WAY_IN)
        return Carried(np.zeros(shape), np.zeros((2, *shape), np.int64), np.zeros(len(self._rows)))

    def advance(self, probabilities: Array, old: Carried, entry: float | None, frame: int) -> Carried:
        """Frame number ``frame`` with token probabilities (V,).

        entry: the probability that a phrase may begin on it; None: that of any path that isn't in its first label.
        """
        before, span = old.probability.copy(), old.span.copy()
        before[:, 1] = 1.0 - old.first if entry is None else entry
        span[0, :, 1] = frame
        stay, move, skip = before[:, 2:], before[:, 1:-1], before[:, :-2] * self._skips
        emitted = probabilities[self._tokens]
        new, new_span = np.zeros_like(before), np.zeros_like(span)
        new[:, 2:] = emitted * (stay + move + skip)
        comes = np.maximum(move, skip) > stay
        from_before = np.where(skip > move, span[:, :, :-2], span[:, :, 1:-1])
        new_span[:, :, 2:] = np.where(comes, from_before, span[:, :, 2:])
        new_span[1, self._rows, self._last] = frame + 1
        if self._starts:
            self._follow(probabilities, before, new, new_span, span)
        return Carried(new, new_span, probabilities[self._first])

    def _follow(self, probabilities: Array, before: Array, new: Array, new_span: Array, span: Array) -> None:
        """The state behind the last label and its blank: a word begins. A run of the last label is no new word."""
        rows, last = self._rows, self._last
        starting = float(probabilities[self._starts].sum())
        direct = starting - probabilities[self._final] * self._is_start
        stay, move, skip = (before[rows, last + ahead] for ahead in (2, 1, 0))
        new[rows, last + 2] = starting * (stay + move) + direct * skip
        source = np.where(skip > move, last, last + 1)
        new_span[:, rows, last + 2] = np.where(
            np.maximum(move, skip) > stay, span[:, rows, source], span[:, rows, last + 2]
        )

    def ending(self, carried: Carried) -> tuple[Array, Array]:
        """Probabilities (R,) and spans (2, R) of paths that are in their last label."""
        return carried.probability[self._rows, self._last], carried.span[:, self._rows, self._last]

    def followed(self, carried: Carried) -> tuple[Array, Array]:
        """The same of paths that have begun the next word."""
        return carried.probability[self._rows, self._last + 2], carried.span[:, self._rows, self._last + 2]

    def written(self, carried: Carried) -> tuple[Array, Array]:
        """The same of paths that are in their last label or on blanks behind it."""
        label, blank = (carried.probability[self._rows, self._last + ahead] for ahead in (0, 1))
        column = np.where(blank > label, self._last + 1, self._last)
        return label + blank, carried.span[:, self._rows, column]
