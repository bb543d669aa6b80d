"""HTML pages that need no other file: jinja2 templates with one style sheet, one script, sounds and pictures inside."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile

from recitative.audio.files import resample
from recitative.report.charts import Recording
from recitative.report.figure import PALETTE, Figure, dark_css, figure_size, to_svg

if TYPE_CHECKING:
    from jinja2 import Environment

MAX_SOUND_S = 60.0  # longer recordings would make the page too large
SOUND_RATE = 16000  # Hz
DASH = "\N{EN DASH}"  # where there is no value
_MP3_RATES = (8000, 16000)


@dataclass(frozen=True)
class Cell:
    """A cell of a table that readers sort and filter."""

    text: str
    sort: float | None = None  # a number: to the right, and sorted by it
    share: float | None = None  # 0..1, drawn as a bar
    title: str = ""  # shown while the pointer is on it
    key: str = ""  # of the utterance that it opens
    strong: bool = False

    @property
    def order(self) -> str:
        """``sort`` as JavaScript reads it; '' for NaN, which stands last."""
        if self.sort is None or math.isnan(self.sort):
            return ""
        return f"{self.sort:g}".replace("inf", "Infinity")


def render(template: str, **context: Any) -> str:
    """A page from ``templates/NAME``. Values are escaped; filters and macros: see ``parts.html.j2``."""
    return _environment().get_template(template).render(context) + "\n"


def render_part(macro: str, *arguments: Any) -> str:
    """A part of a page, by a macro of ``parts.html.j2``."""
    return str(getattr(_environment().get_template("parts.html.j2").module, macro)(*arguments))


@cache
def _environment() -> Environment:
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
    return environment


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
