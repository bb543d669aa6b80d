"""How strange what is usual may be: a limit, learned from usual recordings. NumPy only."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from recitative.reading import checked, parsed_json
from recitative.stage import Array

REMEDY = "learn it again with 'recitative anomaly threshold'"


@dataclass(frozen=True)
class Threshold:
    """A window whose strangeness is above ``limit``, nats per dimension, is unusual.

    usual:        the median of what it was learned from
    false_alarms: the part of the ``windows`` usual ones it was learned from that it calls unusual
    """

    limit: float
    usual: float
    false_alarms: float
    windows: int

    @classmethod
    def learn(cls, rows: Sequence[Array], false_alarms: float) -> Threshold:
        """From the strangeness (T,) of usual recordings, of which at least one has a window.

        The limit is the least value that leaves at most so many above it: 0 takes the strangest of them.
        """
        values = np.sort(np.concatenate(rows))
        limit = values[-1 - int(false_alarms * len(values))]
        return cls(float(limit), float(np.median(values)), false_alarms, len(values))

    def __str__(self) -> str:
        """One line for the user."""
        return (
            f"unusual above {self.limit:.3f}, usually {self.usual:.3f} nats per dimension "
            f"({self.windows} windows, {self.false_alarms:.2%} of them may be above)"
        )

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, text: str, where: str) -> Threshold:
        """What ``to_json`` made. Raises DataError for anything else."""
        wanted = "what 'recitative anomaly threshold' wrote"
        return checked(cls, parsed_json(text, where, wanted), where, wanted, REMEDY)
