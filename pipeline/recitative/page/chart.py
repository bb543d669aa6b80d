"""Line charts as inline SVG whose colours are the page's CSS variables, so they follow light and dark."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

WIDTH, HEIGHT = 460, 230  # of the viewBox; text is 12 units, so still readable on a phone
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 12, 26
BUCKETS = 200  # most points of a line


@dataclass(frozen=True)
class Scale:
    """An axis: ``forward`` maps values to where they lie, ``ticks`` names the values to write between two others."""

    forward: Callable[[Any], Any]
    ticks: Callable[[float, float], list[float]]


@dataclass(frozen=True)
class Series:
    """A line through (x, y); NaN breaks it. With ``low`` and ``high`` a band is drawn behind it."""

    name: str
    colour: int  # 1 to 3: --series-1 ...
    x: Array  # (P,)
    y: Array  # (P,)
    low: Array | None = None
    high: Array | None = None
    titles: Sequence[str] = ()  # of the points, which are drawn as dots if they have titles


@dataclass(frozen=True)
class Chart:
    title: str
    series: Sequence[Series]
    scale: Scale
    write: Callable[[float], str] = "{:g}".format  # a tick's label
    level: tuple[float, str] | None = None  # a dashed horizontal line and its label
    marks: Sequence[float] = ()  # x of red marks at the foot
    marks_name: str = ""


def summarise(name: str, colour: int, x: Array, y: Array) -> Series:
    """At most BUCKETS points: mean of each stretch, with its lowest and highest value as the band."""
    parts = np.array_split(np.arange(len(x)), min(BUCKETS, len(x))) if len(x) else []
    finite = [(part, values) for part in parts if len(values := y[part][np.isfinite(y[part])])]
    mean, low, high = (np.array([f(values) for _, values in finite]) for f in (np.mean, np.min, np.max))
    return Series(name, colour, np.array([x[part].mean() for part, _ in finite]), mean, low, high)


def draw(chart: Chart) -> str:
    """One ``<figure>`` with the title, a legend and the SVG; a sentence instead if there is nothing to draw."""
    values = _finite(chart)
    if not len(values):
        return f'<figure class="card"><figcaption>{escape(chart.title)}</figcaption>nothing yet</figure>'
    axes = _Axes.around(chart, values)
    parts = [_grid(chart, axes), *(_line(series, axes) for series in chart.series), _marks(chart, axes)]
    if chart.level:
        parts.append(_level(*chart.level, axes))
    svg = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(chart.title)}">{"".join(parts)}</svg>'
    return f'<figure class="card"><figcaption>{escape(chart.title)}{_legend(chart)}</figcaption>{svg}</figure>'


def linear_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About ``count`` multiples of 1, 2 or 5 times a power of ten from ``low`` to ``high``."""
    span = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / count))
    step = next(power * factor for factor in (1, 2, 5, 10) if span / (power * factor) <= count)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [step * n for n in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten; with less than two and a half of them, also 2 and 5 times these."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1, 2, 5) if math.log10(high / low) < 2.5 else (1,)
    ticks = [factor * 10.0**power for power in powers for factor in factors]
    return [tick for tick in ticks if low * 0.999 <= tick <= high * 1.001]


def _percent_ticks(low: float, high: float) -> list[float]:
    ticks = [t for t in (0, 0.5, 1, 2, 5, 10, 20, 40, 60, 80, 100, 150, 200, 400) if low <= t <= high]
    ends_apart: list[float] = []
    for tick in ticks:  # keep those that lie a tenth of the axis above the one below
        if not ends_apart or math.sqrt(tick) - math.sqrt(ends_apart[-1]) > 0.1 * (math.sqrt(high) - math.sqrt(low)):
            ends_apart.append(tick)
    return ends_apart


LINEAR = Scale(lambda value: value, linear_ticks)
LOG = Scale(np.log10, log_ticks)
SQUARE_ROOT = Scale(np.sqrt, _percent_ticks)
"""For error rates in per cent: spreads the small ones, as a logarithm would, and has a place for 0."""


@dataclass(frozen=True)
class _Axes:
    scale: Scale
    x_low: float
    x_high: float
    y_low: float
    y_high: float

    @classmethod
    def around(cls, chart: Chart, values: Array) -> _Axes:
        xs = np.concatenate([series.x for series in chart.series])
        low, high = float(values.min()), float(values.max())
        if chart.scale is not LOG:
            low = min(0.0, low)
        if high <= low:
            low, high = (low / 2, low * 2) if chart.scale is LOG else (low, low + 1.0)
        return cls(chart.scale, float(xs.min()), max(float(xs.max()), float(xs.min()) + 1), low, high)

    def x(self, value: Any) -> Any:
        return LEFT + (value - self.x_low) / (self.x_high - self.x_low) * (WIDTH - LEFT - RIGHT)

    def y(self, value: Any) -> Any:
        low, high = self.scale.forward(self.y_low), self.scale.forward(self.y_high)
        inside = np.maximum(value, self.y_low)  # a zero on a logarithmic axis is drawn at its foot
        return HEIGHT - BOTTOM - (self.scale.forward(inside) - low) / (high - low) * (HEIGHT - TOP - BOTTOM)


def _finite(chart: Chart) -> Array:
    arrays = [a for series in chart.series for a in (series.y, series.low, series.high) if a is not None]
    if chart.level and any(map(len, arrays)):
        arrays.append(np.array([chart.level[0]]))
    values: Array = np.concatenate(arrays)
    drawn: Array = values[np.isfinite(values) & ((values > 0) | (chart.scale is not LOG))]
    return drawn


def _grid(chart: Chart, axes: _Axes) -> str:
    parts = []
    for value in chart.scale.ticks(axes.y_low, axes.y_high):
        y = axes.y(value)
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{escape(chart.write(value))}</text>')
    for value in linear_ticks(axes.x_low, axes.x_high, 6):
        parts.append(f'<text x="{axes.x(value):.1f}" y="{HEIGHT - 7}" text-anchor="middle">{_count(value)}</text>')
    return "".join(parts)


def _line(series: Series, axes: _Axes) -> str:
    band = ""
    if series.low is not None and series.high is not None and len(series.x) > 1:
        there = _points(series.x, series.high, axes)
        back = _points(series.x[::-1], series.low[::-1], axes)
        band = f'<path class="band s{series.colour}" d="M{"L".join([*there, *back])}Z"/>'
    line = "".join(f"M{'L'.join(run)}" for run in _runs(series, axes))
    return f'{band}<path class="line s{series.colour}" d="{line}"/>{_dots(series, axes)}'


def _runs(series: Series, axes: _Axes) -> list[list[str]]:
    """The line's points, cut where a value is not finite."""
    finite = np.isfinite(series.y)
    cuts = np.flatnonzero(np.diff(finite.astype(np.int8))) + 1
    pieces = np.split(np.arange(len(series.y)), cuts)
    return [_points(series.x[piece], series.y[piece], axes) for piece in pieces if len(piece) and finite[piece[0]]]


def _points(x: Array, y: Array, axes: _Axes) -> list[str]:
    return [f"{px:.1f} {py:.1f}" for px, py in zip(axes.x(x), axes.y(y), strict=True)]


def _dots(series: Series, axes: _Axes) -> str:
    dots = (
        f'<circle class="dot s{series.colour}" cx="{axes.x(x):.1f}" cy="{axes.y(y):.1f}" r="2.5">'
        f"<title>{escape(title)}</title></circle>"
        for x, y, title in zip(series.x, series.y, series.titles or [""] * len(series.x), strict=True)
        if title and math.isfinite(y)
    )
    return "".join(dots)


def _marks(chart: Chart, axes: _Axes) -> str:
    foot = HEIGHT - BOTTOM
    return "".join(f'<path class="mark" d="M{axes.x(x):.1f} {foot - 9}V{foot + 3}"/>' for x in chart.marks)


def _level(value: float, label: str, axes: _Axes) -> str:
    y = axes.y(value)
    return (
        f'<path class="level" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>'
        f'<text class="level-text" x="{WIDTH - RIGHT - 2}" y="{y - 4:.1f}" text-anchor="end">{escape(label)}</text>'
    )


def _legend(chart: Chart) -> str:
    names = [(f"s{series.colour}", series.name) for series in chart.series] if len(chart.series) > 1 else []
    names += [("mark", chart.marks_name)] if chart.marks else []
    return "".join(f'<span class="key {css}">{escape(name)}</span>' for css, name in names)


def _count(value: float) -> str:
    return f"{value / 1000:g}k" if abs(value) >= 1000 else f"{value:g}"
