"""Which utterances make which batch, and batches that are prepared ahead by other processes.

The batches of an epoch depend on (seed, epoch) and the lengths of the utterances alone. Any number of ranks, each of
which takes every n-th utterance of a batch, makes the same steps, and every utterance comes exactly once an epoch.
"""

from __future__ import annotations

import math
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from torch.utils.data import DataLoader, Dataset

from recitative.config import AudioTaskSettings
from recitative.stage import Array

B = TypeVar("B")
B_co = TypeVar("B_co", covariant=True)

BatchIndex = tuple[int, int]  # epoch, number of the batch in it

LENGTH_JITTER = 0.05
"""Lengths are taken up to this part longer or shorter when batches are filled, so that neighbors change from epoch to
epoch. It costs about as much padding: 4 to 5 %, against 1 % without and 11 % at 0.15."""

GRACE_S = 60  # for the step that is being taken and its checkpoint


@dataclass(frozen=True)
class EpochBatches:
    """batches: the utterances of each global batch, alike in length; speeds (N,): of each utterance in this epoch."""

    batches: tuple[Array, ...]
    speeds: Array


class BatchSampler:
    """The batches of every epoch.

    A batch has at most ``train.batch_s`` seconds, each utterance counted as long as the longest, speeds included. With
    ``train.shuffle_shards`` utterances are mixed only among so many shards at a time, drawn anew for every epoch. In
    the first ``train.short_first_epochs`` batches rise in length: CTC finds where labels are in short utterances first.
    """

    def __init__(
        self,
        seconds: Array,
        settings: AudioTaskSettings,
        shards: Array | None = None,
        *,
        fastest: Array | None = None,
        longest_s: float = math.inf,
    ) -> None:
        """seconds (N,): of each utterance at its own speed
        shards (N,): which file each utterance is in, where that matters
        fastest (N,): the highest of ``augment.speeds`` that each utterance may be played at
        longest_s: the most seconds of an utterance that are used, where longer ones are cropped
        """
        self._seconds, self._settings, self._shards = seconds, settings, shards
        self._fastest, self._longest_s = fastest, longest_s
        self._epochs: dict[int, EpochBatches] = {}

    def epoch(self, epoch: int) -> EpochBatches:
        """Sampled once. The epoch before is kept too: the next one is prepared while it is still going on."""
        if epoch not in self._epochs:
            kept = {number: batches for number, batches in self._epochs.items() if number == epoch - 1}
            self._epochs = kept | {epoch: self._sample(epoch)}
        return self._epochs[epoch]

    def _sample(self, epoch: int) -> EpochBatches:
        train, speeds = self._settings.train, self._settings.augment.speeds
        count = len(self._seconds)
        rng = np.random.default_rng([train.seed, epoch])
        drawn = np.array(speeds)[rng.integers(len(speeds), size=count)]
        if self._fastest is not None:
            drawn = np.minimum(drawn, self._fastest)
        played_s = np.minimum(self._seconds / drawn, self._longest_s)
        jittered = played_s * rng.uniform(1 - LENGTH_JITTER, 1 + LENGTH_JITTER, count)
        batches: list[Array] = []
        for window in self._windows(rng):
            order = window[np.argsort(jittered[window], kind="stable")]
            filled = list(_fill(order, played_s, train.batch_s))
            in_order = epoch < train.short_first_epochs
            batches += filled if in_order else [filled[i] for i in rng.permutation(len(filled))]
        return EpochBatches(tuple(batches), drawn)

    def _windows(self, rng: np.random.Generator) -> Iterator[Array]:
        """All utterances, in groups that are shuffled."""
        at_once = self._settings.train.shuffle_shards
        if self._shards is None or not at_once:
            yield np.arange(len(self._seconds))
            return
        order = rng.permutation(int(self._shards.max(initial=-1)) + 1)
        for start in range(0, len(order), at_once):
            yield np.flatnonzero(np.isin(self._shards, order[start : start + at_once]))


def _fill(order: Array, seconds: Array, batch_s: float) -> Iterator[Array]:
    """Cut an order into batches of at most ``batch_s`` seconds, counting each utterance as long as the longest."""
    start, longest = 0, 0.0
    for end, duration_s in enumerate(seconds[order].tolist()):
        longest = max(longest, duration_s)
        if end > start and longest * (end + 1 - start) > batch_s:
            yield order[start:end]
            start, longest = end, duration_s
    if len(order):
        yield order[start:]


def rank_shard(numbers: Array, rank: int, size: int) -> Array:
    """A rank's part of a global batch: every ``size``-th utterance. Lengths rise within a batch, so that the parts are
    about equal."""
    return numbers[rank::size]


class BatchDataset(Protocol[B_co]):
    """What ``BatchLoader`` loads from: a sampler, and the utterances that it numbers."""

    @property
    def settings(self) -> AudioTaskSettings: ...

    @property
    def sampler(self) -> BatchSampler: ...

    def load(self, epoch: int, numbers: Array) -> B_co:
        """The utterances of these numbers as one batch of an epoch."""
        ...


class BatchLoader(Generic[B]):
    """One rank's parts of all batches of a run, prepared by ``train.workers`` processes.

    It starts at any batch of any epoch and goes on over the ends of epochs: the processes do not stop while the dev set
    is scored, and the first batches of the next epoch are ready when it begins.
    """

    def __init__(self, dataset: BatchDataset[B], rank: int = 0, size: int = 1) -> None:
        self._dataset, self._rank, self._size = dataset, rank, size
        self._batches: Iterator[B] = iter(())
        self._next: BatchIndex | None = None  # what ``_batches`` will give

    def batches(self, epoch: int, start: int) -> Iterator[B]:
        """The batches of one epoch from number ``start`` on."""
        if self._next != (epoch, start):
            self._batches = self._prepare(epoch, start)
        total = len(self._dataset.sampler.epoch(epoch).batches)
        for number in range(start, total):
            batch = next(self._batches)
            self._next = (epoch, number + 1) if number + 1 < total else (epoch + 1, 0)
            yield batch

    def _prepare(self, epoch: int, start: int) -> Iterator[B]:
        parts = _RankBatches(self._dataset, self._rank, self._size)
        loader = DataLoader(
            parts,
            batch_size=None,
            sampler=_BatchIndices(self._dataset, epoch, start),
            num_workers=self._dataset.settings.train.workers,
            worker_init_fn=_leave_stopping_to_the_run,
        )
        return iter(loader)


class _BatchIndices:
    """Every batch from (epoch, start) on to the end of the last epoch."""

    def __init__(self, dataset: BatchDataset[Any], epoch: int, start: int) -> None:
        self._dataset, self._epoch, self._start = dataset, epoch, start

    def __iter__(self) -> Iterator[BatchIndex]:
        start = self._start
        for epoch in range(self._epoch, self._dataset.settings.train.epochs):
            for number in range(start, len(self._dataset.sampler.epoch(epoch).batches)):
                yield epoch, number
            start = 0


class _RankBatches(Dataset[B]):
    """The batch at an index, in one of the DataLoader's processes."""

    def __init__(self, dataset: BatchDataset[B], rank: int, size: int) -> None:
        self._dataset, self._rank, self._size = dataset, rank, size

    def __getitem__(self, index: BatchIndex) -> B:
        epoch, number = index
        numbers = self._dataset.sampler.epoch(epoch).batches[number]
        return self._dataset.load(epoch, rank_shard(numbers, self._rank, self._size))


def _leave_stopping_to_the_run(worker: int) -> None:
    """In a process that prepares batches: a signal to the whole group must not take the run's next batch away."""

    def stop_later(number: int, frame: FrameType | None) -> None:
        signal.alarm(GRACE_S)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop_later)
