"""The same sound through another microphone: its colour and its hiss, drawn anew for finished log-mel features.

Who was recorded once, with one microphone in one room, sounds like that room. What tells rooms and microphones apart is
mostly a spectrum that is laid over everything, and one that lies below everything; a network that has heard many of
both stops listening to them. Both are smooth curves over the channels, through ``POINTS`` values that are drawn.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

POINTS = 5  # between which a curve over the channels is straight
HISS_DB = 10.0  # by which the hiss of a channel is louder or quieter than it is on average
FREEDOM = 4.0  # half the degrees of freedom of a channel's power: how steady the hiss is
NEPERS = np.log(10) / 10  # natural logarithm of a power, of a decibel


def colour(features: Array, most_db: float, rng: np.random.Generator) -> Array:
    """Add a curve within +- most_db to log-mel features (T, C) -> (T, C), the same to all frames."""
    coloured: Array = features + np.float32(NEPERS) * _curve(features.shape[1], most_db, rng)
    return coloured


def hiss(features: Array, snr_db: float, rng: np.random.Generator) -> Array:
    """Add the power of a stationary noise to log-mel features (T, C) -> (T, C).

        y[t, c] = ln(exp x[t, c] + P 10^(-snr / 10) n[c] g[t, c])

    with P the mean power of all frames and channels, n a curve of mean 1 within +- HISS_DB, and g from the Gamma
    distribution of mean 1, which the power of a Gaussian noise in a channel follows.
    """
    curve = np.exp(NEPERS * _curve(features.shape[1], HISS_DB, rng))
    level = np.exp(features.astype(np.float64)).mean() * 10 ** (-snr_db / 10)
    noise = level * curve / curve.mean() * rng.gamma(FREEDOM, 1 / FREEDOM, features.shape)
    return np.logaddexp(features, np.log(noise)).astype(np.float32)


def _curve(channels: int, most_db: float, rng: np.random.Generator) -> Array:
    """(C,) float32, in decibels."""
    points = rng.uniform(-most_db, most_db, POINTS)
    return np.interp(np.linspace(0, POINTS - 1, channels), np.arange(POINTS), points).astype(np.float32)
