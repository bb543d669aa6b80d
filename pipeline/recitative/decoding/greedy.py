"""Greedy (best path) CTC decoding with explicit state."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recitative.stage import Array, Padded, State


class GreedyDecoder:
    """Stage: log probabilities (N, T, V) -> (N, T) int64, the label that begins at each frame, else 0.

    The best path takes the most probable token of every frame; a run of one token is one label, and blanks (0) separate
    equal labels. State: ``previous`` (N,), the token of the last frame.
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
