"""How fast sound is drawn, and recordings are named."""

from __future__ import annotations

import time

import numpy as np

from recitative.models.conditions import width_of
from recitative.models.labeller import Labeller
from recitative.runtime.sound import SoundGenerator


def real_time_factors(generator: SoundGenerator, seconds: float, runs: int) -> list[float]:
    """Seconds of work for a second of one sound, several times, after a short one that does not count."""
    settings = generator.metadata.settings
    told = width_of(settings, generator.labels)
    steps = round(seconds * generator.sample_rate / settings.features.hop_samples) + 1
    frames = [np.zeros((steps, told), np.float32)] if told else []
    factors = []
    for length in (0.1, *[seconds] * runs):
        started = time.perf_counter()
        for _ in generator.generate(round(length * generator.sample_rate), frames=frames):
            pass
        factors.append((time.perf_counter() - started) / length)
    return factors[1:]


def labelling_factors(labeller: Labeller, seconds: float, piece_s: float, runs: int) -> list[float]:
    """Seconds of work for a second of a recording, several times, after a short one that does not count.

    It comes in pieces of ``piece_s`` with the running label after each, features included. What is heard is noise: no
    part of the work depends on it.
    """
    rate = labeller.sample_rate
    samples = (0.1 * np.random.default_rng(0).standard_normal(round(seconds * rate))).astype(np.float32)
    size = max(1, round(piece_s * rate))
    factors = []
    for length in (size, *[len(samples)] * runs):
        stream, started = labeller.stream(), time.perf_counter()
        for start in range(0, length, size):
            stream.accept(samples[start : min(start + size, length)], rate)
        factors.append((time.perf_counter() - started) / (length / rate))
    return factors[1:]
