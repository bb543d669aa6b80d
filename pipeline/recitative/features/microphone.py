"""The same sound recorded elsewhere: by another microphone, cut by another hand; for finished log-mel features.

Who was recorded once, with one microphone in one room, sounds like that room. What tells rooms and microphones apart is
mostly a spectrum that is laid over everything, and one that lies below everything; a network that has heard many of
both stops listening to them. Both are smooth curves over the channels, through ``POINTS`` values that are drawn.
And whose recordings were all cut close teaches that a quiet beginning is a consonant, while one who cut closer still
has cut the consonant off.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

POINTS = 5  # between which a curve over the channels is straight
HISS_DB = 10.0  # by which the hiss of a channel is louder or quieter than it is on average
FREEDOM = 4.0  # half the degrees of freedom of a channel's power: how steady the hiss is
NEPERS = np.log(10) / 10  # natural logarithm of a power, of a decibel


QUIETEST = 0.05  # what part of the frames is quieter than the quiet around a recording, in each channel,
DEEPER = 3.0  # before that is made quieter by up to so much (natural logarithm of a power)
RESTLESS = 0.5  # standard deviation of the quiet
ONSET_FRAMES, ONSET = 11, 5.0  # a recording comes out of the quiet within up to so many frames, from so far below


def cut_close(features: Array, below_db: float) -> Array:
    """Of log-mel features, at least one frame (T, C), those from the first to the last with a power of all channels
    that is at most so far below the loudest frame's -> a view, at least one frame."""
    powers = np.logaddexp.reduce(features, axis=1)
    loud = np.flatnonzero(powers >= powers.max() - NEPERS * below_db)
    return features[loud[0] : loud[-1] + 1]


def surround(features: Array, most: int, rng: np.random.Generator) -> Array:
    """Put up to ``most`` frames of quiet before and after log-mel features, at least one frame (T, C), and let them
    come out of it gradually -> (before + T + after, C)."""
    quiet = np.quantile(features, QUIETEST, axis=0) - rng.uniform(0, DEEPER)
    before, after = (quiet + rng.normal(0, RESTLESS, (rng.integers(most + 1), len(quiet))) for _ in range(2))
    onset = np.linspace(rng.uniform(0, ONSET), 0, rng.integers(ONSET_FRAMES + 1))[: len(features)]
    gradual = np.concatenate([features[: len(onset)] - onset[:, None], features[len(onset) :]])
    return np.concatenate([before, gradual, after]).astype(np.float32)


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
    heard: Array = np.logaddexp(features, np.log(noise)).astype(np.float32)
    return heard


def room(features: Array, rt60_s: float, drr_db: float, frame_s: float) -> Array:
    """Add the tail of a room to log-mel features (T, C) -> (T, C): powers that decay by 60 dB in ``rt60_s`` seconds.

        y[t] = ln(exp x[t] + 10^(-drr / 10) (1 - d) / d sum_(k >= 1) d^k exp x[t - k]),    d = 10^(-6 frame_s / rt60)

    so that of a steady sound the tail has the power of the direct sound less ``drr_db`` decibels.
    """
    decay = 10 ** (-6 * frame_s / rt60_s)
    power = np.exp(features.astype(np.float64))
    heard, reach = power.copy(), 1
    while reach < len(power) and decay**reach > 1e-6:  # the sum doubles its reach
        heard[reach:] += decay**reach * heard[:-reach]
        reach *= 2
    tail = 10 ** (-drr_db / 10) * (1 - decay) / decay * (heard - power)
    wet: Array = np.log(power + tail).astype(np.float32)
    return wet


def babble(features: Array, others: Sequence[Array], snr_db: float, rng: np.random.Generator) -> Array:
    """Other utterances behind log-mel features (T, C) -> (T, C): their powers are added, together ``snr_db`` below.

    Each of ``others`` (T', C), at least one frame, begins at a random frame and is repeated.
    """
    power = np.zeros(features.shape)
    for other in others:
        rolled = np.roll(other, -int(rng.integers(len(other))), axis=0)
        power += np.exp(np.resize(rolled, features.shape).astype(np.float64))
    level = np.exp(features.astype(np.float64)).mean() / power.mean() * 10 ** (-snr_db / 10)
    heard: Array = np.logaddexp(features, np.log(level * power)).astype(np.float32)
    return heard


LOWEST_HZ, HIGHEST_HZ = (150.0, 350.0), (3000.0, 3900.0)  # the edges of a telephone's band
OUTSIDE_DB, SLOPE_DB = (20.0, 80.0), 200.0  # weaker outside of it; by so much an octave until then


def telephone(features: Array, hz: Array, floor: float, rng: np.random.Generator) -> Array:
    """Leave the band of a telephone of log-mel features (T, C) whose channels lie at ``hz`` (C,) -> (T, C).

    Nothing becomes quieter than ``floor``.
    """
    octaves = np.maximum(np.log2(rng.uniform(*LOWEST_HZ) / hz), np.log2(hz / rng.uniform(*HIGHEST_HZ)))
    loss = np.minimum(np.maximum(octaves, 0.0) * SLOPE_DB, rng.uniform(*OUTSIDE_DB))
    narrow: Array = np.maximum(features - np.float32(NEPERS) * loss.astype(np.float32), np.float32(floor))
    return narrow


def stretch(features: Array, frames: int) -> Array:
    """(T, C), T > 0 -> (frames, C), what was said faster or slower: straight lines between frames."""
    if frames == len(features):
        return features
    place = np.linspace(0, len(features) - 1, frames)
    below = np.minimum(place.astype(np.int64), max(len(features) - 2, 0))
    part = (place - below).astype(np.float32)[:, None]
    above = np.minimum(below + 1, len(features) - 1)
    stretched: Array = features[below] * (1 - part) + features[above] * part
    return stretched


def _curve(channels: int, most_db: float, rng: np.random.Generator) -> Array:
    """(C,) float32, in decibels."""
    points = rng.uniform(-most_db, most_db, POINTS)
    return np.interp(np.linspace(0, POINTS - 1, channels), np.arange(POINTS), points).astype(np.float32)
