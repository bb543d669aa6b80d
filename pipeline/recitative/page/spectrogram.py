"""A recording as a picture: its mel spectrogram with frequencies and times, as inline SVG.

The picture is an 8-bit PNG in the page itself; where a sound is in the same ``<article>``, a click plays from there.
"""

from __future__ import annotations

import io
import math

import numpy as np
import numpy.typing as npt

from recitative.config import FeatureSettings
from recitative.features.frontend import FeatureExtractor
from recitative.page.document import data_uri
from recitative.page.sound import Recording

PIXELS_PER_S = 200
PICTURE_HEIGHT = 140
TIMES_HEIGHT = 18
MEL_BINS = 64  # more would leave some without a frequency at 8 kHz
DYNAMIC_RANGE_DB = 60.0  # what lies further below the loudest point is black
_FREQUENCIES = (500, 1000, 2000, 4000)


def width_of(recording: Recording) -> int:
    """Of its picture, in pixels."""
    return max(PIXELS_PER_S, round(recording.duration_s * PIXELS_PER_S))


def spectrogram(recording: Recording, marks: str = "", top: int = 0) -> str:
    """The picture, ``top`` pixels below the upper edge, with SVG ``marks`` above and over it."""
    width, height = width_of(recording), top + PICTURE_HEIGHT + TIMES_HEIGHT
    levels = mel_spectrogram(recording)
    parts = [
        _image(levels, width, top) if levels.size else "",
        _frequency_labels(recording.sample_rate, top),
        _time_labels(recording.duration_s, width, top),
        marks,
        f'<path class="playhead" d="M0 {top}v{PICTURE_HEIGHT}"/>',
    ]
    return (
        f'<div class="scroll"><svg class="spectrogram" data-seconds="{recording.duration_s:.3f}" width="{width}" '
        f'height="{height}" viewBox="0 0 {width} {height}">{"".join(parts)}</svg></div>'
    )


def _image(levels: npt.NDArray[np.uint8], width: int, top: int) -> str:
    return (
        f'<image href="{data_uri("image/png", encode_png(levels))}" x="0" y="{top}" width="{width}" '
        f'height="{PICTURE_HEIGHT}" preserveAspectRatio="none"/>'
    )


def mel_spectrogram(recording: Recording) -> npt.NDArray[np.uint8]:
    """(MEL_BINS, T), lowest frequency last, 255 = the loudest point, 0 = DYNAMIC_RANGE_DB below it.

    Kaldi's fbank, a column every 10 ms: what the models hear. Empty (MEL_BINS, 0) for less than one window.
    """
    settings = FeatureSettings(sample_rate=recording.sample_rate, num_mel_bins=MEL_BINS)
    log_energy = FeatureExtractor(settings).compute(recording.samples)  # (T, MEL_BINS), natural logarithm
    level_db = 10 * math.log10(math.e) * log_energy.T[::-1]
    relative = np.clip(1 + (level_db - level_db.max(initial=-np.inf)) / DYNAMIC_RANGE_DB, 0, 1)
    return np.asarray(np.round(255 * relative), np.uint8)


def encode_png(levels: npt.NDArray[np.uint8]) -> bytes:
    """Levels as the 'magma' colours, one byte a point."""
    from matplotlib import colormaps
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(levels))
    image.putpalette((colormaps["magma"](np.arange(256))[:, :3] * 255).astype(np.uint8).tobytes())
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _frequency_labels(sample_rate: int, top: int) -> str:
    low, high = _mel(20.0), _mel(sample_rate / 2)
    labels = []
    for hertz in _FREQUENCIES:
        if hertz < 0.48 * sample_rate:
            share = (_mel(hertz) - low) / (high - low)
            y = top + PICTURE_HEIGHT * (1 - share)
            name = f"{hertz // 1000} kHz" if hertz >= 1000 else f"{hertz} Hz"
            labels.append(f'<text class="frequency" x="3" y="{y + 3:.1f}">{name}</text>')
    return "".join(labels)


def _mel(hertz: float) -> float:
    return 1127 * math.log1p(hertz / 700)  # kaldi/src/feat/mel-computations.h


def _time_labels(duration_s: float, width: int, top: int) -> str:
    y = top + PICTURE_HEIGHT + 13
    at = [n / 2 for n in range(int(duration_s * 2) + 1) if n / 2 < duration_s - 0.1]
    return "".join(
        f'<text class="time" x="{t / duration_s * width + 2:.1f}" y="{y}">{t:g} s</text>'
        f'<path class="tick" d="M{t / duration_s * width:.1f} {y - 13}v4"/>'
        for t in at
    )
