"""The figures of reports: lines over steps, grouped bars, confusion matrices, calibration, DET curves, spectrograms."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
import numpy.typing as npt

from recitative.config import FeatureSettings
from recitative.errors import counted
from recitative.features.frontend import FeatureExtractor
from recitative.report.figure import (
    BLACK,
    DASHES,
    LIGHT,
    WHITE,
    Axes,
    Figure,
    Playable,
    add_tooltip,
    canvas,
    draw_box,
    draw_lines,
    new_figure,
    style,
)  # fmt: skip
from recitative.score.classification import ReliabilityBin
from recitative.stage import Array

WIDTH, HEIGHT = 460, 230  # of most charts; text of 11 units can be read on a phone, too
MAX_POINTS = 200  # of a summarized line
LARGEST = 1e100  # matplotlib cannot scale an axis to the largest floats
TRIALS_PER_HOUR = 3600

PERCENT_TICKS = (0, 0.5, 1, 2, 5, 10, 20, 40, 60, 80, 100, 150, 200, 400)
MISS_TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9)
PER_HOUR_TICKS = (0.1, 0.5, 1, 5, 10, 50, 100, 500)
MISS_LIMITS, PER_HOUR_LIMITS = (0.005, 0.95), (0.05, 1000.0)

OperatingPoint = tuple[float, float]
"""False alarms per hour, miss rate in 0..1."""

_deviate = NormalDist().inv_cdf  # the quantile of the normal distribution, of a probability above 0 and below 1


@dataclass(frozen=True)
class Line:
    """A line through (x, y); NaN breaks it. low, high: a band behind it. tooltips: its points are drawn as dots."""

    name: str
    x: Array  # (P,)
    y: Array  # (P,)
    low: Array | None = None  # (P,)
    high: Array | None = None  # (P,)
    tooltips: Sequence[str] = ()  # of each point


def summarize(name: str, x: Array, y: Array) -> Line:
    """At most MAX_POINTS points: the mean of each stretch, with its lowest and highest value as the band."""
    parts = np.array_split(np.arange(len(x)), min(MAX_POINTS, len(x))) if len(x) else []
    finite = [(part, values) for part in parts if len(values := y[part][np.isfinite(y[part])])]
    mean, low, high = (np.array([f(values) for _, values in finite]) for f in (np.mean, np.min, np.max))
    return Line(name, np.array([x[part].mean() for part, _ in finite]), mean, low, high)


@style()
def line_chart(
    lines: Sequence[Line],
    description: str,
    *,
    scale: Literal["linear", "log", "percent"] = "linear",
    level: tuple[float, str] | None = None,
    marks: Sequence[float] = (),
    marks_name: str = "",
) -> Figure:
    """Lines over training steps.

    scale: of the vertical axis; "percent" spreads small error rates as a logarithm would, and has a place for 0.
    level: a dashed horizontal line and its name. marks: x of red ticks at the foot.
    """
    figure = new_figure(WIDTH, HEIGHT, description)
    axes = figure.subplots()
    drawn = [values for line in lines for values in (line.y, line.low, line.high) if values is not None]
    values = np.concatenate([*drawn, [level[0]] if level and any(map(len, drawn)) else []])
    values = values[np.isfinite(values) & ((values > 0) | (scale != "log"))]
    if not len(values):
        axes.set_axis_off()
        axes.text(0.5, 0.5, "no data yet", ha="center", transform=axes.transAxes)
        return figure
    _set_scale(axes, scale, *np.clip((values.min(), values.max()), -LARGEST, LARGEST).tolist())
    axes.set_xlabel("step")
    axes.xaxis.set_major_formatter(lambda x, _: f"{x / 1000:g}k" if abs(x) >= 1000 else f"{x:g}")
    axes.locator_params(axis="x", nbins=6)
    for number, line in enumerate(lines, start=1):
        _draw_line(axes, line, LIGHT[f"series-{number}"])
    if level:
        axes.axhline(level[0], color=LIGHT["muted"], linestyle=DASHES, linewidth=1, label=level[1])
    if len(marks):
        foot = axes.get_xaxis_transform()
        axes.plot(marks, [0] * len(marks), "|", ms=12, mew=2, color=LIGHT["wrong"], transform=foot, label=marks_name)
    if len(lines) > 1 or level or len(marks):
        figure.legend(loc="outside upper right", ncols=4)
    return figure


def _set_scale(axes: Axes, scale: str, low: float, high: float) -> None:
    from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, NullLocator

    if scale == "log":
        low, high = (low, high) if high > low else (low / 2, low * 2)
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if math.log10(high / low) < 2.5 else (1,)))
        high *= 1.1
    else:
        low = min(0.0, low)
        high = low + 1.04 * (high - low) if high > low else low + 1  # room for dots and wide lines
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    if scale == "percent":
        axes.set_yscale("function", functions=(lambda y: np.sqrt(np.maximum(y, 0)), np.square))
        axes.yaxis.set_major_locator(FixedLocator(_percent_ticks(low, high)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter("{x:g} %" if scale == "percent" else _short_number)
    axes.set_ylim(low, high)


def _percent_ticks(low: float, high: float) -> list[float]:
    """PERCENT_TICKS within the range, at least a tenth of the axis apart."""
    apart: list[float] = []
    for tick in (tick for tick in PERCENT_TICKS if low <= tick <= high):
        if not apart or math.sqrt(tick) - math.sqrt(apart[-1]) > 0.1 * (math.sqrt(high) - math.sqrt(low)):
            apart.append(tick)
    return apart


def _short_number(value: float, _: object) -> str:
    """0.0015 as ``1.5e-3``: short enough for an axis."""
    if value == 0 or 0.01 <= abs(value) < 1e5:
        return f"{value:g}"
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def _draw_line(axes: Axes, line: Line, color: str) -> None:
    y = np.clip(line.y, *axes.get_ylim())  # a zero on a logarithmic axis is drawn at its foot
    axes.plot(line.x, y, color=color, label=line.name)
    if line.low is not None and line.high is not None and len(line.x) > 1:
        axes.fill_between(line.x, line.low, line.high, color=color, alpha=0.18, linewidth=0)
    for at, value, tooltip in zip(line.x, y, line.tooltips, strict=bool(line.tooltips)):
        if math.isfinite(value):
            add_tooltip(axes.plot(at, value, "o", color=color, markersize=4)[0], tooltip)


@style()
def bar_chart(
    labels: Sequence[str], groups: Sequence[tuple[str, Sequence[float]]], description: str, unit: str
) -> Figure:
    """A bar of each group for each label. Values are fractions, shown as a percentage of the ``unit``."""
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    figure = new_figure(WIDTH, 200, description)
    axes = figure.subplots()
    places = np.arange(len(labels))
    width = 0.8 / max(1, len(groups))
    said = [" · ".join(f"{name} {100 * values[n]:.1f} %" for name, values in groups) for n in range(len(labels))]
    for number, (name, values) in enumerate(groups):
        offset = (number - (len(groups) - 1) / 2) * width
        bars = axes.bar(places + offset, values, width, color=LIGHT[f"series-{number + 1}"], label=name)
        for bar, label, text in zip(bars, labels, said, strict=True):
            add_tooltip(bar, f"{label}: {text}")
    axes.set_xticks(places, labels)
    axes.tick_params(axis="x", length=0)
    axes.margins(x=0.01)
    axes.set_ylim(0, max((max(values, default=0) for _, values in groups), default=0) or 1)
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    axes.set_xlabel(unit)
    figure.legend(loc="outside upper right", ncols=len(groups))
    return figure


@style()
def confusion_matrix(
    counts: Array,
    labels: Sequence[str],
    description: str,
    tooltip: Callable[[int, int], str],
    *,
    totals: Sequence[int] | None = None,
    show_right: bool = True,
    margins: tuple[Sequence[str], Sequence[str]] | None = None,
) -> Figure:
    """Counts (K, K): rows are the references, columns what was recognized.

    The shade of a cell is its share of the row's total, of errors the square root, so that single errors can be seen.
    tooltip: of a row and a column. totals: of the rows, if some columns are left out. show_right: numbers on the
    diagonal, too. margins: recall of each row and precision of each column, in per cent.
    """
    totals = totals if totals is not None else counts.sum(axis=1).tolist()
    shown = counts if show_right else counts - np.diag(np.diag(counts))
    cell = max(18, 8 + 6 * len(str(shown.max(initial=0))))  # units; everything below is in cells
    widest = max(map(len, [*labels, "precision, %"] if margins else labels), default=1)
    edge = (14 + (6.2 * widest if widest > 1 else 6)) / cell  # room for the labels
    size, end = len(labels), len(labels) + bool(margins) + 0.1
    figure, axes = canvas(cell * (edge + end), cell * (edge + end), description)
    axes.set(xlim=(-edge, end), ylim=(end, -edge))
    draw_lines(axes, [line for n in range(size + 1) for line in ((n, 0, n, size), (0, n, size, n))], "rule")
    above = {"ha": "center", "va": "bottom", "rotation": 90 if widest > 1 else 0}
    inside = {"ha": "center", "va": "center"}
    for n, label in enumerate(labels):
        axes.text(n + 0.5, -0.25, label, **above)
        axes.text(-0.25, n + 0.5, label, ha="right", va="center")
    if margins:
        axes.text(size + 0.5, -0.25, "recall, %", **above)
        axes.text(-0.25, size + 0.5, "precision, %", ha="right", va="center")
        for n, (recall, precision) in enumerate(zip(*margins, strict=True)):
            axes.text(size + 0.5, n + 0.5, recall, **inside)
            axes.text(n + 0.5, size + 0.5, precision, **inside)
    for row, column in np.argwhere(counts).tolist():
        share = counts[row, column] / totals[row]
        shade = 0.12 + 0.8 * (share if row == column else math.sqrt(share))
        box = draw_box(axes, column, row, 1, 1, "series-1" if row == column else "wrong", shade)
        add_tooltip(box, tooltip(row, column))
        if shown[row, column]:
            ink = LIGHT["card" if shade > 0.6 else "ink"]
            axes.text(column + 0.5, row + 0.5, shown[row, column], size=10, color=ink, **inside)
    return figure


@style()
def reliability_diagram(bins: Sequence[ReliabilityBin], description: str) -> Figure:
    """Accuracy in bins of confidence, its gap to the mean confidence, and the number of recordings in each bin.

    Source: Guo et al. 2017, "On calibration of modern neural networks", figure 1.
    """
    from matplotlib.ticker import PercentFormatter

    figure = new_figure(WIDTH, 330, description)
    axes, below = figure.subplots(2, sharex=True, height_ratios=(5, 1))
    axes.plot([0, 1], [0, 1], color=LIGHT["muted"], linestyle=DASHES, linewidth=1, zorder=3)
    colors = {"correct": "series-1", "overconfident": "wrong", "underconfident": "series-3"}
    for one in (one for one in bins if one.count):
        low, high = sorted((one.accuracy, one.mean_confidence))
        gap = LIGHT[colors["overconfident" if one.mean_confidence > one.accuracy else "underconfident"]]
        middle, width, blue = (one.low + one.high) / 2, one.high - one.low - 0.006, (LIGHT["series-1"], 0.75)
        height = math.sqrt(one.count)  # so that bins of few recordings can be seen
        parts = [
            axes.bar(middle, low, width, color=blue), below.bar(middle, height, width, color=blue),
            axes.bar(middle, high - low, width, low, color=(gap, 0.35), edgecolor=gap),
        ]  # fmt: skip
        said = (
            f"mean confidence {one.mean_confidence:.3f}, accuracy {one.accuracy:.3f}, {counted(one.count, 'recording')}"
        )
        for (bar,) in parts:
            add_tooltip(bar, said)
        below.annotate(str(one.count), (middle, height), (0, 2), textcoords="offset points", ha="center")
    for name, color in colors.items():
        axes.fill([], [], facecolor=(LIGHT[color], 0.75 if name == "correct" else 0.35), label=name)
    axes.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy")
    below.set(xlabel="confidence", ylabel="count", yticks=[], ylim=(0, None))
    below.margins(y=0.4)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    axes.tick_params(axis="x", length=0)
    figure.legend(loc="outside upper right", ncols=3)
    return figure


@style()
def det_curve(
    title: str,
    keywords: Mapping[str, Sequence[OperatingPoint]],
    together: Sequence[OperatingPoint],
    chosen: OperatingPoint | None,
) -> Figure:
    """The detection error trade-off: misses over false alarms per hour, on normal deviate scales.

    keywords: a thin line each. together: a thick line, all keywords at one threshold. chosen: the point at the
    thresholds in use. Points outside the axes, such as no false alarm at all, are drawn at their ends. As in NIST's
    evaluations there is one trial a second. Source: Martin et al. 1997, "The DET curve in assessment of detection task
    performance": a good detector's curve is a straight line.
    """
    figure = new_figure(560, 440, title)
    axes = figure.subplots()
    for name, points in keywords.items():
        if points:
            line = axes.plot(*_deviates(points), color=LIGHT["strong-rule"], linewidth=1)[0]
            add_tooltip(line, name)
    if together:
        axes.plot(*_deviates(together), color=LIGHT["series-1"], linewidth=2.5, label="all, one threshold")
    if keywords:
        axes.plot([], [], color=LIGHT["strong-rule"], linewidth=1, label="each keyword")
    if chosen:
        said = f"{counted(f'{chosen[0]:.3g}', 'false alarm')} per hour, {100 * chosen[1]:.3g} % missed"
        dot = axes.plot(
            *_deviates([chosen]), "o", color=LIGHT["series-2"], markersize=9, label="all, thresholds in use"
        )
        add_tooltip(dot[0], said)
    axes.set_xticks([_deviate(f / TRIALS_PER_HOUR) for f in PER_HOUR_TICKS], [f"{f:g}" for f in PER_HOUR_TICKS])
    axes.set_yticks([_deviate(miss) for miss in MISS_TICKS], [f"{100 * miss:g} %" for miss in MISS_TICKS])
    axes.set_xlim(*(_deviate(f / TRIALS_PER_HOUR) for f in PER_HOUR_LIMITS))
    axes.set_ylim(*map(_deviate, MISS_LIMITS))
    axes.grid(axis="both")
    axes.set(title=title, xlabel="false alarms per hour", ylabel="missed")
    axes.legend(loc="upper right")  # only a bad detector's curve would lie there
    return figure


def _deviates(points: Sequence[OperatingPoint]) -> tuple[list[float], list[float]]:
    x = [_deviate(float(np.clip(per_hour, *PER_HOUR_LIMITS)) / TRIALS_PER_HOUR) for per_hour, _ in points]
    return x, [_deviate(float(np.clip(miss, *MISS_LIMITS))) for _, miss in points]


# Spectrograms

SPECTROGRAM_HEIGHT = 140
TIMES_HEIGHT = 18  # below it
MARKS_HEIGHT = 34  # two rows of marks above it
TRACK_HEIGHT = 20  # of a row of words
TOKEN_HEIGHT = 13  # of a token's probabilities
UNITS_PER_S = 200
FREQUENCIES_HZ = (500, 1000, 2000, 4000)
MEL_CHANNELS = 64  # with more, some have no frequency at 8 kHz
DYNAMIC_RANGE_DB = 60.0  # levels further below the loudest point are black


@dataclass(frozen=True)
class Recording:
    samples: npt.NDArray[np.float32]  # (S,)
    sample_rate: int  # Hz

    @property
    def duration_s(self) -> float:
        return len(self.samples) / self.sample_rate


@dataclass(frozen=True)
class Mark:
    """A text above a spectrogram, with a line down from it."""

    start_s: float
    text: str
    color: str  # a name of the palette


@dataclass(frozen=True)
class Span:
    start_s: float
    end_s: float
    text: str
    color: str = "ink"  # a name of the palette


@dataclass(frozen=True)
class Track:
    """A row of words at their times."""

    name: str
    spans: Sequence[Span]


@dataclass(frozen=True)
class Posteriors:
    """The probability of each token over time. labels: of R tokens; probabilities: (R, T), 0..1."""

    labels: Sequence[str]
    probabilities: Array
    frame_s: float


@style()
def spectrogram(recording: Recording, marks: Sequence[Mark] = (), below: Sequence[Track | Posteriors] = ()) -> Playable:
    """The mel spectrogram of a recording with frequencies, times and marks; close marks alternate in two rows.

    below: words and probabilities at the same times
    """
    duration_s = recording.duration_s
    widest = WIDTH / max(duration_s, 1e-9)  # a second of a short recording has more room
    top, width = MARKS_HEIGHT if marks else 0, max(UNITS_PER_S, round(duration_s * min(max(widest, UNITS_PER_S), 400)))
    foot = top + SPECTROGRAM_HEIGHT
    height = foot + TIMES_HEIGHT + sum(map(_row_height, below))
    figure, axes = canvas(width, height, f"Spectrogram, {duration_s:.1f} seconds")
    levels = mel_levels(recording)
    if levels.size:
        draw_levels(axes, levels, (0, width, foot, top))
    low, high = _mel(20.0), _mel(recording.sample_rate / 2)
    for hertz in (hertz for hertz in FREQUENCIES_HZ if hertz < 0.48 * recording.sample_rate):
        y = foot - SPECTROGRAM_HEIGHT * (_mel(hertz) - low) / (high - low)
        _draw_name(axes, y, f"{hertz // 1000} kHz" if hertz >= 1000 else f"{hertz} Hz")
    times = np.arange(0, duration_s - 0.1, 0.5).tolist() or [0.0]
    draw_lines(axes, [(s / duration_s * width, foot, s / duration_s * width, foot + 4) for s in times], "muted")
    for seconds in times:
        axes.text(seconds / duration_s * width + 2, foot + 14, f"{seconds:g} s")
    _draw_marks(axes, marks, width / duration_s, foot)
    y = foot + TIMES_HEIGHT
    for row in below:
        if isinstance(row, Track):
            _draw_track(axes, row, y, width / duration_s)
        else:
            _draw_posteriors(axes, row, y, width / duration_s)
        y += _row_height(row)
    return Playable(figure, [(0.0, duration_s, 0.0, top, width, height - top if below else SPECTROGRAM_HEIGHT)])


def _draw_marks(axes: Axes, marks: Sequence[Mark], per_s: float, foot: float) -> None:
    last_x, upper = -100.0, False
    for mark in marks:
        x = mark.start_s * per_s
        upper = x - last_x < 10 and not upper
        y = 13 if upper else MARKS_HEIGHT - 5
        axes.plot([x, x], [y + 2, foot], color=WHITE, alpha=0.45, linewidth=1)
        inside = max(x, 4.5 * len(mark.text))  # not over the left edge
        text = axes.text(inside, y, mark.text, ha="center", size=13, weight="bold", color=LIGHT[mark.color])
        add_tooltip(text, f"{mark.start_s:.2f} s")
        last_x = x


def _row_height(row: Track | Posteriors) -> float:
    return TRACK_HEIGHT if isinstance(row, Track) else len(row.labels) * TOKEN_HEIGHT + 6


def _draw_name(axes: Axes, y: float, name: str) -> None:
    axes.text(4, y, name, size=10, va="center", color=WHITE, bbox={"fc": BLACK, "alpha": 0.4, "lw": 0, "pad": 1})


def _draw_track(axes: Axes, track: Track, top: float, per_s: float) -> None:
    y = top + TRACK_HEIGHT / 2
    for span in track.spans:
        x, width = span.start_s * per_s, max(2, (span.end_s - span.start_s) * per_s)
        back = "rule" if span.color == "ink" else f"{span.color}-back"
        box = draw_box(axes, x, top + 1, width, TRACK_HEIGHT - 3, back)
        add_tooltip(box, f"{track.name}: {span.text}, {span.start_s:.2f} to {span.end_s:.2f} s")
        axes.text(x + 2, y, span.text, size=11, va="center", color=LIGHT[span.color])
    if not track.spans or track.spans[0].start_s * per_s > 7 * len(track.name) + 8:
        axes.text(4, y, track.name, size=10, va="center")


def _draw_posteriors(axes: Axes, row: Posteriors, top: float, per_s: float) -> None:
    count, frames = row.probabilities.shape
    foot = top + count * TOKEN_HEIGHT
    if row.probabilities.size:
        shades = np.sqrt(row.probabilities)  # so that small ones can be seen
        levels = np.asarray(np.round(255 * shades), np.uint8).repeat(4, 0).repeat(4, 1)  # a browser would blur cells
        draw_levels(axes, levels, (0, frames * row.frame_s * per_s, foot, top))
    for number, label in enumerate(row.labels):
        _draw_name(axes, top + (number + 0.5) * TOKEN_HEIGHT, label)


def mel_levels(recording: Recording) -> npt.NDArray[np.uint8]:
    """(MEL_CHANNELS, T), highest frequency first, 255 = the loudest point, 0 = DYNAMIC_RANGE_DB below it.

    Kaldi's fbank, a column every 10 ms. (MEL_CHANNELS, 0) for less than one window.
    """
    settings = FeatureSettings(sample_rate=recording.sample_rate, num_mel_bins=MEL_CHANNELS)
    log_energy = FeatureExtractor(settings).compute(recording.samples)  # (T, MEL_CHANNELS), natural logarithm
    level_db = 10 * math.log10(math.e) * log_energy.T[::-1]
    relative = np.clip(1 + (level_db - level_db.max(initial=-np.inf)) / DYNAMIC_RANGE_DB, 0, 1)
    return np.asarray(np.round(255 * relative), np.uint8)


@style()
def anomaly_figure(
    title: str,
    scores: Array,
    threshold: float,
    segments: Sequence[tuple[float, float, float]],
    levels: npt.NDArray[np.uint8],
    duration_s: float,
    onsets: Array | None = None,
) -> Figure:
    """The anomaly score over time with its threshold and the anomalous segments, above the spectrogram.

    scores: (P, 2), seconds and nats per dimension. segments: start and end in seconds, and score. levels: (C, T),
    highest channel first. onsets: (T,) onset strength in dB, None = not shown
    """
    description = f"{title}: {counted(len(segments), 'anomalous segment')} in {counted(f'{duration_s:.0f}', 'second')}"
    figure = new_figure(900, 340 if onsets is None else 440, description)
    curve, *others, image = figure.subplots(2 if onsets is None else 3, sharex=True)
    times = np.linspace(0, duration_s, 0 if onsets is None else len(onsets))
    curve.plot(*scores.T, color=LIGHT["series-1"], linewidth=1.4, label="score")
    curve.axhline(threshold, color=LIGHT["muted"], linestyle=DASHES, linewidth=1, label="threshold")
    curve.set(title=title, ylabel="anomaly score\n(nats per dimension)", xlim=(0, duration_s))
    curve.tick_params(axis="x", length=0)
    for axes in others:
        axes.plot(times, onsets, color=LIGHT["series-3"], linewidth=1)
        axes.set(ylabel="onset strength\n(dB)", ylim=(0, None))
        axes.tick_params(axis="x", length=0)
    image.set(xlabel="time (s)", ylabel="mel channel", ylim=(0, len(levels)))
    draw_levels(image, levels, (0, duration_s, 0, len(levels)))
    image.grid(visible=False)
    for start_s, end_s, score in segments:
        for axes in (curve, *others, image):
            span = axes.axvspan(start_s, end_s, facecolor=LIGHT["series-2"], alpha=0.25, linewidth=0)
            add_tooltip(span, f"{start_s:.1f} to {end_s:.1f} s: {score:.2f}")
    curve.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0)
    return figure


def _mel(hertz: float) -> float:
    return 1127 * math.log1p(hertz / 700)  # kaldi/src/feat/mel-computations.h


def draw_levels(axes: Axes, levels: npt.NDArray[np.uint8], extent: tuple[float, float, float, float]) -> None:
    x_limits, y_limits = axes.get_xlim(), axes.get_ylim()
    axes.imshow(levels, cmap="magma", vmin=0, vmax=255, aspect="auto", interpolation="none", extent=extent)
    axes.set(xlim=x_limits, ylim=y_limits)
