"""Resampling with libsoxr (windowed sinc, linear phase, very high quality)."""

from __future__ import annotations

from math import gcd

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
        self._resampler = _resampler(from_rate, to_rate) if from_rate != to_rate else None
        self._kept: Samples = np.zeros(0, np.float32)  # the last input samples,
        self._begin = 0  # and the number of the first of them
        self._given = 0  # output samples so far

    def accept(self, samples: Samples) -> Samples:
        """The next samples (S,) -> the output available after them (S',)."""
        if self._resampler is None:
            return samples
        out: Samples = self._resampler.resample_chunk(np.asarray(samples, np.float32))
        self._given += len(out)
        self._keep(samples)
        return out

    def ending(self) -> Samples:
        """The rest of the output if the recording ends here (S',)."""
        if self._resampler is None:
            return self._kept
        from_rate, to_rate = self._rates
        again: Samples = _resampler(from_rate, to_rate).resample_chunk(self._kept, last=True)
        return again[self._given - self._begin * to_rate // from_rate :]

    def _keep(self, samples: Samples) -> None:
        from_rate, to_rate = self._rates
        together = from_rate // gcd(from_rate, to_rate)  # samples between positions where both rates coincide
        needed = int((self._given / to_rate - self.REACH_S) * from_rate)
        begin = max(self._begin, needed // together * together)
        self._kept = np.concatenate([self._kept, samples])[begin - self._begin :]
        self._begin = begin


def _resampler(from_rate: int, to_rate: int) -> soxr.ResampleStream:
    return soxr.ResampleStream(from_rate, to_rate, 1, dtype="float32", quality="VHQ")
