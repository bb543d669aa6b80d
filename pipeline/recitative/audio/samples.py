"""Samples: type and sample rate of those that a caller passes; level, clipping and silence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from recitative.audio.recording import MAX_AMPLITUDE, Samples
from recitative.errors import DataError, UsageError
from recitative.stage import Array


class SupportsArray(Protocol):
    """What NumPy makes an array of, such as a torch tensor."""

    def __array__(self) -> Any: ...


SampleInput = Array | bytes | SupportsArray
"""Samples of one channel as a caller has them; see ``as_float``."""


def as_float(samples: SampleInput) -> Array:
    """(S,) or (1, S), float in [-1, 1] or int16 -> (S,) float32.

    An array, a torch tensor on any device, or bytes of 16-bit little-endian samples. Raises UsageError for another
    shape or type, DataError for NaN, infinite or far too large samples.
    """
    array = _as_array(samples)
    if array.ndim == 2 and len(array) == 1:  # as torchaudio gives one channel
        array = array[0]
    if array.ndim != 1:
        raise UsageError(f"samples have shape {array.shape}: must be (S,), one channel; mix the channels first")
    if array.dtype == np.int16:
        return np.asarray(array / np.float32(32768), np.float32)
    if array.dtype.kind != "f":
        raise UsageError(f"samples are {array.dtype}: must be float in [-1, 1] or int16")
    if not np.isfinite(array).all():
        first = int(np.argmin(np.isfinite(array)))
        raise DataError(f"sample {first}", f"is {array[first]}", "finite numbers", "look for the fault before it")
    peak = float(np.abs(array).max(initial=0.0))
    if peak > MAX_AMPLITUDE:
        remedy = "divide them by 32768 if they are 16-bit values, or give int16"
        raise DataError(f"sample {int(np.abs(array).argmax())}", f"is {peak:g} in size", "-1 to 1", remedy)
    return np.asarray(array, np.float32)


def _as_array(samples: Any) -> Array:
    if isinstance(samples, bytes | bytearray | memoryview):
        if len(samples) % 2:
            raise UsageError(f"samples are {len(samples)} bytes: must be an even number, two for each 16-bit sample")
        return np.frombuffer(samples, "<i2")
    if hasattr(samples, "detach"):  # a torch tensor: it may have a gradient, or be on a GPU
        samples = samples.detach().cpu()
        samples = samples.float() if samples.is_floating_point() else samples
    return np.asarray(samples)


def require_rate(sample_rate: int, before: int = 0) -> None:
    """Raises UsageError for a rate (Hz) out of range, or other than ``before``, the stream's own (0: none yet)."""
    if before and sample_rate != before:
        found = f"sample rate changed from {before} to {sample_rate} Hz in mid-stream"
        raise UsageError(f"stream: {found}; finish() it and begin a new one")
    if not 1000 <= sample_rate <= 768000:
        raise UsageError(f"sample_rate={sample_rate}: must be from 1000 to 768000 Hz")


FULL_SCALE = 0.999  # -0.009 dBFS: what 16-bit limiters and lossy codecs leave of full scale
CLIPPED_RUN = 3  # consecutive samples at full scale: one or two are a loud peak, three are clipped
CLIPPED_WARNING = 0.001  # share of samples in such runs from which it is audible
CLIPPED_PROBLEM = 0.01  # ... and from which clipping dominates the spectrum
SILENCE = 0.001  # -60 dBFS


@dataclass(frozen=True)
class Quality:
    """Measures of samples in [-1, 1]."""

    peak: float  # largest |x|
    swing: float  # half the range of the samples: the peak without a constant offset
    clipped: float  # 0 to 1: share of samples in runs of CLIPPED_RUN or more at full scale


def measure(samples: Samples) -> Quality:
    """Measures of (S,) finite samples, S >= 1."""
    low, high = float(samples.min()), float(samples.max())
    peak = max(abs(low), abs(high))
    return Quality(peak, (high - low) / 2, _clipped_part(samples) if peak >= FULL_SCALE else 0.0)


def dbfs(amplitude: float) -> str:
    """An amplitude as text: '-60.0 dBFS', or 'digital silence' for zero."""
    return f"{20 * np.log10(amplitude):.1f} dBFS" if amplitude > 0 else "digital silence"


def _clipped_part(samples: Samples) -> float:
    at_full_scale = np.abs(samples) >= FULL_SCALE
    edges = np.flatnonzero(np.diff(np.concatenate(([False], at_full_scale, [False]))))
    runs: npt.NDArray[np.int64] = edges[1::2] - edges[0::2]  # a run starts at an even edge and ends at the next
    return float(runs[runs >= CLIPPED_RUN].sum()) / len(samples)
