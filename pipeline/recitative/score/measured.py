"""What was measured, of any kind of model, as rows of a recipe's results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from recitative.score.results import ResultRow


@dataclass(frozen=True)
class Measured:
    """One number. metric: its unit is in the name, such as 'nats per frame'; counts: what it is made of."""

    metric: str
    value: float
    counts: str = "-"

    @classmethod
    def of_share(cls, metric: str, count: int, of: int) -> Measured:
        """In per cent. Raises ZeroDivisionError for a share of nothing."""
        return cls(f"% {metric}", round(100 * count / of, 4), f"{count} / {of}")


def rows_of(measured: Sequence[Measured], origin: ResultRow) -> list[ResultRow]:
    """All that is not the number itself is taken from ``origin``."""
    return [replace(origin, metric=one.metric, value=one.value, counts=one.counts) for one in measured]
