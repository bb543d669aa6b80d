"""Vocal tract length perturbation: the same words from a longer or shorter throat (Jaitly & Hinton 2013)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from recitative.config import FeatureSettings

Array = npt.NDArray[Any]

TURN_HZ = 4800.0  # up to here the warp is a plain factor; above, a line to the band's end. Formants lie below


class VocalTractWarp:
    """Moves the formants of fbank features and leaves the time and, unlike a change of speed, the tempo as it is.

    Works on the finished log-mel features, by linear interpolation between neighbouring channels, where the paper
    warps the filter bank itself: half a channel of blur for no second pass over the spectrum.
    """

    def __init__(self, settings: FeatureSettings) -> None:
        """``settings`` must be of kind fbank; see Settings."""
        nyquist = settings.sample_rate / 2
        self._high_hz = settings.high_freq_hz if settings.high_freq_hz > 0 else nyquist + settings.high_freq_hz
        mel_edges = np.linspace(_mel(settings.low_freq_hz), _mel(self._high_hz), settings.num_mel_bins + 2)
        self._mel = mel_edges[1:-1]
        self.hz = _hz(self._mel)  # (C,): of the channels

    def warp(self, features: Array, factor: float) -> Array:
        """(T, C) -> a new (T, C) in which what stood at a frequency f stands at ``factor`` * f.

        With deltas, each block of channels is warped alike.
        """
        if factor == 1.0:
            return np.array(features, np.float32)
        place = np.interp(_mel(self._source(factor)), self._mel, np.arange(len(self._mel)))
        below = np.minimum(place.astype(np.int64), len(place) - 2)
        part = (place - below).astype(np.float32)
        blocks = features.reshape(len(features), features.shape[1] // len(place), len(place))
        warped: Array = blocks[..., below] * (1 - part) + blocks[..., below + 1] * part
        return warped.reshape(features.shape)

    def _source(self, factor: float) -> Array:
        """Where each channel's new content comes from, in Hz: the paper's equation with the inverse factor."""
        inverse = 1.0 / factor
        turn = min(TURN_HZ, 0.8 * self._high_hz) * min(inverse, 1.0) / inverse
        slope = (self._high_hz - turn * inverse) / (self._high_hz - turn)
        beyond = self._high_hz - slope * (self._high_hz - self.hz)
        source: Array = np.where(self.hz <= turn, self.hz * inverse, beyond)
        return source


def _mel(hz: Any) -> Any:
    """Kaldi's mel scale, feat/mel-computations.h."""
    return 1127.0 * np.log1p(np.asarray(hz, np.float64) / 700.0)


def _hz(mel: Any) -> Any:
    return 700.0 * np.expm1(mel / 1127.0)
