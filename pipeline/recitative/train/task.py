"""What the training loop asks of a task; the loop knows neither CTC nor music."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor, nn


class Batch(Protocol):
    """Some examples that are computed together."""

    @property
    def names(self) -> Sequence[str]:
        """Ids of the examples, for messages."""
        ...

    @property
    def seconds(self) -> float:
        """Seconds of material, padding not counted."""
        ...


class Task(Protocol):
    """batch -> (loss sum, count); epochs of batches in a fixed order; scores on a dev set."""

    @property
    def network(self) -> nn.Module: ...

    def num_batches(self, epoch: int) -> int:
        """Batches of this epoch, the same whenever it is asked."""
        ...

    def batches(self, epoch: int, start: int) -> Iterator[Any]:
        """The batches of this epoch from number ``start`` on: the same ones, wherever a run began."""
        ...

    def loss(self, batch: Any) -> tuple[Tensor, int]:
        """The loss summed over the batch, and what it is to be divided by."""
        ...

    def evaluate(self) -> Mapping[str, float]:
        """Scores on the dev set, with ``score`` the one that chooses models: lower is better."""
        ...
