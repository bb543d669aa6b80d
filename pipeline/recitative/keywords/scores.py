"""The scores of keywords in a set, and their files.

keywords.json   for all together and for each keyword: counts at its threshold with 95 % intervals, and its trade-off, a
                pair of false alarms per hour and miss rate for each of ``levels``
det.svg         the trade-offs as curves, and the point at the thresholds
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recitative.atomic import write_text
from recitative.keywords.evaluate import HeardSet
from recitative.report.charts import OperatingPoint, det_curve
from recitative.report.figure import save_figure
from recitative.score.spotting import LEVELS, DetectionCounts


@dataclass(frozen=True)
class SpottingScores:
    """keywords, thresholds, counts: one for each; trade_offs: counts at each of ``LEVELS``."""

    keywords: tuple[str, ...]
    thresholds: tuple[float, ...]
    counts: tuple[DetectionCounts, ...]
    trade_offs: tuple[tuple[DetectionCounts, ...], ...]

    @classmethod
    def of(cls, heard: HeardSet, thresholds: Sequence[float]) -> SpottingScores:
        numbers = range(len(heard.keywords))
        counts = tuple(heard.count(number, threshold) for number, threshold in enumerate(thresholds))
        return cls(heard.keywords, tuple(thresholds), counts, tuple(tuple(heard.trade_off(n)) for n in numbers))

    @property
    def together(self) -> DetectionCounts:
        return DetectionCounts.together(self.counts)

    def write(self, output: Path, title: str) -> None:
        """Both files; atomic."""
        by_level = [DetectionCounts.together(at_level) for at_level in zip(*self.trade_offs, strict=True)]
        rows = zip(self.keywords, self.thresholds, self.counts, self.trade_offs, strict=True)
        scored = {
            "levels": [round(level, 4) for level in LEVELS],
            "all": _as_object(self.together, by_level),
            "keywords": {name: {"threshold": bar} | _as_object(at, levels) for name, bar, at, levels in rows},
        }
        write_text(output / "keywords.json", json.dumps(scored, ensure_ascii=False, indent=1) + "\n")
        curves = {name: _points(at_levels) for name, at_levels in zip(self.keywords, self.trade_offs, strict=True)}
        chosen = (self.together.per_hour, self.together.miss_rate) if self.together.occurrences else None
        save_figure(det_curve(title, curves, _points(by_level), chosen), output / "det.svg")


def _as_object(counts: DetectionCounts, at_levels: Sequence[DetectionCounts]) -> dict[str, Any]:
    points = [[round(per_hour, 4), round(miss, 4)] for per_hour, miss in _points(at_levels)]
    return counts.as_object() | {"trade_off": points}


def _points(at_levels: Sequence[DetectionCounts]) -> list[OperatingPoint]:
    """None for a keyword that is never said."""
    return [(counts.per_hour, counts.miss_rate) for counts in at_levels if counts.occurrences]
