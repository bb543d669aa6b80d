"""How well a score tells two kinds of recordings apart, whatever the limit: the area under the ROC curve."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from recitative.score.classes import NORMAL_95
from recitative.score.measured import Measured


def area_under_curve(usual: Sequence[float], unusual: Sequence[float]) -> float:
    """The chance that an unusual one scores above a usual one, ties counting half (Mann & Whitney 1947).

    Neither may be empty. 1: told apart without fault; 0.5: not at all.
    """
    above = np.subtract.outer(np.asarray(unusual), np.asarray(usual))
    return float(((above > 0) + 0.5 * (above == 0)).mean())


def area_error(area: float, usual: int, unusual: int) -> float:
    """The standard error of an area from so many of each (Hanley & McNeil 1982)."""
    both_above = area / (2 - area) - area**2
    both_below = 2 * area**2 / (1 + area) - area**2
    variance = (area * (1 - area) + (unusual - 1) * both_above + (usual - 1) * both_below) / (usual * unusual)
    return math.sqrt(max(variance, 0.0))


def area_measured(usual: Sequence[float], unusual: Sequence[float]) -> Measured:
    """What goes into a recipe's results."""
    area = area_under_curve(usual, unusual)
    half = NORMAL_95 * area_error(area, len(usual), len(unusual))
    counts = f"{len(unusual)} unusual, {len(usual)} usual; 95 %: +- {half:.3f}"
    return Measured("AUC", round(area, 6), counts)
