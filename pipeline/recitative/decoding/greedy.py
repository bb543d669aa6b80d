"""Greedy (best path) CTC decoding: the most probable token of every frame."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

import numpy as np

from recitative.stage import Array, Padded


def best_labels(log_probs: Padded[Array]) -> list[list[int]]:
    """The labels of the best path of each row (N, T, V): one for each run of a token, without blanks (0)."""
    paths = log_probs.data.argmax(-1)  # (N, T)
    rows = (path[:length].tolist() for path, length in zip(paths, log_probs.lengths, strict=True))
    return [[label for label, _ in groupby(row) if label] for row in rows]


@dataclass(frozen=True)
class TokenRun:
    """One label of a best path, on the frames [begin, end)."""

    label: int
    begin: int
    end: int
    confidence: float  # its highest probability on those frames, 0..1


class BestPath:
    """The best path of one stream so far: ``runs`` of its labels, without blanks, over ``num_frames``."""

    def __init__(self) -> None:
        self.runs: list[TokenRun] = []
        self.num_frames = 0
        self._last = 0  # the token of the last frame

    def extend(self, log_probs: Array) -> None:
        """The next frames (T, V)."""
        frames = len(log_probs)
        if frames == 0:
            return
        path = log_probs.argmax(-1)
        begins = [0, *(np.flatnonzero(path[1:] != path[:-1]) + 1).tolist()]
        largest = np.exp(np.maximum.reduceat(log_probs[np.arange(frames), path], begins)).tolist()
        labels = path[begins].tolist()
        for label, begin, end, confidence in zip(labels, begins, [*begins[1:], frames], largest, strict=True):
            if label:
                begin, end = self.num_frames + begin, self.num_frames + end
                if label == self._last and begin == self.num_frames:  # continues the run of the last chunk
                    before = self.runs.pop()
                    begin, confidence = before.begin, max(before.confidence, confidence)
                self.runs.append(TokenRun(label, begin, end, confidence))
            self._last = label
        self.num_frames += frames
