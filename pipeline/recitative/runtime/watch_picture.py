"""The picture of a watched recording: strangeness over time with its limit, above the spectrogram. SVG, or PNG.

A recording of any length is kept as at most ``MOST_COLUMNS`` columns: when there are more, two neighbours become one
with the greater of their values, so that nothing strange gets lost.
"""

from __future__ import annotations

import base64
import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from recitative.atomic import replacing, write_text
from recitative.errors import UsageError
from recitative.features.frontend import FeatureExtractor
from recitative.models.watcher import Watcher
from recitative.runtime.watch import Alarm, Heard
from recitative.stage import Padded

Array = npt.NDArray[Any]

MOST_COLUMNS = 800
WIDTH, LEFT, RIGHT = 900.0, 44.0, 12.0
TOP, CURVE, GAP, IMAGE, BOTTOM = 26.0, 130.0, 10.0, 150.0, 22.0
HEIGHT = TOP + CURVE + GAP + IMAGE + BOTTOM
RANGE_NATS = 14.0  # what lies further below the loudest point is black: 60 dB
_STOPS = ((0, 0, 4), (81, 18, 124), (183, 55, 121), (252, 137, 97), (252, 253, 191))  # dark to bright
_STYLE = (
    ".watch .back{fill:#fff}.watch text{fill:#555b64;font:11px system-ui,sans-serif}"
    ".watch .title{fill:#1d2025;font-size:14px;font-weight:600}.watch .curve{fill:none;stroke:#0072b2;stroke-width:1.4}"
    ".watch .limit{stroke:#69707a;stroke-dasharray:5 4}.watch .alarm{fill:#d55e00;fill-opacity:.25}"
    ".watch .grid{stroke:#e6e8eb}"
    "@media (prefers-color-scheme:dark){.watch .back{fill:#1e2125}.watch text{fill:#a9afb9}.watch .title{fill:#e6e7ea}"
    ".watch .curve{stroke:#5aa9f0}.watch .limit{stroke:#979da7}.watch .alarm{fill:#ff8a3d;fill-opacity:.3}"
    ".watch .grid{stroke:#2f343a}}"
)


class Columns:
    """Rows (C,) as they come -> at most ``most`` columns, each the greatest values of as many rows in turn."""

    def __init__(self, channels: int, most: int = MOST_COLUMNS) -> None:
        """most: an even number."""
        self.rows_each = 1
        self._most = most
        self._full = np.zeros((0, channels))
        self._rest = np.zeros((0, channels))  # less than a column

    def accept(self, rows: Array) -> None:
        """(T, C)."""
        self._rest = np.concatenate([self._rest, rows])
        while len(self._rest) >= self.rows_each:
            taken = min(len(self._rest) // self.rows_each, self._most - len(self._full))
            split = taken * self.rows_each
            columns = self._rest[:split].reshape(taken, self.rows_each, -1).max(axis=1)
            self._full, self._rest = np.concatenate([self._full, columns]), self._rest[split:]
            if len(self._full) == self._most:
                self._full = self._full.reshape(self._most // 2, 2, -1).max(axis=1)
                self.rows_each *= 2

    @property
    def columns(self) -> Array:
        """(columns, C); the last may stand for fewer rows than the others."""
        last = [self._rest.max(axis=0, keepdims=True)] if len(self._rest) else []
        return np.concatenate([self._full, *last])


class Overview:
    """What a picture needs of a recording that is heard piece by piece."""

    def __init__(self, watcher: Watcher) -> None:
        self.watcher = watcher
        self.spectrogram, self.strangeness = Columns(watcher.settings.features.dim), Columns(1)
        self._extractor = FeatureExtractor(watcher.settings.features)
        self._state = self._extractor.initial_state(1)

    def accept(self, heard: Heard) -> None:
        x = Padded(heard.samples[None], np.array([len(heard.samples)]))
        features, self._state = self._extractor.step(x, self._state, last=False)
        self.spectrogram.accept(features.data[0])
        self.strangeness.accept(heard.strangeness[:, None])

    @property
    def points(self) -> Array:
        """(P, 2) of the curve: seconds, at the middle of windows, and strangeness."""
        watcher, values = self.watcher, self.strangeness.columns[:, 0]
        first_s = watcher.settings.watch_samples / watcher.sample_rate / 2
        column_s = self.strangeness.rows_each * watcher.stride / watcher.sample_rate
        places = first_s + (np.arange(len(values)) + 0.5) * column_s - watcher.stride / watcher.sample_rate / 2
        return np.stack([places, values], axis=1)

    @property
    def levels(self) -> npt.NDArray[np.uint8]:
        """(C, columns), the highest channel first, 255 = the loudest point."""
        energies = self.spectrogram.columns.T[::-1]
        relative = np.clip(1 + (energies - energies.max()) / RANGE_NATS, 0, 1)
        return np.asarray(np.round(255 * relative), np.uint8)


@dataclass(frozen=True)
class Picture:
    """A recording that was heard whole."""

    title: str
    overview: Overview
    limit: float
    alarms: Sequence[Alarm]
    duration_s: float

    def write(self, path: Path) -> None:
        """A ``.svg`` or ``.png``; atomic. Raises UsageError as ``require_picture`` and for a PNG without matplotlib."""
        require_picture(path)
        if path.suffix.lower() == ".svg":
            write_text(path, self.to_svg())
        else:
            self._write_png(path)

    def to_svg(self) -> str:
        """One ``<svg>`` that scales and needs nothing else."""
        low, high = self._range()
        parts = [
            f"<style>{_STYLE}</style>",
            f'<rect class="back" width="{WIDTH:g}" height="{HEIGHT:g}" rx="6"/>',
            f'<text class="title" x="{LEFT:g}" y="17">{escape(self.title)}</text>',
            *self._levels_axis(low, high),
            *(self._alarm(alarm) for alarm in self.alarms),
            f'<path class="curve" d="M{"L".join(self._curve(low, high))}"/>',
            f'<path class="limit" d="M{LEFT:g} {_y(self.limit, low, high):.1f}H{WIDTH - RIGHT:g}"/>',
            self._image(),
            *self._times(),
        ]
        said = f"{self.title}: {len(self.alarms)} unusual stretches in {self.duration_s:.0f} seconds"
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="watch" viewBox="0 0 {WIDTH:g} {HEIGHT:g}" '
            f'width="{WIDTH:g}" height="{HEIGHT:g}" role="img" aria-label="{escape(said)}">{"".join(parts)}</svg>\n'
        )

    def _range(self) -> tuple[float, float]:
        """Of the curve's axis: all of the curve, and the limit."""
        values = [*self.overview.points[:, 1].tolist(), self.limit]
        room = 0.05 * (max(values) - min(values)) or 0.5
        return min(values) - room, max(values) + room

    def _x(self, seconds: float) -> float:
        return LEFT + min(seconds / self.duration_s, 1.0) * (WIDTH - LEFT - RIGHT)

    def _curve(self, low: float, high: float) -> list[str]:
        return [f"{self._x(s):.1f} {_y(value, low, high):.1f}" for s, value in self.overview.points.tolist()]

    def _alarm(self, alarm: Alarm) -> str:
        x, end = self._x(alarm.start_s), self._x(alarm.end_s)
        title = f"{alarm.start_s:.1f} to {alarm.end_s:.1f} s: {alarm.strangeness:.2f}"
        height = CURVE + GAP + IMAGE
        return (
            f'<rect class="alarm" x="{x:.1f}" y="{TOP:g}" width="{end - x:.1f}" height="{height:g}">'
            f"<title>{title}</title></rect>"
        )

    def _levels_axis(self, low: float, high: float) -> Iterator[str]:
        for value in ticks(low, high, 4):
            y = _y(value, low, high)
            yield f'<path class="grid" d="M{LEFT:g} {y:.1f}H{WIDTH - RIGHT:g}"/>'
            yield f'<text x="{LEFT - 5:g}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>'

    def _times(self) -> Iterator[str]:
        for seconds in ticks(0.0, self.duration_s, 10):
            yield f'<text x="{self._x(seconds):.1f}" y="{HEIGHT - 7:g}" text-anchor="middle">{seconds:g} s</text>'

    def _image(self) -> str:
        data = base64.b64encode(encode_png(self.overview.levels)).decode()
        return (
            f'<image href="data:image/png;base64,{data}" x="{LEFT:g}" y="{TOP + CURVE + GAP:g}" '
            f'width="{WIDTH - LEFT - RIGHT:g}" height="{IMAGE:g}" preserveAspectRatio="none"/>'
        )

    def _write_png(self, path: Path) -> None:
        """The same two panels by matplotlib."""
        try:
            from matplotlib.figure import Figure
        except ImportError:
            raise UsageError(f"{path}: a PNG needs matplotlib; pip install matplotlib, or choose .svg") from None
        figure = Figure(figsize=(2 * WIDTH / 100, 2 * HEIGHT / 100), dpi=100, layout="constrained")
        curve, image = figure.subplots(2, sharex=True)
        curve.set_title(self.title)
        curve.plot(*self.overview.points.T)
        curve.axhline(self.limit, linestyle="--", color="grey")
        curve.set_ylabel("strangeness, nats per dimension")
        extent = (0, self.duration_s, 0, self.overview.levels.shape[0])
        image.imshow(self.overview.levels, aspect="auto", cmap="magma", extent=extent)
        image.set_xlabel("seconds")
        for alarm in self.alarms:
            for axes in (curve, image):
                axes.axvspan(alarm.start_s, alarm.end_s, color="#d55e00", alpha=0.25)
        with replacing(path) as partial:
            figure.savefig(partial, format="png")


def require_picture(path: Path) -> None:
    """Raises UsageError for a suffix that no picture has."""
    if path.suffix.lower() not in (".svg", ".png"):
        raise UsageError(f"{path}: a picture cannot be '{path.suffix}'; .svg or .png; choose one of them")


def ticks(low: float, high: float, most: int) -> list[float]:
    """At most ``most`` + 1 multiples of 1, 2 or 5 times a power of ten from ``low`` to ``high``."""
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next(power * factor for factor in (1, 2, 5, 10) if (high - low) / (power * factor) <= most)
    return [round(step * n, 9) for n in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def encode_png(levels: npt.NDArray[np.uint8]) -> bytes:
    """(rows, columns) as an 8-bit PNG with a palette from dark to bright (PNG specification, section 11)."""
    places = np.linspace(0, len(_STOPS) - 1, 256)
    palette = [np.interp(places, np.arange(len(_STOPS)), channel) for channel in zip(*_STOPS, strict=True)]
    rows, columns = levels.shape
    lines = np.concatenate([np.zeros((rows, 1), np.uint8), levels], axis=1)  # each begins with its filter: none
    parts = [
        _chunk(b"IHDR", struct.pack(">2I5B", columns, rows, 8, 3, 0, 0, 0)),
        _chunk(b"PLTE", np.round(np.stack(palette, axis=1)).astype(np.uint8).tobytes()),
        _chunk(b"IDAT", zlib.compress(lines.tobytes(), 9)),
        _chunk(b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _y(value: float, low: float, high: float) -> float:
    return TOP + CURVE * (high - value) / (high - low)
