"""How strange a stretch of sound is to a forecaster. NumPy only.

    surprise    mean over the window of -ln p(x[t] | past) / C, by the forecaster
    ratio       the same, less what the plainest forecaster would have said that was fitted to the window itself

Likelihood alone misleads: noise and busy sounds surprise every model, silence and even tones none (Nalisnick et al.
2019; Serra et al. 2020 take away a complexity for that reason, Ren et al. 2019 the likelihood of a background). Here
the background is the window's own: each channel a first-order autoregression x[t] = a x[t - 1] + b + noise, whose
likeliest a, b and deviation s are those of least squares, so that it says

    (1 / C) sum over channels of ln s + ln(2 pi e) / 2        nats per dimension

to whose s^2 ``LEAST_DEVIATION``^2 is added, for a channel that stands still has none. A large ratio: this stretch has
an order of its own, and it is not one that the forecaster knows.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from recitative.features.frontend import pad_rows
from recitative.stage import Array, Padded, State

Score = Literal["ratio", "surprise"]

LEAST_DEVIATION = 0.5  # of log energies, in nats: about what a channel of steady noise has
HOPS = 10  # judgments in the time of a window


class Strangeness:
    """Stage: surprise and features side by side, (N, T, 1 + C) -> strangeness (N, T', 1) float32.

    Output j judges frames j H to j H + W - 1, for a hop H of a tenth of the window W; T' = floor((T - W) / H) + 1.
    State: ``pending`` (N, P, 1 + C) and ``pending_lengths`` (N,), the frames that later windows need.
    """

    def __init__(self, channels: int, window: int, score: Score) -> None:
        """window: frames, at least 3."""
        self.channels, self.window, self.score = channels, window, score
        self.stride = max(1, window // HOPS)

    @property
    def lookahead(self) -> int:
        return self.window - 1

    def output_lengths(self, lengths: Array) -> Array:
        whole: Array = np.maximum((np.asarray(lengths) - self.window) // self.stride + 1, 0)
        return whole

    def initial_state(self, n: int) -> State:
        zeros = np.zeros((n, 0, 1 + self.channels), np.float32)
        return {"pending": zeros, "pending_lengths": np.zeros(n, np.int64)}

    def step(self, x: Padded[Array], state: State, *, last: bool) -> tuple[Padded[Array], State]:
        judged: list[Array] = []
        kept: list[Array] = []
        for row, length in enumerate(x.lengths):
            held = state["pending"][row, : state["pending_lengths"][row]]
            frames = np.concatenate([held, x.data[row, :length]])
            judged.append(self._judge(frames))
            kept.append(frames[len(judged[-1]) * self.stride :])
        y = pad_rows(judged, 1)
        if last:
            return y, self.initial_state(len(x.lengths))
        pending = pad_rows(kept, 1 + self.channels)
        return y, {"pending": pending.data, "pending_lengths": pending.lengths}

    def _judge(self, frames: Array) -> Array:
        """(T, 1 + C) -> (T', 1)."""
        if len(frames) < self.window:
            return np.zeros((0, 1))
        windows = sliding_window_view(frames.astype(np.float64), self.window, axis=0)[:: self.stride]  # (T', 1 + C, W)
        surprise: Array = windows[:, :1].mean(axis=2)
        return surprise - own_nats(windows[:, 1:])[:, None] if self.score == "ratio" else surprise


def own_nats(windows: Array) -> Array:
    """(M, C, W) -> (M,): nats per dimension of each window by the autoregression that was fitted to it."""
    before, after = windows[..., :-1], windows[..., 1:]
    before = before - before.mean(axis=-1, keepdims=True)
    after = after - after.mean(axis=-1, keepdims=True)
    power, both = np.square(before).sum(axis=-1), (before * after).sum(axis=-1)
    explained = np.divide(both**2, power, out=np.zeros_like(both), where=power > 0)
    variance = np.maximum(np.square(after).sum(axis=-1) - explained, 0.0) / before.shape[-1]
    deviations = np.sqrt(variance + LEAST_DEVIATION**2)
    nats: Array = np.log(deviations).mean(axis=-1) + 0.5 * math.log(2 * math.pi * math.e)
    return nats
