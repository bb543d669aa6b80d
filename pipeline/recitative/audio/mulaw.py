"""Sound as 256 levels, for models that draw one sample after another (ITU-T G.711's companding, without its segments).

    F(x) = sign(x) ln(1 + 255 |x|) / ln 256,    level = round(127.5 (F(x) + 1))

Before it high frequencies are raised, y[t] = x[t] - a x[t-1], and lowered again after it: the steps between levels are
heard as noise, which then lies where the sound does (as in LPCNet, Valin & Skoglund 2019).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

LEVELS = 256
MIDDLE = 128  # the level of silence

Samples = npt.NDArray[np.float32]
Codes = npt.NDArray[np.uint8]


def encode(samples: npt.NDArray[np.floating]) -> Codes:
    """Samples in [-1, 1], what lies beyond is clipped -> levels, any shape."""
    clipped = np.clip(samples, -1.0, 1.0)
    value = np.sign(clipped) * np.log1p(255.0 * np.abs(clipped)) / np.log(256.0)
    return np.asarray(np.floor((value + 1.0) * 127.5 + 0.5), np.uint8)


def companded() -> Samples:
    """(256,) F of each level, even in loudness rather than in amplitude: what networks read."""
    return (np.arange(LEVELS, dtype=np.float32) / np.float32(127.5)) - np.float32(1.0)


def decode(codes: npt.NDArray[np.integer]) -> Samples:
    """Levels -> samples in [-1, 1]."""
    value = companded()
    samples = np.sign(value) * np.expm1(np.abs(value) * np.log(256.0)) / 255.0
    return np.asarray(samples.astype(np.float32)[codes])


def emphasise(samples: Samples, factor: float) -> Samples:
    """(S,) -> (S,); the first sample stays."""
    before = np.concatenate([np.zeros(1, np.float32), samples[:-1]])
    return np.asarray(samples - np.float32(factor) * before, np.float32)


class Deemphasis:
    """The other way round, block by block: x[t] = y[t] + a x[t-1], for rows side by side."""

    def __init__(self, rows: int, factor: float) -> None:
        self._factor = factor
        self._last = np.zeros(rows)

    def __call__(self, block: npt.NDArray[np.floating]) -> Samples:
        """(N, B) -> (N, B)."""
        steps = np.arange(block.shape[1])
        powers = np.where(steps[:, None] >= steps, float(self._factor) ** np.maximum(steps[:, None] - steps, 0), 0.0)
        carried = self._last[:, None] * float(self._factor) ** (steps + 1)
        samples = block.astype(np.float64) @ powers.T + carried
        if len(steps):
            self._last = samples[:, -1]
        return samples.astype(np.float32)
