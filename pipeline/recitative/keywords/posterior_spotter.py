"""Keywords from a classifier's posteriors over time: smoothed, and picked where they peak.

    smoothed(t, j) = mean of p(i, j) over the last ``smooth_frames`` frames i <= t

is the confidence of keyword j at frame t, as in Chen et al. 2014, "Small-footprint keyword spotting using deep neural
networks", section 2.3. Theirs multiplies the labels of a keyword's parts, in whatever order they come; here a keyword
is one label of the classifier. Labels that are no keyword, such as those of silence and of other words, are the filler.

A candidate lies on the frames that its confidence was heard in: those that are smoothed, and those before them of which
the first posterior tells. No frame is heard for two hits of one keyword; of those that overlap the best one stands, as
``keywords.detections`` picks it. As long as the confidence stays above the threshold, or comes back within
``refractory_frames``, it is one hit. NumPy only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recitative.keywords.detections import DetectionCandidate, DetectionRules, Track, finish, follow, new_tracks
from recitative.stage import Array

LOWEST = 1e-9  # a confidence that isn't 0


@dataclass(frozen=True)
class PosteriorRules:
    """In frames, each at least 1. heard_frames: input of one posterior; the last two: see ``keywords.detections``."""

    smooth_frames: int
    heard_frames: int
    hold_frames: int
    refractory_frames: int


@dataclass(frozen=True)
class PosteriorState:
    """Of a stream after ``frame`` frames. recent: (smooth_frames - 1, K) its last posteriors; tracks: what waits."""

    frame: int
    recent: Array
    tracks: tuple[Track, ...]


class PosteriorSpotter:
    """Hits as candidates, whose ``keyword`` is its number and whose frames are those of the posteriors."""

    def __init__(self, thresholds: Sequence[float], rules: PosteriorRules) -> None:
        """thresholds: the confidence of a hit, for each of K keywords."""
        self.rules = DetectionRules(rules.hold_frames, refractory_frames=rules.refractory_frames)
        self._thresholds = np.array(thresholds)
        self._smooth_frames = rules.smooth_frames
        self._reach = rules.smooth_frames + rules.heard_frames - 1

    def start(self) -> PosteriorState:
        count = len(self._thresholds)
        return PosteriorState(0, np.zeros((self._smooth_frames - 1, count)), new_tracks(count))

    def step(self, posteriors: Array, state: PosteriorState) -> tuple[list[DetectionCandidate], PosteriorState]:
        """The next posteriors (T, K) of the keywords. Returns the hits that are certain now."""
        candidates, recent = self.candidates(posteriors, state)
        frame = state.frame + len(posteriors)
        hits, tracks = follow(state.tracks, candidates, frame, self.rules)
        return hits, PosteriorState(frame, recent, tracks)

    def finish(self, state: PosteriorState) -> list[DetectionCandidate]:
        """The stream ends here."""
        return finish(state.tracks, [], state.frame, self.rules)

    def candidates(self, posteriors: Array, state: PosteriorState) -> tuple[list[DetectionCandidate], Array]:
        """Whatever reaches its threshold on the next frames (T, K); and the last posteriors, for the next state."""
        history = np.concatenate([state.recent, posteriors])
        frames = np.arange(len(posteriors)) + state.frame
        counts = np.minimum(frames + 1, self._smooth_frames)
        confidences = _sums(history, self._smooth_frames) / counts[:, None]
        found = [
            self._candidate(state.frame + t, keyword, float(confidences[t, keyword]))
            for t, keyword in np.argwhere(confidences >= self._thresholds).tolist()
        ]
        return found, history[len(history) - len(state.recent) :]

    def _candidate(self, frame: int, keyword: int, confidence: float) -> DetectionCandidate:
        end = frame + 1
        return DetectionCandidate(
            keyword, max(0, end - self._reach), end, end, -float(np.log(max(confidence, LOWEST))), 1
        )


def _sums(frames: Array, size: int) -> Array:
    """Of each ``size`` frames on end, added in the order of time, so that no cutting changes a bit: (T, K)."""
    count = len(frames) - size + 1
    total = np.zeros((count, frames.shape[1]))
    for offset in range(size):
        total += frames[offset : offset + count]
    return total
