"""The detection error trade-off as a picture: misses over false alarms, both on the scale of a normal deviate, where a
good detector's curve is a straight line (Martin et al. 1997, "The DET curve in assessment of detection task
performance").

As in NIST's evaluations of spoken term detection there is one trial a second, so that f false alarms per hour are a
probability of f / 3600. SVG that needs nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from statistics import NormalDist

WIDTH, HEIGHT = 560, 440
LEFT, RIGHT, TOP, BOTTOM = 62, 16, 40, 52
TRIALS_PER_HOUR = 3600

MISSES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9)  # ticks
PER_HOUR = (0.1, 0.5, 1, 5, 10, 50, 100, 500)
LOWEST_MISS, HIGHEST_MISS = 0.005, 0.95
LOWEST_PER_HOUR, HIGHEST_PER_HOUR = 0.05, 1000.0

_STYLE = (
    ".det .back{fill:#fff}.det text{fill:#555b64;font:12px system-ui,sans-serif}"
    ".det .title{fill:#1d2025;font-size:14px;font-weight:600}.det .grid{stroke:#e6e8eb;fill:none}"
    ".det .one{stroke:#b4b9c1;fill:none;stroke-width:1}.det .all{stroke:#0072b2;fill:none;stroke-width:2.5}"
    ".det .point{fill:#d55e00}"
    "@media(prefers-color-scheme:dark){.det .back{fill:#1e2125}.det text{fill:#a9afb9}.det .title{fill:#e6e7ea}"
    ".det .grid{stroke:#2f343a}.det .one{stroke:#59606a}.det .all{stroke:#5aa9f0}.det .point{fill:#ff8a3d}}"
)

Point = tuple[float, float]  # false alarms per hour, miss rate 0..1


@dataclass(frozen=True)
class Curve:
    """One keyword, or all: points by rising threshold."""

    name: str
    points: Sequence[Point]


def det_svg(title: str, keywords: Sequence[Curve], together: Curve, chosen: Point | None) -> str:
    """Keywords as thin lines, what they are together as a thick one, and the point at the thresholds in use.

    What lies outside the axes, such as no false alarm at all, is drawn at their ends.
    """
    parts = [
        f"<style>{_STYLE}</style>",
        f'<rect class="back" width="{WIDTH}" height="{HEIGHT}" rx="6"/>',
        f'<text class="title" x="{LEFT}" y="24">{escape(title)}</text>',
        *_grid(),
        *(_line(curve, "one") for curve in keywords),
        _line(together, "all"),
        _dot(chosen) if chosen else "",
        *_legend(bool(keywords), bool(chosen)),
    ]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" class="det" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
    return f'{head} aria-label="{escape(title)}">{"".join(parts)}</svg>\n'


def deviate(probability: float) -> float:
    """The normal deviate below which so much lies; of a probability above 0 and below 1."""
    return NormalDist().inv_cdf(probability)


def _x(per_hour: float) -> float:
    inside = min(max(per_hour, LOWEST_PER_HOUR), HIGHEST_PER_HOUR)
    low, here, high = (deviate(f / TRIALS_PER_HOUR) for f in (LOWEST_PER_HOUR, inside, HIGHEST_PER_HOUR))
    return LEFT + (here - low) / (high - low) * (WIDTH - LEFT - RIGHT)


def _y(miss: float) -> float:
    inside = min(max(miss, LOWEST_MISS), HIGHEST_MISS)
    low, here, high = map(deviate, (LOWEST_MISS, inside, HIGHEST_MISS))
    return HEIGHT - BOTTOM - (here - low) / (high - low) * (HEIGHT - TOP - BOTTOM)


def _grid() -> list[str]:
    foot = HEIGHT - BOTTOM
    parts = [
        f'<path class="grid" d="M{_x(f):.1f} {TOP}V{foot}"/>'
        f'<text x="{_x(f):.1f}" y="{foot + 18}" text-anchor="middle">{f:g}</text>'
        for f in PER_HOUR
    ]
    parts += [
        f'<path class="grid" d="M{LEFT} {_y(miss):.1f}H{WIDTH - RIGHT}"/>'
        f'<text x="{LEFT - 6}" y="{_y(miss) + 4:.1f}" text-anchor="end">{100 * miss:g} %</text>'
        for miss in MISSES
    ]
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle:.0f}" y="{HEIGHT - 12}" text-anchor="middle">false alarms per hour</text>')
    parts.append(f'<text x="{LEFT}" y="{TOP - 4}" text-anchor="end">missed</text>')
    return parts


def _legend(keywords: bool, chosen: bool) -> list[str]:
    """In the corner where only a bad detector's curve would be."""
    left = WIDTH - RIGHT - 190
    line = '<line class="{kind}" x1="{x}" y1="{y}" x2="{end}" y2="{y}"/>'
    dot = '<circle class="{kind}" cx="{middle}" cy="{y}" r="5"/>'
    entries = [(line, "all", "all, at one threshold")]
    if keywords:
        entries.append((line, "one", "each keyword"))
    if chosen:
        entries.append((dot, "point", "all, at the thresholds in use"))
    parts = []
    for row, (mark, kind, text) in enumerate(entries):
        y = TOP + 14 + 18 * row
        parts.append(mark.format(kind=kind, x=left - 26, end=left - 8, middle=left - 17, y=y))
        parts.append(f'<text x="{left}" y="{y + 4}">{text}</text>')
    return parts


def _line(curve: Curve, kind: str) -> str:
    if not curve.points:
        return ""
    path = "L".join(f"{_x(per_hour):.1f} {_y(miss):.1f}" for per_hour, miss in curve.points)
    return f'<path class="{kind}" d="M{path}"><title>{escape(curve.name)}</title></path>'


def _dot(point: Point) -> str:
    per_hour, miss = point
    title = f"at the thresholds: {per_hour:.3g} false alarms per hour, {100 * miss:.3g} % missed"
    return f'<circle class="point" cx="{_x(per_hour):.1f}" cy="{_y(miss):.1f}" r="5"><title>{title}</title></circle>'
