"""HTML pages that need no other file: jinja2 templates with one style sheet, one script, sounds and pictures inside."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import soundfile

from recitative.audio.resample import resample
from recitative.config import FeatureSettings
from recitative.features.frontend import FeatureExtractor
from recitative.report import charts
from recitative.report.charts import Mark
from recitative.report.figure import PALETTE, Figure, dark_css, figure_size, to_svg

if TYPE_CHECKING:
    from markupsafe import Markup

MAX_SOUND_S = 60.0  # longer recordings would make the page too large
SOUND_RATE = 16000  # Hz
MEL_CHANNELS = 64  # with more, some have no frequency at 8 kHz
DYNAMIC_RANGE_DB = 60.0  # levels further below the loudest point are black
DASH = "\N{EN DASH}"  # where there is no value
_MP3_RATES = (8000, 16000)


@dataclass(frozen=True)
class Recording:
    samples: npt.NDArray[np.float32]  # (S,)
    sample_rate: int  # Hz

    @property
    def duration_s(self) -> float:
        return len(self.samples) / self.sample_rate


@dataclass(frozen=True)
class Playable:
    """A figure over which a line moves while the sound of its ``<article>`` plays; a click plays from there.

    systems: of each row of the figure the first and last second, then left, top, width and height in its units.
    """

    figure: Figure
    systems: Sequence[tuple[float, float, float, float, float, float]]


def render(template: str, **context: Any) -> str:
    """A page from ``templates/NAME``. Values are escaped; filters and macros: see ``parts.html.j2``."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    def svg(figure: Figure) -> Markup:
        return Markup(to_svg(figure))

    environment = Environment(
        loader=PackageLoader("recitative.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"percent": percent, "duration": duration, "svg": svg, "figure_size": figure_size}
    environment.globals |= {"palette": PALETTE, "dark_css": Markup(dark_css())}
    return environment.get_template(template).render(context) + "\n"


def percent(rate: float, digits: int = 2) -> str:
    """A fraction in per cent; a dash for NaN."""
    return DASH if math.isnan(rate) else f"{100 * rate:.{digits}f}\N{THIN SPACE}%"


def duration(seconds: float) -> str:
    """In seconds, minutes or hours; a dash for NaN."""
    if not math.isfinite(seconds):
        return DASH
    if seconds < 120:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"


def data_uri(mime_type: str, content: bytes) -> str:
    """The content of a file as an address inside the page."""
    return f"data:{mime_type};base64,{base64.b64encode(content).decode()}"


def sound_uri(recording: Recording, encode: Callable[[Recording], bytes], mime_type: str) -> str:
    """The sound as an address inside the page; empty for a recording of more than MAX_SOUND_S."""
    return data_uri(mime_type, encode(recording)) if recording.duration_s <= MAX_SOUND_S else ""


def encode_mp3(recording: Recording) -> bytes:
    """Small, and every browser plays it."""
    samples, sample_rate = recording.samples, recording.sample_rate
    if sample_rate not in _MP3_RATES:
        samples, sample_rate = resample(samples, sample_rate, SOUND_RATE), SOUND_RATE
    buffer = io.BytesIO()
    soundfile.write(
        buffer, samples, sample_rate, format="MP3", subtype="MPEG_LAYER_III", compression_level=0.3,
        bitrate_mode="VARIABLE",
    )  # fmt: skip
    return buffer.getvalue()


def encode_flac(recording: Recording) -> bytes:
    """The exact samples in 16 bits, for sounds whose faults matter."""
    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(recording.samples, -1, 1), recording.sample_rate, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def spectrogram(recording: Recording, marks: Sequence[Mark] = ()) -> Playable:
    """The mel spectrogram of a recording, ``marks`` above it."""
    figure = charts.spectrogram(mel_levels(recording), recording.duration_s, recording.sample_rate, marks)
    width, height = figure_size(figure)
    top = height - charts.TIMES_HEIGHT - charts.SPECTROGRAM_HEIGHT
    return Playable(figure, [(0.0, recording.duration_s, 0.0, top, width, charts.SPECTROGRAM_HEIGHT)])


def mel_levels(recording: Recording) -> npt.NDArray[np.uint8]:
    """(MEL_CHANNELS, T), highest frequency first, 255 = the loudest point, 0 = DYNAMIC_RANGE_DB below it.

    Kaldi's fbank, a column every 10 ms. (MEL_CHANNELS, 0) for less than one window.
    """
    settings = FeatureSettings(sample_rate=recording.sample_rate, num_mel_bins=MEL_CHANNELS)
    log_energy = FeatureExtractor(settings).compute(recording.samples)  # (T, MEL_CHANNELS), natural logarithm
    level_db = 10 * math.log10(math.e) * log_energy.T[::-1]
    relative = np.clip(1 + (level_db - level_db.max(initial=-np.inf)) / DYNAMIC_RANGE_DB, 0, 1)
    return np.asarray(np.round(255 * relative), np.uint8)
