"""Samples and rates that a caller hands over, checked before anything hears them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from recitative.audio.recording import LOUDEST
from recitative.errors import DataError, UsageError

Array = npt.NDArray[Any]


def as_float(samples: Array) -> Array:
    """(S,) float in [-1, 1] or int16 -> the same as float32.

    Raises UsageError for another shape or type, DataError for NaN, infinite or far too large samples.
    """
    samples = np.asarray(samples)
    if samples.ndim != 1:
        raise UsageError(f"samples have shape {samples.shape}: must be (S,), one channel; mix the channels first")
    if samples.dtype == np.int16:
        return np.asarray(samples / np.float32(32768), np.float32)
    if samples.dtype.kind != "f":
        raise UsageError(f"samples are {samples.dtype}: must be float in [-1, 1] or int16")
    if not np.isfinite(samples).all():
        first = int(np.argmin(np.isfinite(samples)))
        raise DataError(f"sample {first}", f"is {samples[first]}", "finite numbers", "look for the fault before it")
    peak = float(np.abs(samples).max(initial=0.0))
    if peak > LOUDEST:
        remedy = "divide them by 32768 if they are 16-bit values, or give int16"
        raise DataError(f"sample {int(np.abs(samples).argmax())}", f"is {peak:g} in size", "-1 to 1", remedy)
    return np.asarray(samples, np.float32)


def require_rate(sample_rate: int, before: int = 0) -> None:
    """Raises UsageError for a rate (Hz) that none records at, or not ``before``, the stream's own (0: none yet)."""
    if before and sample_rate != before:
        found = f"sample rate changed from {before} to {sample_rate} Hz in mid-stream"
        raise UsageError(f"stream: {found}; finish() it and begin a new one")
    if not 1000 <= sample_rate <= 768000:
        raise UsageError(f"sample_rate={sample_rate}: must be from 1000 to 768000 Hz")
