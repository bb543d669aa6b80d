"""Features as sound: what is left of a recording in the frames that a network gets. Requires the extra 'music'.

The mel filters are inverted by least squares, and phases are found by the iteration of Griffin and Lim (1984) in
librosa, which needs no torch. The pitch is kept as far as the frames have it.
"""

from __future__ import annotations

import numpy as np

from recitative.audio.samples import Samples
from recitative.config import FeatureSettings
from recitative.features.frontend import PREEMPHASIS, SAMPLE_SCALE, cepstral_transform, mel_filters
from recitative.stage import Array

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
