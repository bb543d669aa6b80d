"""Changing the sample rate, with libsoxr (windowed sinc, linear phase, very high quality)."""

from __future__ import annotations

import numpy as np
import soxr

from recitative.audio.files import Samples


def resample(samples: Samples, from_rate: float, to_rate: float) -> Samples:
    """(S,) at ``from_rate`` Hz -> (about S * to_rate / from_rate,) at ``to_rate`` Hz, float32.

    The rates are positive and may be fractional: speed perturbation by 1.1 is resample(x, 1.1 * rate, rate).
    Equal rates return the samples unchanged. Peaks may overshoot [-1, 1] slightly; nothing is clipped.
    """
    if from_rate <= 0 or to_rate <= 0:
        raise ValueError(f"rates must be positive, got {from_rate} and {to_rate}")
    if from_rate == to_rate:
        return samples
    return np.asarray(soxr.resample(np.asarray(samples, np.float32), from_rate, to_rate, quality="VHQ"), np.float32)
