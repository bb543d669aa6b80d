"""Mu-law companding: 256 levels, for autoregressive models of samples (ITU-T G.711 without its segments).

    F(x) = sign(x) ln(1 + 255 |x|) / ln 256,    level = round(127.5 (F(x) + 1))

Before it, high frequencies are emphasized, y[t] = x[t] - a x[t-1], and after it de-emphasized: the quantization noise
then has about the spectrum of the sound (as in LPCNet, Valin & Skoglund 2019).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from recitative.audio.samples import Samples

LEVELS = 256
MIDDLE = 128  # the level of silence

Codes = npt.NDArray[np.uint8]


def encode(samples: npt.NDArray[np.floating]) -> Codes:
    """Samples in [-1, 1], others are clipped -> levels, any shape."""
    clipped = np.clip(samples, -1.0, 1.0)
    value = np.sign(clipped) * np.log1p(255.0 * np.abs(clipped)) / np.log(256.0)
    return np.asarray(np.floor((value + 1.0) * 127.5 + 0.5), np.uint8)


def companded() -> Samples:
    """(256,) F of each level, uniform in loudness rather than amplitude: the input of networks."""
    return (np.arange(LEVELS, dtype=np.float32) / np.float32(127.5)) - np.float32(1.0)


def decode(codes: npt.NDArray[np.integer]) -> Samples:
    """Levels -> samples in [-1, 1]."""
    value = companded()
    samples = np.sign(value) * np.expm1(np.abs(value) * np.log(256.0)) / 255.0
    return np.asarray(samples.astype(np.float32)[codes])


def emphasize(samples: Samples, factor: float) -> Samples:
    """(S,) -> (S,); the first sample is unchanged."""
    before = np.concatenate([np.zeros(1, np.float32), samples[:-1]])
    return np.asarray(samples - np.float32(factor) * before, np.float32)


class Deemphasis:
    """The inverse of ``emphasize``, block by block: x[t] = y[t] + a x[t-1], for a batch of rows."""

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
