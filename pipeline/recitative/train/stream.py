"""Batches prepared ahead by other processes, from any place of any epoch on and over the ends of epochs.

The processes do not stop while the dev set is scored: the first batches of the next epoch are ready when it begins.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from types import FrameType
from typing import Any, Generic, Protocol, TypeVar

import numpy.typing as npt
from torch.utils.data import DataLoader, Dataset

from recitative.config import AudioTaskSettings
from recitative.train.plan import EpochPlan, Share

B = TypeVar("B")
B_co = TypeVar("B_co", covariant=True)

Place = tuple[int, int]  # epoch, number of the batch in it


class TrainingSet(Protocol[B_co]):
    """Utterances that become batches of the kind B."""

    @property
    def settings(self) -> AudioTaskSettings: ...

    def plan(self, epoch: int) -> EpochPlan: ...

    def load(self, epoch: int, numbers: npt.NDArray[Any]) -> B_co:
        """The utterances of these numbers as one batch of an epoch."""
        ...


class BatchStream(Generic[B]):
    """This worker's shares of all batches of a run."""

    def __init__(self, training_set: TrainingSet[B], share: Share) -> None:
        self._training_set = training_set
        self._share = share
        self._batches: Iterator[B] = iter(())
        self._next: Place | None = None  # what ``_batches`` will give

    def from_place(self, epoch: int, start: int) -> Iterator[B]:
        """The batches of one epoch from number ``start`` on."""
        if self._next != (epoch, start):
            self._batches = self._prepare(epoch, start)
        total = len(self._training_set.plan(epoch).batches)
        for number in range(start, total):
            batch = next(self._batches)
            self._next = (epoch, number + 1) if number + 1 < total else (epoch + 1, 0)
            yield batch

    def _prepare(self, epoch: int, start: int) -> Iterator[B]:
        workers = self._training_set.settings.train.workers
        places = _Places(self._training_set, epoch, start)
        shares = _Shares(self._training_set, self._share)
        loader = DataLoader(
            shares, batch_size=None, sampler=places, num_workers=workers, worker_init_fn=_leave_stopping_to_the_run
        )
        return iter(loader)


GRACE_S = 60  # for the step that is being taken and its checkpoint


def _leave_stopping_to_the_run(worker: int) -> None:
    """In a process that prepares batches: a signal to the whole group must not take the run's next batch away."""

    def stop_later(number: int, frame: FrameType | None) -> None:
        signal.alarm(GRACE_S)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop_later)


class _Places:
    """Every batch from a place on to the end of the last epoch."""

    def __init__(self, training_set: TrainingSet[Any], epoch: int, start: int) -> None:
        self._training_set, self._epoch, self._start = training_set, epoch, start

    def __iter__(self) -> Iterator[Place]:
        start = self._start
        for epoch in range(self._epoch, self._training_set.settings.train.epochs):
            for number in range(start, len(self._training_set.plan(epoch).batches)):
                yield epoch, number
            start = 0


class _Shares(Dataset[B]):
    """The batch at a place, for DataLoader's processes."""

    def __init__(self, training_set: TrainingSet[B], share: Share) -> None:
        self._training_set, self._share = training_set, share

    def __getitem__(self, place: Place) -> B:
        epoch, number = place
        return self._training_set.load(epoch, self._share.of(self._training_set.plan(epoch).batches[number]))
