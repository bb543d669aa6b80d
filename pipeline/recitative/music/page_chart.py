"""Bar charts of a page about music: two histograms side by side, as inline SVG in the page's colours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from html import escape

from recitative.music.counterpoint import CHORDS, OTHER
from recitative.music.statistics import Statistics

WIDTH, HEIGHT = 460, 190  # of the viewBox; text is 11 units, so still readable on a phone
LEFT, RIGHT, TOP, BOTTOM = 40, 6, 10, 22
WIDEST = 12  # semitones; wider melodic intervals are counted with these
SHOWN_LENGTHS = 12
_PITCH_CLASSES = ("C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B")
_CHORDS = dict(zip((*CHORDS, OTHER), ("maj", "min", "dim", "aug", "7", "maj7", "min7", "ø7", "o7", OTHER), strict=True))


@dataclass(frozen=True)
class Bars:
    """Counts of the same kinds in two corpora; drawn as shares, since the corpora differ in size."""

    title: str
    labels: Sequence[str]
    first: Sequence[int]
    second: Sequence[int]


def charts(first: Statistics, second: Statistics, names: tuple[str, str]) -> str:
    """A ``<figure>`` for each histogram."""
    shown = (
        _pitch_classes(first, second),
        _intervals(first, second),
        _note_lengths(first, second),
        _sonorities(first, second),
    )
    return "".join(draw(bars, names) for bars in shown)


def draw(bars: Bars, names: tuple[str, str]) -> str:
    """A pair of bars for each label, as high as its share of the corpus."""
    shares = [_shares(bars.first), _shares(bars.second)]
    highest = max(max(values, default=0.0) for values in shares) or 1.0
    slot = (WIDTH - LEFT - RIGHT) / max(1, len(bars.labels))
    parts = [_scale(highest)]
    for n, label in enumerate(bars.labels):
        said = " · ".join(f"{name} {100 * values[n]:.1f} %" for name, values in zip(names, shares, strict=True))
        pair = "".join(
            _bar(LEFT + slot * (n + 0.12), slot * 0.38, k, values[n] / highest) for k, values in enumerate(shares)
        )
        x, y = LEFT + slot * (n + 0.5), HEIGHT - 7
        text = f'<text x="{x:.1f}" y="{y}" text-anchor="middle">{escape(label)}</text>'
        parts.append(f"<g><title>{escape(label)}: {escape(said)}</title>{pair}{text}</g>")
    legend = "".join(f'<span class="key s{k}">{escape(name)}</span>' for k, name in enumerate(names, start=1))
    return (
        f'<figure class="card"><figcaption>{escape(bars.title)}{legend}</figcaption><svg class="bars" '
        f'viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(bars.title)}">{"".join(parts)}</svg></figure>'
    )


def _bar(left: float, width: float, which: int, share: float) -> str:
    height = share * (HEIGHT - TOP - BOTTOM)
    x, y = left + which * width, HEIGHT - BOTTOM - height
    return f'<rect class="s{which + 1}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"/>'


def _scale(highest: float) -> str:
    """The foot, and a line at each of two levels."""
    step = next(size for size in (0.02, 0.05, 0.1, 0.2, 0.5) if size * 2 >= highest * 0.8)
    levels = [n * step for n in range(3) if n * step <= highest]
    parts = []
    for level in levels:
        y = HEIGHT - BOTTOM - level / highest * (HEIGHT - TOP - BOTTOM)
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{100 * level:.0f} %</text>')
    return "".join(parts)


def _shares(counts: Sequence[int]) -> list[float]:
    return [count / (sum(counts) or 1) for count in counts]


def _pitch_classes(first: Statistics, second: Statistics) -> Bars:
    counts = [[one.pitch_classes[n] for n in range(12)] for one in (first, second)]
    return Bars("Pitch classes, by duration", _PITCH_CLASSES, *counts)


def _intervals(first: Statistics, second: Statistics) -> Bars:
    at_most = [Counter[int](), Counter[int]()]
    for counts, one in zip(at_most, (first, second), strict=True):
        for interval, count in one.all_intervals.items():
            counts[max(-WIDEST, min(WIDEST, interval))] += count
    shown = range(-WIDEST, WIDEST + 1)
    labels = [f"{n:+d}".replace("-", "\N{MINUS SIGN}") if n % 2 == 0 and n else "0" if n == 0 else "" for n in shown]
    return Bars("Melodic intervals, semitones", labels, *([counts[n] for n in shown] for counts in at_most))


def _note_lengths(first: Statistics, second: Statistics) -> Bars:
    both = first.note_lengths + second.note_lengths
    shown = sorted(length for length, _ in both.most_common(SHOWN_LENGTHS))
    rest = [one.note_lengths.total() - sum(one.note_lengths[n] for n in shown) for one in (first, second)]
    counts = [[one.note_lengths[n] for n in shown] for one in (first, second)]
    labels = [_length(n) for n in shown]
    if any(rest):
        labels, counts = [*labels, OTHER], [[*values, left] for values, left in zip(counts, rest, strict=True)]
    return Bars("Note lengths, quarters", labels, *counts)


def _length(quarters: Fraction) -> str:
    return f"{float(quarters):.3g}"


def _sonorities(first: Statistics, second: Statistics) -> Bars:
    counts = [[one.sonorities[name] for name in _CHORDS] for one in (first, second)]
    return Bars("Chords, by duration", list(_CHORDS.values()), *counts)
