"""What the training loop needs from a task. The loop knows neither CTC nor music."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from torch import Tensor, from_numpy, nn

from recitative.nn.ragged import select_rows
from recitative.stage import Padded
from recitative.train.checkpoint import Progress

B = TypeVar("B", bound="Batch")


class Batch:
    """Examples that are computed together: one rank's part of a global batch, which may be empty.

    Subclasses are dataclasses. ``names`` are the ids of the examples, for messages.
    """

    names: tuple[str, ...]
    seconds: float = 0.0  # of audio, without padding
    padded_s: float = 0.0  # with padding
    longest_s: float = 0.0  # of the longest example

    @property
    def rows(self) -> int:
        """Examples that can be computed apart."""
        return len(self.names)

    def split(self: B, parts: int) -> Sequence[B]:
        """The batch in parts of about as many rows, at most one for each row; none of a batch without rows."""
        return [rows_of(self, rows) for rows in np.array_split(np.arange(self.rows), parts) if len(rows)]


def rows_of(batch: B, rows: npt.NDArray[np.integer]) -> B:
    """Some rows of a batch: of every array, tensor, padded tensor and tuple that is a field; other fields stay."""
    changes: dict[str, Any] = {}
    for field in fields(batch):  # type: ignore[arg-type]
        match getattr(batch, field.name):
            case Padded() as padded:
                changes[field.name] = select_rows(padded, from_numpy(rows))
            case Tensor() | np.ndarray() as array:
                changes[field.name] = array[rows]
            case tuple() as values:
                changes[field.name] = tuple(values[row] for row in rows.tolist())
    return replace(batch, **changes)  # type: ignore[type-var]


class Task(ABC):
    """What a network learns: batches in a fixed order, their loss, and scores on a dev set.

    ``model``: what is saved with the weights of the best epoch; ``score_unit``: of the dev score, where it says more
    than a rank.
    """

    network: nn.Module
    model: Any
    score_unit = ""
    loader_processes = 0  # that prepare batches beside this one

    @abstractmethod
    def num_batches(self, epoch: int) -> int:
        """Global batches of this epoch, the same at any time and on any rank."""

    @abstractmethod
    def batches(self, epoch: int, start: int) -> Iterator[Any]:
        """This rank's parts of the epoch's batches from number ``start`` on, wherever the run began."""

    @abstractmethod
    def loss(self, batch: Any) -> tuple[Tensor, int]:
        """The loss summed over the batch, and the count that it is to be divided by."""

    @abstractmethod
    def evaluate(self) -> Mapping[str, float]:
        """Scores on the dev set. ``score`` chooses the best epoch; lower is better.

        Empty without a dev set: each epoch is then taken to be better than the one before.
        """

    def finished_model(self) -> Any:
        """The model to save. The network has the best epoch's weights now, in evaluation mode."""
        return self.model

    def result(self, progress: Progress) -> str:
        """What a user is told of a finished run."""
        score, best = progress.best[0]
        return f"best on dev: epoch {int(best) + 1}" + (f", {score:.4f} {self.score_unit}" if self.score_unit else "")

    def identity(self) -> Mapping[str, object]:
        """What all ranks must have in common, by name, for the message if they don't."""
        return {}

    def environment(self) -> Mapping[str, object]:
        """What ``environment.json`` says of this kind of model."""
        return {}
