"""Linear prediction from log-mel frames: excitation of a signal, and synthesis from it.

    q[n] = (y[n] - sum a_i y[n-i]) / g                   whitening: the excitation, of about unit power
    y[n] = g q[n] + sum a_i y[n-i]    i = 1..order        synthesis, its inverse

The predictor a and the gain g of a frame come from its mel bands alone (as in LPCNet, Valin & Skoglund 2019, section
3.1): the bands divided by their widths are samples of the power spectrum, whose inverse Fourier transform is the
autocorrelation, from which the Levinson-Durbin recursion computes a. So both are known from the frames, and a model of
the excitation (ExcitNet, Song et al. 2019) need not learn the spectral envelope.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from recitative.config import FeatureSettings
from recitative.features.frontend import SAMPLE_SCALE, highest_hz, mel_of
from recitative.stage import Array

FRAME_PREEMPHASIS = 0.97  # within the window of a frame, see ``FeatureExtractor``
POVEY_POWER = 0.85  # its window is a Hann window to this power (kaldi/src/feat/feature-window.cc)
NARROWEST = 0.2  # bands with less weight than this of Fourier transform points are not used
NOISE_SHARE = 1e-4  # of white noise added to the power, -40 dB: otherwise no finite filter could follow a deep valley
LAG_SLOPE = 6e-5  # the autocorrelation is reduced by this times the squared lag: harmonics are not resonances
MIN_GAIN = 0.5 / SAMPLE_SCALE  # half a step of 16 bits
BLOCK = 512  # frames whose spectra are in memory at a time


@dataclass(frozen=True)
class Predictors:
    """Predictors of T frames. taps: (T, order) a_1, a_2, ...; gains: (T,) g > 0."""

    taps: Array
    gains: Array

    def at(self, frames: npt.NDArray[np.integer]) -> Predictors:
        """The predictors of some frames, in the given order."""
        return Predictors(self.taps[frames], self.gains[frames])


def predictors(frames: Array, settings: FeatureSettings, order: int, preemphasis: float) -> Predictors:
    """Predictors of log-mel frames (T, C), for a pre-emphasized signal y[n] = x[n] - preemphasis x[n-1]."""
    starts = range(0, max(len(frames), 1), BLOCK)
    blocks = [_of_block(frames[start : start + BLOCK], settings, order, preemphasis) for start in starts]
    return Predictors(np.concatenate([taps for taps, _ in blocks]), np.concatenate([gains for _, gains in blocks]))


def whiten(signal: Array, at: Predictors) -> Array:
    """A signal (S,) and the predictor of each sample -> the excitation (S,)."""
    order = at.taps.shape[1]
    padded = np.concatenate([np.zeros(order), signal.astype(np.float64)])
    predicted = np.zeros(len(signal))
    for i in range(order):
        predicted += at.taps[:, i] * padded[order - 1 - i : len(padded) - 1 - i]
    return np.asarray((signal - predicted) / at.gains)


class SynthesisFilter:
    """Synthesizes a signal from its excitation, block by block, for a batch of rows."""

    def __init__(self, rows: int, order: int) -> None:
        self._history = np.zeros((rows, order))

    def __call__(self, block: Array, at: Predictors) -> Array:
        """Excitation (N, B), the predictor of each row in this block -> signal (N, B)."""
        order = self._history.shape[1]
        taps = at.taps[:, ::-1]
        sound = np.concatenate([self._history, at.gains[:, None] * block], axis=1)
        for n in range(order, sound.shape[1]):
            sound[:, n] += (taps * sound[:, n - order : n]).sum(axis=1)
        self._history = sound[:, sound.shape[1] - order :]
        return sound[:, order:]


def _of_block(frames: Array, settings: FeatureSettings, order: int, preemphasis: float) -> tuple[Array, Array]:
    """Taps (T, order) and gains (T,)."""
    power = _power(frames.astype(np.float64), settings, preemphasis)
    correlation = np.fft.irfft(power, axis=1)[:, : order + 1]
    correlation[:, 0] *= 1.0 + NOISE_SHARE
    taps = _levinson(correlation * (1.0 - LAG_SLOPE * np.arange(order + 1) ** 2))
    errors = np.concatenate([np.ones((len(taps), 1)), -taps], axis=1)
    left = np.abs(np.fft.rfft(errors, 2 * (power.shape[1] - 1), axis=1)) ** 2 * power
    window = np.hanning(settings.window_samples) ** POVEY_POWER
    gains = np.sqrt(np.fft.irfft(left, axis=1)[:, 0] / np.sum(window**2)) / SAMPLE_SCALE
    return taps, np.maximum(gains, MIN_GAIN)


def _power(frames: Array, settings: FeatureSettings, preemphasis: float) -> Array:
    """(T, C) -> (T, F) power at the points of the Fourier transform, interpolated between band centers in the log
    domain.
    """
    areas, middles, points = _bands(settings)
    used = areas >= NARROWEST
    density = frames[:, used] - np.log(areas[used])
    places = np.clip(np.interp(points, middles[used], np.arange(used.sum())), 0, used.sum() - 1)
    left = np.minimum(places.astype(np.int64), used.sum() - 2)
    share = places - left
    power = np.exp((1 - share) * density[:, left] + share * density[:, left + 1])
    turn = np.exp(-1j * np.pi * np.arange(len(points)) / (len(points) - 1))
    return np.asarray(power * np.abs((1 - preemphasis * turn) / (1 - FRAME_PREEMPHASIS * turn)) ** 2)


@cache
def _bands(settings: FeatureSettings) -> tuple[Array, Array, Array]:
    """Sums of the weights of each band (C,), centers in mel (C,), and Fourier transform points in mel (F,), as in
    kaldi/src/feat/mel-computations.cc."""
    size = 1 << (settings.window_samples - 1).bit_length()
    nyquist = settings.sample_rate / 2
    edges = np.linspace(mel_of(settings.low_freq_hz), mel_of(highest_hz(settings)), settings.num_mel_bins + 2)
    points = mel_of(np.linspace(0.0, nyquist, size // 2 + 1))
    rising = (points[:-1] - edges[:-2, None]) / (edges[1] - edges[0])  # Kaldi leaves the last point out
    falling = (edges[2:, None] - points[:-1]) / (edges[1] - edges[0])
    areas = np.maximum(0.0, np.minimum(rising, falling)).sum(axis=1)
    return areas, edges[1:-1], points


def _levinson(correlation: Array) -> Array:
    """(T, order + 1) autocorrelations -> (T, order) taps (Durbin 1960)."""
    order = correlation.shape[1] - 1
    taps = np.zeros((len(correlation), order))
    error = correlation[:, 0].copy()
    for i in range(order):
        predicted = (taps[:, :i] * correlation[:, i:0:-1]).sum(axis=1)
        reflection = (correlation[:, i + 1] - predicted) / error
        taps[:, :i] -= reflection[:, None] * taps[:, :i][:, ::-1]
        taps[:, i] = reflection
        error = error * (1.0 - reflection**2)
    return taps
