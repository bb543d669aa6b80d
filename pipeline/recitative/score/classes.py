"""Scores of classifiers and detectors: accuracy with its interval, recall, confusions, area under the ROC curve."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from recitative.score.results import Measurement
from recitative.stage import Array

NORMAL_95 = 1.959963984540054  # standard deviations that contain 95 % of a normal distribution


@dataclass(frozen=True)
class Confusions:
    """Confusion matrix. counts (K, K) int64: rows are true labels, columns predicted ones."""

    labels: tuple[str, ...]
    counts: Array

    @classmethod
    def of(cls, labels: Sequence[str], pairs: Iterable[tuple[int, int]]) -> Confusions:
        """Count pairs of (true, predicted) label numbers."""
        counts = np.zeros((len(labels), len(labels)), np.int64)
        for true, given in pairs:
            counts[true, given] += 1
        return cls(tuple(labels), counts)

    @property
    def total(self) -> int:
        return int(self.counts.sum())

    @property
    def correct(self) -> int:
        return int(np.trace(self.counts))

    @property
    def accuracy(self) -> float:
        """Requires at least one recording."""
        return self.correct / self.total

    @property
    def recalls(self) -> dict[str, float]:
        """Label -> share of its recordings that were predicted so, for labels that occur."""
        rows = zip(self.labels, np.diag(self.counts).tolist(), self.counts.sum(axis=1).tolist(), strict=True)
        return {label: correct / total for label, correct, total in rows if total}

    @property
    def precisions(self) -> dict[str, float]:
        """Label -> share of its predictions that are correct, for labels that were predicted."""
        columns = zip(self.labels, np.diag(self.counts).tolist(), self.counts.sum(axis=0).tolist(), strict=True)
        return {label: correct / total for label, correct, total in columns if total}

    @property
    def unweighted_average_recall(self) -> float:
        """The mean of the recalls: rare and common classes have equal weight (Schuller et al. 2009)."""
        return sum(self.recalls.values()) / len(self.recalls)

    def measured(self) -> list[Measurement]:
        """Measurements for a recipe's results, in percent."""
        return [
            Measurement.of_share("accuracy", self.correct, self.total),
            Measurement("% unweighted average recall", round(100 * self.unweighted_average_recall, 4),
                     f"{len(self.recalls)} classes"),
        ]  # fmt: skip

    def table(self) -> str:
        """Confusions and recalls as text: a line for each true label, a column for each predicted one."""
        head = ["true \\ given", *self.labels, "recall"]
        recalls = [f"{self.recalls[label]:.1%}" if label in self.recalls else "-" for label in self.labels]
        columns = zip(self.labels, self.counts.tolist(), recalls, strict=True)
        rows = [head, *([label, *map(str, row), recall] for label, row, recall in columns)]
        first, *others = [max(len(row[column]) for row in rows) for column in range(len(head))]
        return "\n".join(
            "  ".join([row[0].ljust(first), *(cell.rjust(width) for cell, width in zip(row[1:], others, strict=True))])
            for row in rows
        )


def wilson_interval(correct: int, total: int) -> tuple[float, float]:
    """The 95 % confidence interval of a proportion (Wilson 1927); unlike the normal approximation it is within 0 to 1,
    and not empty at either end.

        (p + z^2 / 2n  -+  z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)
    """
    p, z, n = correct / total, NORMAL_95, total
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)


def area_under_curve(normal: Sequence[float], anomalous: Sequence[float]) -> float:
    """AUC: the probability that an anomalous item scores above a normal one, ties counting half (Mann & Whitney 1947).

    Neither may be empty. 1: perfect separation; 0.5: none.
    """
    above = np.subtract.outer(np.asarray(anomalous), np.asarray(normal))
    return float(((above > 0) + 0.5 * (above == 0)).mean())


def area_error(area: float, normal: int, anomalous: int) -> float:
    """The standard error of an area under the curve (Hanley & McNeil 1982), from the numbers of both kinds."""
    both_above = area / (2 - area) - area**2
    both_below = 2 * area**2 / (1 + area) - area**2
    variance = (area * (1 - area) + (anomalous - 1) * both_above + (normal - 1) * both_below) / (normal * anomalous)
    return math.sqrt(max(variance, 0.0))


def area_measured(normal: Sequence[float], anomalous: Sequence[float]) -> Measurement:
    """The measurement for a recipe's results."""
    area = area_under_curve(normal, anomalous)
    half = NORMAL_95 * area_error(area, len(normal), len(anomalous))
    counts = f"{len(anomalous)} anomalous, {len(normal)} normal; 95 %: +- {half:.3f}"
    return Measurement("AUC", round(area, 6), counts)
