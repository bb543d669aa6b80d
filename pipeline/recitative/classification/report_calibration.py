"""The reliability diagram of a classifier (Guo et al. 2017, "On calibration of modern neural networks", figure 1)."""

from __future__ import annotations

import math
from typing import Any

import numpy.typing as npt

from recitative.page.document import percent, table
from recitative.score.calibration import ReliabilityBin, expected_calibration_error, reliability

Array = npt.NDArray[Any]

WIDTH, HEIGHT = 460, 320  # of the viewBox; text is 12 units, so still readable on a phone
LEFT, RIGHT, TOP, FOOT = 46, 22, 12, 238  # the diagram is between TOP and FOOT,
COUNTS_TOP, COUNTS_FOOT = 266, 298  # and how many recordings each bin has between these
BINS = 10
_KEYS = (("s1", "right"), ("mark", "surer than right"), ("s3", "less sure than right"))


def reliability_diagram(confidences: Array, correct: Array) -> str:
    """Accuracy in bins of confidence beside what it should be, and a table of the bins; (N,) and (N,) bool."""
    bins = reliability(confidences, correct, BINS)
    ece = expected_calibration_error(confidences, correct, BINS)
    most = max(one.count for one in bins)
    parts = [_axes(), *(_bin(one, most) for one in bins if one.count), _ideal()]
    keys = "".join(f'<span class="key {css}">{name}</span>' for css, name in _KEYS)
    return (
        f'<figure class="card"><figcaption>Reliability, ECE {ece:.3f}{keys}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="Reliability diagram">{"".join(parts)}</svg>'
        f"</figure>{_table(bins)}"
    )


def _bin(one: ReliabilityBin, most: int) -> str:
    """A bar of its accuracy, with the gap between that and its mean confidence, and a bar of its count below."""
    x, width = _x(one.low) + 1, _x(one.high) - _x(one.low) - 2
    low, high = sorted((one.accuracy, one.mean_confidence))
    gap = "gap over" if one.mean_confidence > one.accuracy else "gap under"
    tall = math.sqrt(one.count / most) * (COUNTS_FOOT - COUNTS_TOP)  # the root: bins of few are seen too
    title = f"confidence {one.mean_confidence:.3f}, right {one.accuracy:.3f}, {one.count} recordings"
    return (
        f"<g><title>{title}</title>{_rect('accuracy', x, _y(low), width, FOOT - _y(low))}"
        f"{_rect(gap, x, _y(high), width, _y(low) - _y(high))}"
        f"{_rect('accuracy', x, COUNTS_FOOT - tall, width, tall)}"
        f'<text x="{x + width / 2:.1f}" y="{COUNTS_FOOT - tall - 3:.1f}" text-anchor="middle">{one.count}</text></g>'
    )


def _axes() -> str:
    parts = []
    for tenth in range(0, 11, 2):
        value = tenth / 10
        parts.append(f'<path class="grid" d="M{LEFT} {_y(value):.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{_y(value) + 4:.1f}" text-anchor="end">{10 * tenth} %</text>')
        parts.append(f'<text x="{_x(value):.1f}" y="{HEIGHT - 6}" text-anchor="middle">{10 * tenth} %</text>')
    parts.append(f'<path class="grid" d="M{LEFT} {COUNTS_FOOT}H{WIDTH - RIGHT}"/>')
    parts.append(f'<text x="{LEFT - 6}" y="{COUNTS_FOOT}" text-anchor="end">count</text>')
    return "".join(parts)


def _ideal() -> str:
    return f'<path class="level" d="M{_x(0):.1f} {_y(0):.1f}L{_x(1):.1f} {_y(1):.1f}"/>'


def _rect(kind: str, x: float, y: float, width: float, height: float) -> str:
    return f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"/>'


def _table(bins: list[ReliabilityBin]) -> str:
    rows = [
        (f"{100 * one.low:.0f} to {100 * one.high:.0f} %", str(one.count), percent(one.mean_confidence),
         percent(one.accuracy), f"{100 * (one.mean_confidence - one.accuracy):+.1f}")
        for one in bins
        if one.count
    ]  # fmt: skip
    head = ("sure", "recordings", "mean confidence", "right", "too sure by")
    return f'<div class="card"><h4>Bins of confidence</h4>{table(head, rows)}</div>'


def _x(value: float) -> float:
    return LEFT + value * (WIDTH - LEFT - RIGHT)


def _y(value: float) -> float:
    return FOOT - value * (FOOT - TOP)
