"""Spectrograms: of a recording with marks at their times, and of a recording with anomalies below their scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recitative.config import FeatureSettings
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
    draw_lines,
    new_figure,
    style,
)
from recitative.stage import Array

HEIGHT = 140
TIMES_HEIGHT = 18  # below it
MARKS_HEIGHT = 34  # two rows of marks above it
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
    """A text above a spectrogram and a line down from it."""

    start_s: float
    text: str
    color: str  # a name of the palette


@style()
def spectrogram(recording: Recording, marks: Sequence[Mark] = ()) -> Playable:
    """The mel spectrogram of a recording with frequencies, times and marks; close marks alternate in two rows."""
    duration_s = recording.duration_s
    top, width = MARKS_HEIGHT if marks else 0, max(UNITS_PER_S, round(duration_s * UNITS_PER_S))
    figure, axes = canvas(width, top + HEIGHT + TIMES_HEIGHT, f"Spectrogram, {duration_s:.1f} seconds")
    foot = top + HEIGHT
    levels = mel_levels(recording)
    if levels.size:
        _draw_levels(axes, levels, (0, width, foot, top))
    low, high = _mel(20.0), _mel(recording.sample_rate / 2)
    for hertz in (hertz for hertz in FREQUENCIES_HZ if hertz < 0.48 * recording.sample_rate):
        y = foot - HEIGHT * (_mel(hertz) - low) / (high - low)
        name = f"{hertz // 1000} kHz" if hertz >= 1000 else f"{hertz} Hz"
        axes.text(4, y, name, size=10, va="center", color=WHITE, bbox={"fc": BLACK, "alpha": 0.4, "lw": 0, "pad": 1})
    times = np.arange(0, duration_s - 0.1, 0.5).tolist() or [0.0]
    draw_lines(axes, [(s / duration_s * width, foot, s / duration_s * width, foot + 4) for s in times], "muted")
    for seconds in times:
        axes.text(seconds / duration_s * width + 2, foot + 14, f"{seconds:g} s")
    last_x, upper = -100.0, False
    for mark in marks:
        x = mark.start_s / duration_s * width
        upper = x - last_x < 10 and not upper
        y = 13 if upper else MARKS_HEIGHT - 5
        axes.plot([x, x], [y + 2, foot], color=WHITE, alpha=0.45, linewidth=1)
        inside = max(x, 4.5 * len(mark.text))  # not over the left edge
        text = axes.text(inside, y, mark.text, ha="center", size=13, weight="bold", color=LIGHT[mark.color])
        add_tooltip(text, f"{mark.start_s:.2f} s")
        last_x = x
    return Playable(figure, [(0.0, duration_s, 0.0, top, width, HEIGHT)])


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
) -> Figure:
    """The anomaly score over time with its threshold and the anomalous segments, above the spectrogram.

    scores: (P, 2), seconds and nats per dimension. segments: start and end in seconds, and score. levels: (C, T),
    highest channel first.
    """
    description = f"{title}: {len(segments)} anomalous segments in {duration_s:.0f} seconds"
    figure = new_figure(900, 340, description)
    curve, image = figure.subplots(2, sharex=True)
    curve.plot(*scores.T, color=LIGHT["series-1"], linewidth=1.4, label="score")
    curve.axhline(threshold, color=LIGHT["muted"], linestyle=DASHES, linewidth=1, label="threshold")
    curve.set(title=title, ylabel="anomaly score\n(nats per dimension)", xlim=(0, duration_s))
    curve.tick_params(axis="x", length=0)
    image.set(xlabel="time (s)", ylabel="mel channel", ylim=(0, len(levels)))
    _draw_levels(image, levels, (0, duration_s, 0, len(levels)))
    image.grid(visible=False)
    for start_s, end_s, score in segments:
        for axes in (curve, image):
            span = axes.axvspan(start_s, end_s, facecolor=LIGHT["series-2"], alpha=0.25, linewidth=0)
            add_tooltip(span, f"{start_s:.1f} to {end_s:.1f} s: {score:.2f}")
    curve.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0)
    return figure


def _mel(hertz: float) -> float:
    return 1127 * math.log1p(hertz / 700)  # kaldi/src/feat/mel-computations.h


def _draw_levels(axes: Axes, levels: npt.NDArray[np.uint8], extent: tuple[float, float, float, float]) -> None:
    x_limits, y_limits = axes.get_xlim(), axes.get_ylim()
    axes.imshow(levels, cmap="magma", vmin=0, vmax=255, aspect="auto", interpolation="none", extent=extent)
    axes.set(xlim=x_limits, ylim=y_limits)
