"""Samples in memory: their type and range, level and clipping, resampling."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import soxr

from recitative.errors import DataError, UsageError
from recitative.stage import Array

Samples = npt.NDArray[np.float32]
"""(S,) of one channel, or (S, channels), in [-1, 1]."""

MAX_AMPLITUDE = 2.0
"""Lossy decoders exceed 1 by a few percent, float files at 16-bit scale by thousands."""

REMEDY = "record or copy it again, or remove the utterance"


class SupportsArray(Protocol):
    """Any object that NumPy converts to an array, such as a torch tensor."""

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
    peak = float(np.abs(array).max(initial=0.0))
    if peak <= MAX_AMPLITUDE:  # false for NaN
        return np.asarray(array, np.float32)
    if not np.isfinite(array).all():
        first = int(np.argmin(np.isfinite(array)))
        raise DataError(f"sample {first}", f"is {array[first]}", "finite numbers", "look for the fault before it")
    remedy = "divide them by 32768 if they are 16-bit values, or give int16"
    raise DataError(f"sample {int(np.abs(array).argmax())}", f"is {peak:g} in size", "-1 to 1", remedy)


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


def require_sound(path: str | Path, samples: Samples, first: int, sample_rate: int) -> None:
    """Raises DataError for NaN, infinity or another scale in samples of a file that start at number ``first``."""
    peak = float(np.max(np.abs(samples), initial=0.0))
    if peak <= MAX_AMPLITUDE:  # false for NaN
        return
    finite = np.isfinite(samples).reshape(len(samples), -1).all(axis=1)
    if finite.all():
        remedy = "divide by 32768 if they are 16-bit values"
        raise DataError(str(path), f"has samples up to {peak:g}", "-1 to 1", remedy)
    at_s = (first + int(np.argmin(finite))) / sample_rate
    raise DataError(str(path), f"has NaN or infinite samples, the first at {at_s:.3f} s", "numbers", REMEDY)


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
    peak, clipped = max(abs(low), abs(high)), 0.0
    if peak >= FULL_SCALE:
        at_full_scale = np.abs(samples) >= FULL_SCALE
        edges = np.flatnonzero(np.diff(np.concatenate(([False], at_full_scale, [False]))))
        runs = edges[1::2] - edges[0::2]  # a run starts at an even edge and ends at the next
        clipped = float(runs[runs >= CLIPPED_RUN].sum()) / len(samples)
    return Quality(peak, (high - low) / 2, clipped)


def dbfs(amplitude: float) -> str:
    """An amplitude as text: '-60.0 dBFS', or 'digital silence' for zero."""
    return f"{20 * np.log10(amplitude):.1f} dBFS" if amplitude > 0 else "digital silence"


def resample(samples: Samples, from_rate: float, to_rate: float) -> Samples:
    """(S,) at ``from_rate`` Hz -> (about S * to_rate / from_rate,) at ``to_rate`` Hz, float32.

    By libsoxr: windowed sinc, linear phase, very high quality. The rates are positive and may be fractional: speed
    perturbation by 1.1 is resample(x, 1.1 * rate, rate). Equal rates return the samples unchanged. Peaks may overshoot
    [-1, 1] slightly; nothing is clipped.
    """
    if from_rate <= 0 or to_rate <= 0:
        raise ValueError(f"rates must be positive, got {from_rate} and {to_rate}")
    if from_rate == to_rate:
        return samples
    return np.asarray(soxr.resample(np.asarray(samples, np.float32), from_rate, to_rate, quality="VHQ"), np.float32)


def block_resampler(from_rate: int, to_rate: int) -> soxr.ResampleStream:
    """Resamples (S,) float32 block by block; equal to ``resample`` of the whole."""
    return soxr.ResampleStream(from_rate, to_rate, 1, dtype="float32", quality="VHQ")


class StreamResampler:
    """Resampling of a stream: all outputs so far, followed by ``ending``, equal ``resample`` of all samples so far.

    libsoxr delays its output by some tenths of a second. ``ending`` returns what it would give if the recording ended
    here, and the stream can continue: a second resampler processes the last samples again, from a position where
    samples of both rates coincide, far enough back that its start-up has no effect.
    """

    REACH_S = 0.25  # of audio before an output that its filter covers, with a margin

    def __init__(self, from_rate: int, to_rate: int) -> None:
        """In Hz; equal rates leave the samples unchanged."""
        self._rates = from_rate, to_rate
        self._resampler = block_resampler(from_rate, to_rate) if from_rate != to_rate else None
        self._recent: Samples = np.zeros(0, np.float32)  # the last input samples,
        self._begin = 0  # and the number of the first of them
        self._given = 0  # output samples so far

    def accept(self, samples: Samples) -> Samples:
        """The next samples (S,) -> the output available after them (S',)."""
        if self._resampler is None:
            return samples
        out: Samples = self._resampler.resample_chunk(np.asarray(samples, np.float32))
        self._given += len(out)
        from_rate, to_rate = self._rates
        together = from_rate // gcd(from_rate, to_rate)  # samples between positions where both rates coincide
        needed = int((self._given / to_rate - self.REACH_S) * from_rate)
        begin = max(self._begin, needed // together * together)
        self._recent = np.concatenate([self._recent, samples])[begin - self._begin :]
        self._begin = begin
        return out

    def ending(self) -> Samples:
        """The rest of the output if the recording ends here (S',)."""
        if self._resampler is None:
            return self._recent
        from_rate, to_rate = self._rates
        again: Samples = block_resampler(from_rate, to_rate).resample_chunk(self._recent, last=True)
        return again[self._given - self._begin * to_rate // from_rate :]
