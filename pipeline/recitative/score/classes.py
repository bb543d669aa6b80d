"""How often labels are right: accuracy with its interval, recall of each class, confusions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from recitative.score.measured import Measured

Array = npt.NDArray[Any]

NORMAL_95 = 1.959963984540054  # 95 % of a normal distribution lie within so many deviations


@dataclass(frozen=True)
class Confusions:
    """counts (K, K) int64: row the true label, column the one that was given."""

    labels: tuple[str, ...]
    counts: Array

    @classmethod
    def of(cls, labels: Sequence[str], pairs: Iterable[tuple[int, int]]) -> Confusions:
        """Count (true, given) numbers of labels."""
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
        """Of at least one recording."""
        return self.correct / self.total

    @property
    def recalls(self) -> dict[str, float]:
        """Label -> how much of what bears it was given it, for the labels that something bears."""
        rows = zip(self.labels, np.diag(self.counts).tolist(), self.counts.sum(axis=1).tolist(), strict=True)
        return {label: correct / total for label, correct, total in rows if total}

    @property
    def precisions(self) -> dict[str, float]:
        """Label -> how much of what was given it bears it, for the labels that something was given."""
        columns = zip(self.labels, np.diag(self.counts).tolist(), self.counts.sum(axis=0).tolist(), strict=True)
        return {label: correct / total for label, correct, total in columns if total}

    @property
    def unweighted_average_recall(self) -> float:
        """The mean of the recalls: a rare class counts as much as a common one (Schuller et al. 2009)."""
        return sum(self.recalls.values()) / len(self.recalls)

    def measured(self) -> list[Measured]:
        """What goes into a recipe's results, in per cent."""
        return [
            Measured.of_share("accuracy", self.correct, self.total),
            Measured("% unweighted average recall", round(100 * self.unweighted_average_recall, 4),
                     f"{len(self.recalls)} classes"),
        ]  # fmt: skip

    def table(self) -> str:
        """Confusions and recalls as text: a line for each true label, a column for each that was given."""
        head = ["true \\ given", *self.labels, "recall"]
        rows = [
            [label, *map(str, row), self._recall(label)]
            for label, row in zip(self.labels, self.counts.tolist(), strict=True)
        ]
        widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
        return "\n".join(_line(row, widths) for row in [head, *rows])

    def _recall(self, label: str) -> str:
        return f"{self.recalls[label]:.1%}" if label in self.recalls else "-"


def wilson_interval(correct: int, total: int) -> tuple[float, float]:
    """Where a share of correct out of total lies with 95 % confidence (Wilson 1927); within 0 to 1, unlike the normal
    approximation, and not empty at either end.

        (p + z^2 / 2n  -+  z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)
    """
    p, z, n = correct / total, NORMAL_95, total
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = (
        f"{cell:<{width}}" if i == 0 else f"{cell:>{width}}"
        for i, (cell, width) in enumerate(zip(row, widths, strict=True))
    )
    return "  ".join([first, *others])
