"""Deltas and delta-deltas: Kaldi's ``compute-deltas`` (feat/feature-functions.cc, DeltaFeatures) as a stage."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from recitative.stage import Padded, State

Array = npt.NDArray[Any]

WINDOW = 2  # frames on each side of one difference; Kaldi's default


def delta_scales(order: int) -> tuple[Array, ...]:
    """The weights of orders 0 to ``order`` as Kaldi builds them: each is the one before convolved with a slope.

        scales[0] = [1],   scales[i] = scales[i-1] * [-2 -1 0 1 2] / 10        (* is convolution)

    Order i has 4 i + 1 weights, centred on the frame it describes. Float32.
    """
    slope = np.arange(-WINDOW, WINDOW + 1) / sum(j * j for j in range(-WINDOW, WINDOW + 1))
    scales = [np.ones(1)]
    for _ in range(order):
        scales.append(np.convolve(scales[-1], slope))
    return tuple(scale.astype(np.float32) for scale in scales)


class Deltas:
    """Stage: frames (N, T, C) -> (N, T, C (1 + order)): the frames, their deltas, their delta-deltas.

    Beyond the first and last frame of an utterance the edge frame is repeated. Delta-deltas are one weighted sum over
    nine frames, as in Kaldi, and not deltas of deltas, which differ in the four frames at either end.

    State: ``frames`` (N, 2 K, C) float32, the frames still needed, K = 2 order; ``frame_counts`` (N,) int64, how many
    of them are filled: 0 before the first frame.
    """

    stride = 1

    def __init__(self, dim: int, order: int) -> None:
        """``dim`` channels in, ``order`` >= 0."""
        self.dim = dim
        self.order = order
        self._scales = delta_scales(order)

    @property
    def lookahead(self) -> int:
        """In frames."""
        return WINDOW * self.order

    def initial_state(self, n: int) -> State:
        return {
            "frames": np.zeros((n, 2 * self.lookahead, self.dim), np.float32),
            "frame_counts": np.zeros(n, np.int64),
        }

    def output_lengths(self, lengths: Array) -> Array:
        return lengths

    def step(self, x: Padded[Array], state: State, *, last: bool) -> tuple[Padded[Array], State]:
        new_state = self.initial_state(len(x.lengths))
        outputs: list[Array] = []
        for row, length in enumerate(x.lengths):
            held = state["frames"][row, : state["frame_counts"][row]]
            frames = self._extend(held, x.data[row, :length], last=last)
            outputs.append(self._differences(frames))
            if not last:
                kept = frames[-2 * self.lookahead :] if self.lookahead else frames[:0]
                new_state["frames"][row, : len(kept)] = kept
                new_state["frame_counts"][row] = len(kept)
        return pad_rows(outputs, self.dim * (1 + self.order)), new_state

    def _extend(self, held: Array, new: Array, *, last: bool) -> Array:
        """Held and new frames, with the edge frame repeated before the first and (if ``last``) after the last."""
        frames = np.concatenate([held, new])
        if not len(frames):
            return frames
        before = self.lookahead if not len(held) else 0
        after = self.lookahead if last else 0
        return np.pad(frames, ((before, after), (0, 0)), mode="edge")

    def _differences(self, frames: Array) -> Array:
        """(K + T + K, C) -> (T, C (1 + order))"""
        edge = self.lookahead
        count = max(len(frames) - 2 * edge, 0)
        columns = []
        for scale in self._scales:
            first = edge - len(scale) // 2
            total = np.zeros((count, self.dim), np.float32)
            for offset, weight in enumerate(scale, start=first):
                total += weight * frames[offset : offset + count]
            columns.append(total)
        return np.concatenate(columns, axis=1)


def pad_rows(rows: list[Array], channels: int) -> Padded[Array]:
    """N arrays (T_n, C) -> one batch (N, T, C) float32 with zeros as padding."""
    lengths = np.array([len(row) for row in rows], np.int64)
    if len(rows) == 1:
        return Padded(np.asarray(rows[0], np.float32)[np.newaxis], lengths)
    data = np.zeros((len(rows), int(lengths.max(initial=0)), channels), np.float32)
    for padded, row in zip(data, rows, strict=True):
        padded[: len(row)] = row
    return Padded(data, lengths)
