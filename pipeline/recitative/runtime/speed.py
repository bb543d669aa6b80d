"""How fast sound is drawn."""

from __future__ import annotations

import time

import numpy as np

from recitative.models.conditions import width_of
from recitative.runtime.sound import SoundGenerator


def real_time_factors(generator: SoundGenerator, seconds: float, runs: int) -> list[float]:
    """Seconds of work for a second of one sound, several times, after a short one that does not count."""
    settings = generator.card.settings
    told = width_of(settings, generator.card.labels)
    steps = round(seconds * generator.sample_rate / settings.features.hop_samples) + 1
    frames = [np.zeros((steps, told), np.float32)] if told else []
    factors = []
    for length in (0.1, *[seconds] * runs):
        started = time.perf_counter()
        for _ in generator.generate(round(length * generator.sample_rate), frames=frames):
            pass
        factors.append((time.perf_counter() - started) / length)
    return factors[1:]
