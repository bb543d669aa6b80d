"""Keywords from a classifier's posteriors over time: smoothed, multiplied, picked (Chen et al. 2014, "Small-footprint
keyword spotting using deep neural networks", section 2.3).

    smoothed(t, j) = mean of p(i, j) over the last ``smooth_frames`` frames i <= t
    confidence(t)  = (prod over the keyword's n labels j of the largest smoothed(k, j) on ``window_frames``) ** (1 / n)

with the frames k up to t; one early in the stream has fewer behind it. As long as the confidence stays above the
threshold it is one hit, which begins where the smoothing of its first peak does. Labels that belong to no keyword, such
as those of silence and of other words, are the filler. Unlike in the paper there is one label for a whole word where
the classifier has such, and hits are picked as those of ``ctc.keywords`` are. NumPy only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from recitative.ctc.hits import Candidate, HitRules, Track, finish, follow, new_tracks

Array = npt.NDArray[Any]

LOWEST = 1e-9  # a confidence that isn't 0


@dataclass(frozen=True)
class PosteriorRules:
    """In frames, each at least 1."""

    smooth_frames: int = 30
    window_frames: int = 100
    hold_frames: int = 30


@dataclass(frozen=True)
class PosteriorState:
    """Of a stream after ``frame`` frames.

    recent, smoothed: (F, K) posteriors and smoothed ones of the last frames; begins: where the stretch above the
    threshold begins that each keyword is in, -1 = in none; tracks: what waits
    """

    frame: int
    recent: Array
    smoothed: Array
    begins: tuple[int, ...]
    tracks: tuple[Track, ...]


class PosteriorSpotter:
    """Hits as candidates, whose ``keyword`` is its number and whose frames are those of the posteriors."""

    def __init__(
        self, keywords: Sequence[Sequence[int]], thresholds: Sequence[float], rules: PosteriorRules | None = None
    ) -> None:
        """keywords: of each the columns of its labels; thresholds: the confidence of a hit, for each."""
        self._columns = [list(columns) for columns in keywords]
        self._thresholds = np.array(thresholds)
        self._rules = rules or PosteriorRules()
        self._hit_rules = HitRules(self._rules.hold_frames)

    def start(self, num_labels: int) -> PosteriorState:
        recent = np.zeros((self._rules.smooth_frames - 1, num_labels))
        smoothed = np.zeros((self._rules.window_frames - 1, num_labels))
        count = len(self._columns)
        return PosteriorState(0, recent, smoothed, (-1,) * count, new_tracks(count))

    def step(self, posteriors: Array, state: PosteriorState) -> tuple[list[Candidate], PosteriorState]:
        """The next posteriors (T, K). Returns the hits that are certain now."""
        if not len(posteriors):
            return [], state
        history = np.concatenate([state.recent, posteriors])
        counts = np.minimum(np.arange(len(posteriors)) + state.frame + 1, self._rules.smooth_frames)
        fresh = _sums(history, self._rules.smooth_frames) / counts[:, None]
        smoothed = np.concatenate([state.smoothed, fresh])
        frame = state.frame + len(posteriors)
        candidates, begins = self._candidates(smoothed, state)
        hits, tracks = follow(state.tracks, candidates, frame, self._hit_rules)
        recent = history[len(history) - len(state.recent) :]
        return hits, PosteriorState(frame, recent, smoothed[len(smoothed) - len(state.smoothed) :], begins, tracks)

    def finish(self, state: PosteriorState) -> list[Candidate]:
        """The stream ends here."""
        return finish(state.tracks, [], state.frame, self._hit_rules)

    def _candidates(self, smoothed: Array, state: PosteriorState) -> tuple[list[Candidate], tuple[int, ...]]:
        """Of the frames behind ``state``, with ``window_frames`` - 1 before them; and where the stretches begin."""
        confidences, peaks = self._confidences(smoothed, state.frame)
        begins, found = list(state.begins), []
        above = confidences >= self._thresholds
        for t in range(len(above)):
            for keyword in np.flatnonzero(~above[t]).tolist():
                begins[keyword] = -1
            for keyword in np.flatnonzero(above[t]).tolist():
                first, last = int(peaks[keyword][t].min()), int(peaks[keyword][t].max())
                if begins[keyword] < 0:
                    begins[keyword] = max(0, first - self._rules.smooth_frames + 1)
                cost = -float(np.log(max(confidences[t, keyword], LOWEST)))
                found.append(Candidate(keyword, begins[keyword], last + 1, state.frame + t + 1, cost, 1))
        return found, tuple(begins)

    def _confidences(self, smoothed: Array, first: int) -> tuple[Array, list[Array]]:
        """(T, keywords), and for each keyword the frames (T, n) at which its labels were likeliest."""
        size = self._rules.window_frames
        windows = np.lib.stride_tricks.sliding_window_view(smoothed, size, axis=0)  # (T, K, W)
        best = windows.max(axis=-1)
        places = windows.argmax(axis=-1) + np.arange(first - size + 1, first - size + 1 + len(windows))[:, None]
        powers = [best[:, columns].prod(axis=1) ** (1 / len(columns)) for columns in self._columns]
        return np.stack(powers, axis=1), [places[:, columns] for columns in self._columns]


def _sums(frames: Array, size: int) -> Array:
    """Of each ``size`` frames on end, added in the order of time, so that no cutting changes a bit: (T, K)."""
    count = len(frames) - size + 1
    total = np.zeros((count, frames.shape[1]))
    for offset in range(size):
        total += frames[offset : offset + count]
    return total
