"""What the training loop asks of a task; the loop knows neither CTC nor music."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor, nn


class Batch(Protocol):
    """Some examples that are computed together: this worker's share of a global batch, which may be nothing."""

    @property
    def names(self) -> Sequence[str]:
        """Ids of the examples, for messages."""
        ...

    @property
    def rows(self) -> int:
        """Examples that can be computed apart."""
        ...

    @property
    def seconds(self) -> float:
        """Seconds of material, padding not counted."""
        ...

    @property
    def padded_s(self) -> float:
        """Seconds of material with the padding."""
        ...

    @property
    def longest_s(self) -> float:
        """Seconds of the longest example."""
        ...


class Task(Protocol):
    """batch -> (loss sum, count); epochs of batches in a fixed order; scores on a dev set."""

    @property
    def network(self) -> nn.Module: ...

    def num_batches(self, epoch: int) -> int:
        """Global batches of this epoch, the same whenever and on whichever worker it is asked."""
        ...

    def batches(self, epoch: int, start: int) -> Iterator[Any]:
        """This worker's shares of the epoch's batches from number ``start`` on: the same ones, wherever a run began."""
        ...

    def split(self, batch: Any, parts: int) -> Sequence[Any]:
        """A batch in about equal parts, at most one for each row; none of a batch without rows."""
        ...

    def loss(self, batch: Any) -> tuple[Tensor, int]:
        """The loss summed over the batch, and what it is to be divided by."""
        ...

    def evaluate(self) -> Mapping[str, float]:
        """Scores on the dev set, with ``score`` the one that chooses models: lower is better.

        Of a task without a dev set nothing: each epoch is then taken to be better than the one before.
        """
        ...
