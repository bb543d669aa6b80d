"""Kaldi's fbank and MFCC features with deltas, of whole recordings or streams; and their inverse, features as sound.

In NumPy: three times as fast as kaldi-native-fbank, whose binding takes and gives single frames (``tools/bench.py``).

The inverse needs the extra 'music'. Mel filters are inverted by least squares, and phases are found by the iteration of
Griffin and Lim (1984) in librosa, which needs no torch. The pitch is kept as far as the frames have it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from recitative.audio.files import Samples
from recitative.config import FeatureSettings
from recitative.errors import UsageError
from recitative.stage import Array, Padded, State, run_whole

WINDOW = 2  # frames on each side of one difference; Kaldi's default


def delta_scales(order: int) -> tuple[Array, ...]:
    """Weights of orders 0 to ``order``, as in Kaldi: each is the previous one convolved with a slope.

        scales[0] = [1],   scales[i] = scales[i-1] * [-2 -1 0 1 2] / 10        (* is convolution)

    Order i has 4 i + 1 weights, centered on its frame. Float32.
    """
    slope = np.arange(-WINDOW, WINDOW + 1) / sum(j * j for j in range(-WINDOW, WINDOW + 1))
    scales = [np.ones(1)]
    for _ in range(order):
        scales.append(np.convolve(scales[-1], slope))
    return tuple(scale.astype(np.float32) for scale in scales)


class Deltas:
    """Stage: frames (N, T, C) -> (N, T, C (1 + order)): the frames, their deltas, their delta-deltas.

    Kaldi's ``compute-deltas`` (feat/feature-functions.cc, DeltaFeatures). Beyond the first and last frame of an
    utterance the edge frame is repeated. Delta-deltas are one weighted sum over nine frames, not deltas of deltas,
    which differ in the four frames at either end.

    State: ``frames`` (N, 2 K, C) float32, the frames still needed, K = 2 order; ``frame_counts`` (N,) int64, the number
    of valid ones, 0 before the first frame.
    """

    stride = 1

    def __init__(self, dim: int, order: int) -> None:
        """dim: input channels; order: >= 0."""
        self.dim = dim
        self.order = order
        self._scales = delta_scales(order)

    @property
    def lookahead(self) -> int:
        """In frames."""
        return WINDOW * self.order

    def initial_state(self, n: int) -> State:
        return {
            "frames": np.zeros((n, 2 * self.lookahead, self.dim), np.float32),
            "frame_counts": np.zeros(n, np.int64),
        }

    def output_lengths(self, lengths: Array) -> Array:
        return lengths

    def step(self, x: Padded[Array], state: State, *, last: bool) -> tuple[Padded[Array], State]:
        new_state = self.initial_state(len(x.lengths))
        outputs: list[Array] = []
        for row, length in enumerate(x.lengths):
            held = state["frames"][row, : state["frame_counts"][row]]
            frames = self._extend(held, x.data[row, :length], last=last)
            outputs.append(self._differences(frames))
            if not last:
                kept = frames[-2 * self.lookahead :] if self.lookahead else frames[:0]
                new_state["frames"][row, : len(kept)] = kept
                new_state["frame_counts"][row] = len(kept)
        return pad_rows(outputs, self.dim * (1 + self.order)), new_state

    def _extend(self, held: Array, new: Array, *, last: bool) -> Array:
        """Held and new frames, padded with the edge frame before the first and (if ``last``) after the last."""
        frames = np.concatenate([held, new])
        if not len(frames):
            return frames
        before = self.lookahead if not len(held) else 0
        after = self.lookahead if last else 0
        return np.pad(frames, ((before, after), (0, 0)), mode="edge")

    def _differences(self, frames: Array) -> Array:
        """(K + T + K, C) -> (T, C (1 + order))"""
        edge = self.lookahead
        count = max(len(frames) - 2 * edge, 0)
        columns = []
        for scale in self._scales:
            first = edge - len(scale) // 2
            total = np.zeros((count, self.dim), np.float32)
            for offset, weight in enumerate(scale, start=first):
                total += weight * frames[offset : offset + count]
            columns.append(total)
        return np.concatenate(columns, axis=1)


def pad_rows(rows: Sequence[Array], *shape: int) -> Padded[Array]:
    """N arrays (T_n, *shape) -> one batch (N, T, *shape) float32, padded with zeros."""
    lengths = np.array([len(row) for row in rows], np.int64)
    if len(rows) == 1:  # avoids a copy of a stream's chunk
        return Padded(np.asarray(rows[0], np.float32)[np.newaxis], lengths)
    data = np.zeros((len(rows), int(lengths.max(initial=0)), *shape), np.float32)
    for padded, row in zip(data, rows, strict=True):
        padded[: len(row)] = row
    return Padded(data, lengths)


ROWS = 64  # frames in memory at a time
PRODUCT_ROWS = 8  # of every matrix product; see ``KaldiFrames``
EPSILON = np.finfo(np.float32).eps
PREEMPHASIS, LIFTER = np.float32(0.97), 22


class KaldiFrames:
    """Kaldi's fbank and MFCC as a function: samples in, frames out. Stateless.

    Every frame is computed from its own window alone, to the same bits wherever it is: sums run along a row, the
    Fourier transform takes row by row, and matrix products always have ``PRODUCT_ROWS`` rows. With another number a
    library of linear algebra may add in another order; with 12 or more, OpenBLAS on processors with AVX2 even does so
    for rows of one product.
    """

    def __init__(self, settings: FeatureSettings) -> None:
        self._window, self._hop = settings.window_samples, settings.hop_samples
        self._fft = 1 << (self._window - 1).bit_length()
        phase = 2 * np.pi * np.arange(self._window) / max(self._window - 1, 1)
        self._povey = ((0.5 - 0.5 * np.cos(phase)) ** 0.85).astype(np.float32)
        self._mel = mel_filters(settings, self._fft)
        self._cepstra = cepstral_transform(settings) if settings.kind == "mfcc" else None

    def frames(self, samples: Array) -> Array:
        """(S,) float32 at 16-bit scale -> all complete frames (T, C) float32."""
        dim = self._mel.shape[1] if self._cepstra is None else self._cepstra.shape[1]
        if len(samples) < self._window:
            return np.zeros((0, dim), np.float32)
        count = (len(samples) - self._window) // self._hop + 1
        samples = np.ascontiguousarray(samples, np.float32)  # numpy's sliding_window_view takes longer than a frame
        windows = np.ndarray((count, self._window), np.float32, samples, strides=(4 * self._hop, 4))
        y = np.empty((count, dim), np.float32)
        for start in range(0, count, ROWS):
            log_mel = np.log(np.maximum(self._multiply(self._power(windows[start : start + ROWS]), self._mel), EPSILON))
            y[start : start + ROWS] = log_mel if self._cepstra is None else self._multiply(log_mel, self._cepstra)
        return y

    def _power(self, windows: Array) -> Array:
        """(T, W) -> power spectrum (T, F / 2 + 1)."""
        centered = windows - np.add.reduce(windows, axis=1, keepdims=True) / np.float32(self._window)
        padded = np.zeros((len(windows), self._fft), np.float32)
        padded[:, 0] = centered[:, 0] * (1 - PREEMPHASIS)
        np.subtract(centered[:, 1:], PREEMPHASIS * centered[:, :-1], out=padded[:, 1 : self._window])
        padded[:, : self._window] *= self._povey
        spectrum = np.fft.rfft(padded)
        power: Array = spectrum.real**2 + spectrum.imag**2
        return power

    @staticmethod
    def _multiply(x: Array, matrix: Array) -> Array:
        """x (T, C) by a matrix (C, D)."""
        padded = np.zeros((len(x) + -len(x) % PRODUCT_ROWS, x.shape[1]), np.float32)
        padded[: len(x)] = x
        product = padded.reshape(-1, PRODUCT_ROWS, x.shape[1]) @ matrix
        return np.asarray(product.reshape(len(padded), -1)[: len(x)])


def mel_filters(settings: FeatureSettings, fft: int) -> Array:
    """(F / 2 + 1, B) float32: triangles, equally wide on the mel scale; the bin at the Nyquist frequency is in none."""
    low, high = mel_of(settings.low_freq_hz), mel_of(highest_hz(settings))
    width = (high - low) / (settings.num_mel_bins + 1)
    left = low + width * np.arange(settings.num_mel_bins)
    mel = mel_of(np.arange(fft // 2) * settings.sample_rate / fft)[:, None]
    weights = np.maximum(np.minimum(mel - left, left + 2 * width - mel) / width, 0)
    return np.concatenate([weights, np.zeros((1, len(left)))]).astype(np.float32)


def highest_hz(settings: FeatureSettings) -> float:
    """The upper end of the last mel filter."""
    return settings.high_freq_hz if settings.high_freq_hz > 0 else settings.sample_rate / 2 + settings.high_freq_hz


def mel_of(hz: Any) -> Any:
    """Kaldi's mel scale (feat/mel-computations.h)."""
    return 1127.0 * np.log1p(np.asarray(hz) / 700.0)


def cepstral_transform(settings: FeatureSettings) -> Array:
    """(B, K) float32: orthonormal DCT-II, each cepstrum multiplied by 1 + 11 sin(pi k / 22)."""
    bins, number = np.arange(settings.num_mel_bins) + 0.5, np.arange(settings.num_ceps)
    dct = np.sqrt(2 / settings.num_mel_bins) * np.cos(np.pi / settings.num_mel_bins * np.outer(bins, number))
    dct[:, 0] /= np.sqrt(2)
    transform: Array = (dct * (1 + 0.5 * LIFTER * np.sin(np.pi * number / LIFTER))).astype(np.float32)
    return transform


@lru_cache(maxsize=16)
def frames_of(settings: FeatureSettings) -> KaldiFrames:
    return KaldiFrames(settings)


SAMPLE_SCALE = 32768.0  # Kaldi's features are defined for 16-bit integer samples


class FeatureExtractor:
    """Stage: samples (N, S) float32 in [-1, 1] -> features (N, T, C) float32, C = settings.dim.

    Frame j depends only on samples j H to j H + W - 1 (``snip_edges``): the window W and the hop H are the frame length
    and shift in samples, rounded down. Povey window, mean of the window removed, pre-emphasis 0.97 within the window,
    no dither, power spectrum, natural logarithm floored at float32's epsilon, or higher at ``log_floor`` (digital
    silence, 30 below any real one, would otherwise dominate the input of a network), no energy channel
    (``use_energy=false``, as in the mfcc.conf of Kaldi's recipes), cepstral lifter 22. So frames do not depend on how
    the audio is cut. Fewer than W samples give no frame.

    State: ``samples`` (N, W - 1) float32, the samples still needed, and ``sample_counts`` (N,) int64, how many; with
    deltas also the state of ``Deltas``. After ``last`` the state is the initial one.

    Follows kaldi/src/feat/{feature-window,feature-fbank,feature-mfcc}.cc and featbin/compute-deltas.
    """

    def __init__(self, settings: FeatureSettings) -> None:
        """Raises UsageError if there would be samples between the frames."""
        self.settings = settings
        self.window_samples = settings.window_samples
        self.hop_samples = settings.hop_samples
        if not 1 <= self.hop_samples <= self.window_samples:
            raise UsageError(
                f"features.frame_shift_ms={settings.frame_shift_ms:g}: must be at least one sample and at most "
                f"frame_length_ms={settings.frame_length_ms:g}; choose a shorter shift"
            )
        self._static_dim = settings.dim // (1 + settings.delta_order)
        self._frames = frames_of(settings)
        self._deltas = Deltas(self._static_dim, settings.delta_order)

    @property
    def dim(self) -> int:
        """Channels of a frame."""
        return self.settings.dim

    @property
    def stride(self) -> int:
        """Samples from one frame to the next."""
        return self.hop_samples

    @property
    def lookahead(self) -> int:
        """In samples: the rest of the window and the look-ahead of the deltas."""
        return self.window_samples - 1 + self._deltas.lookahead * self.hop_samples

    def initial_state(self, n: int) -> State:
        state: State = {
            "samples": np.zeros((n, self.window_samples - 1), np.float32),
            "sample_counts": np.zeros(n, np.int64),
        }
        return state | (self._deltas.initial_state(n) if self._deltas.order else {})

    def output_lengths(self, lengths: Array) -> Array:
        """Numbers of samples (N,) -> numbers of frames (N,)."""
        whole = (np.asarray(lengths) - self.window_samples) // self.hop_samples + 1
        frames: Array = np.maximum(whole, 0)
        return frames

    def step(self, x: Padded[Array], state: State, *, last: bool) -> tuple[Padded[Array], State]:
        new_state = self.initial_state(len(x.lengths))
        rows: list[Array] = []
        for row, length in enumerate(x.lengths):
            held = state["samples"][row, : state["sample_counts"][row]]
            samples = np.concatenate([held, x.data[row, :length]], dtype=np.float32)
            rows.append(self._static(samples))
            if not last:
                kept = samples[len(rows[-1]) * self.hop_samples :]
                new_state["samples"][row, : len(kept)] = kept
                new_state["sample_counts"][row] = len(kept)
        features = pad_rows(rows, self._static_dim)
        if not self._deltas.order:
            return features, new_state
        features, delta_state = self._deltas.step(features, state, last=last)
        return features, new_state | delta_state

    def compute(self, samples: Array) -> Array:
        """Features of one whole recording: samples (S,) float32 in [-1, 1] -> (T, C) float32."""
        x = Padded(samples[np.newaxis], np.array([len(samples)], np.int64))
        return np.asarray(run_whole(self, x).data[0])

    def _static(self, samples: Array) -> Array:
        """(S,) -> (T, C) without deltas: all complete frames."""
        frames = self._frames.frames(samples * np.float32(SAMPLE_SCALE))
        return frames if self.settings.kind == "mfcc" else np.maximum(frames, np.float32(self.settings.log_floor))


ITERATIONS = 32
_PEAK = 0.9


def to_samples(features: Array, settings: FeatureSettings, iterations: int = ITERATIONS) -> Samples:
    """Frames (T, C) of ``settings``, before normalization -> samples (S,) in [-1, 1], at ``settings.sample_rate``.

    Times are those of the recording. Raises ImportError without librosa, ValueError for frames of another width.
    """
    import librosa

    if features.ndim != 2 or features.shape[1] != settings.dim:
        raise ValueError(f"features have the shape {features.shape}; (frames, {settings.dim})")
    window, hop = settings.window_samples, settings.hop_samples
    fft = 1 << (window - 1).bit_length()
    log_mel = features[:, : settings.dim // (1 + settings.delta_order)].astype(np.float64)
    if settings.kind == "mfcc":
        log_mel = log_mel @ np.linalg.pinv(cepstral_transform(settings).astype(np.float64))
    power = np.maximum(np.exp(log_mel) @ np.linalg.pinv(mel_filters(settings, fft).astype(np.float64)), 0.0)
    if len(power) < 2:
        return np.zeros(len(power) * hop, np.float32)
    phase = 2 * np.pi * np.arange(window) / max(window - 1, 1)
    povey = ((0.5 - 0.5 * np.cos(phase)) ** 0.85).astype(np.float32)
    found = librosa.griffinlim(
        np.sqrt(power.T).astype(np.float32), n_iter=iterations, hop_length=hop, win_length=window, n_fft=fft,
        window=povey, init=None,
    )  # fmt: skip
    samples = np.concatenate([np.zeros(window // 2), _without_preemphasis(found)]) / SAMPLE_SCALE  # frames begin at 0
    loudest = float(np.abs(samples).max(initial=0.0))
    return np.asarray(samples * min(1.0, _PEAK / loudest if loudest else 1.0), np.float32)


def _without_preemphasis(samples: Array) -> Array:
    """y[t] = x[t] + 0.97 y[t - 1], the inverse of the filter before the features. Its reach is cut at 1e-9."""
    impulse = float(PREEMPHASIS) ** np.arange(round(np.log(1e-9) / np.log(float(PREEMPHASIS))))
    size = 1 << (len(samples) + len(impulse) - 1).bit_length()
    filtered: Array = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(impulse, size), size)[: len(samples)]
    return filtered
