"""Recordings as batches: the utterances of each batch, processes that prepare batches, and the base of tasks that learn
from recordings: those of recognizers, classifiers and anomaly models.

Everything random depends on (seed, epoch, utterance) or (seed, epoch, batch) alone: a run can start at any batch of any
epoch, with any number of ranks and of processes that prepare batches, and makes the same steps. Each of n ranks takes
every n-th utterance of a batch, and every utterance is used exactly once in an epoch.
"""

from __future__ import annotations

import math
import signal
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from recitative.config import AudioTaskSettings, FeatureSettings
from recitative.data.shards import ShardIndex
from recitative.data.tables import Utterance
from recitative.errors import DataError, counted
from recitative.features.augment import AugmentedFeatures
from recitative.features.extraction import CmvnStats, accumulate, read_utterance
from recitative.features.frontend import FeatureExtractor
from recitative.nn.ragged import pad_features, to_device
from recitative.nn.stages import Chain, Normalize
from recitative.stage import Array, Padded
from recitative.train.distributed import DistributedContext
from recitative.train.task import Batch, Task, rows_of

A = TypeVar("A", bound="AudioBatch")
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
    """The source of a ``BatchLoader``: a sampler, and the utterances that it numbers."""

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


EVALUATION_BATCH = 16  # recordings


@dataclass(frozen=True)
class AudioBatch(Batch):
    """features (N, T, C) float32, the ids of the recordings, seconds from one frame to the next.

    N may be 0: the part of a rank for which a global batch has no utterance.
    """

    features: Padded[Tensor]
    names: tuple[str, ...]
    frame_s: float

    @property
    def seconds(self) -> float:  # type: ignore[override]
        """Seconds of audio, at the speed at which it is played."""
        return float(self.features.lengths.sum()) * self.frame_s

    @property
    def padded_s(self) -> float:  # type: ignore[override]
        return self.rows * self.longest_s

    @property
    def longest_s(self) -> float:  # type: ignore[override]
        return self.features.data.shape[1] * self.frame_s

    def split(self: A, parts: int) -> list[A]:
        """``parts`` batches of about as many rows, alike in length, each no longer than its longest row."""
        order = torch.argsort(self.features.lengths, stable=True)
        return [rows_of(self, rows.numpy()) for rows in order.tensor_split(parts) if len(rows)]


class AudioDataset(Generic[A]):
    """The recordings of a training set, and their batches in every epoch.

    A kind of task says what stands beside the features by a subclass with its own ``example`` and ``collate``.
    """

    def __init__(
        self,
        utterances: Sequence[Utterance],
        seconds: Array,
        settings: AudioTaskSettings,
        mean: Array,
        *,
        planned_s: Array | None = None,
        fastest: Array | None = None,
        longest_s: float = math.inf,
    ) -> None:
        """seconds (N,): of each utterance; mean (C,): what SpecAugment masks with, each channel's mean
        planned_s (N,): seconds that each utterance counts for in a batch, if these are others
        fastest, longest_s: see ``BatchSampler``
        """
        self.settings, self.utterances, self.seconds = settings, utterances, seconds
        self.features = AugmentedFeatures(utterances, seconds, settings, mean)
        shards = utterances.shard_numbers if isinstance(utterances, ShardIndex) else None
        counted_s = seconds if planned_s is None else planned_s
        self.sampler = BatchSampler(counted_s, settings, shards, fastest=fastest, longest_s=longest_s)

    def load(self, epoch: int, numbers: Array) -> A:
        """The utterances of these numbers as one batch of an epoch, augmented for it."""
        seed, speeds = self.settings.train.seed, self.sampler.epoch(epoch).speeds
        examples = [
            self.example(number, speeds, np.random.default_rng([seed, epoch, number])) for number in numbers.tolist()
        ]
        return self.collate(epoch, numbers, examples)

    def example(self, number: int, speeds: Array, rng: np.random.Generator) -> Any:
        """One utterance: features (T, C). speeds (N,): of all utterances in this epoch."""
        return self.features.sample(number, float(speeds[number]), rng)[1]

    def collate(self, epoch: int, numbers: Array, examples: Sequence[Any]) -> A:
        """Examples as a batch."""
        batch: Any = AudioBatch(*self.batched(numbers, examples))
        return batch  # type: ignore[no-any-return]

    def batched(self, numbers: Array, rows: Sequence[Array]) -> tuple[Padded[Tensor], tuple[str, ...], float]:
        """Features (T, C) of utterances as the fields of an ``AudioBatch``."""
        names = tuple(self.utterances[number].utt_id for number in numbers.tolist())
        return pad_features(rows, self.settings.features.dim), names, self.settings.features.frame_shift_ms / 1000


def evaluation_batches(
    utterances: Sequence[Utterance], seconds: Array, settings: AudioTaskSettings
) -> Iterator[tuple[Array, AudioBatch]]:
    """Recordings as they are, the shortest first: their numbers, and the batch."""
    extractor = FeatureExtractor(settings.features)
    order = seconds.argsort(kind="stable")
    for start in range(0, len(order), EVALUATION_BATCH):
        numbers = order[start : start + EVALUATION_BATCH]
        group = [utterances[number] for number in numbers.tolist()]
        features = pad_features([extractor.compute(read_utterance(one)) for one in group], settings.features.dim)
        yield numbers, AudioBatch(features, tuple(u.utt_id for u in group), settings.features.frame_shift_ms / 1000)


class AudioTask(Task, Generic[A]):
    """A task whose batches are those of an ``AudioDataset``."""

    def __init__(
        self,
        network: nn.Module,
        dataset: AudioDataset[A],
        device: torch.device,
        context: DistributedContext = DistributedContext(),
    ) -> None:
        self.network, self.dataset, self.device = network, dataset, device
        self.loader_processes = dataset.settings.train.workers
        self._loader = BatchLoader(dataset, context.rank, context.size)

    def num_batches(self, epoch: int) -> int:
        return len(self.dataset.sampler.epoch(epoch).batches)

    def batches(self, epoch: int, start: int) -> Iterator[A]:
        return self._loader.batches(epoch, start)

    def to_device(self, x: Padded[Tensor]) -> Padded[Tensor]:
        return to_device(x, self.device)


def statistics_of(utterances: Iterable[Utterance], features: FeatureSettings) -> CmvnStats:
    """Sums over the frames of recordings."""
    extractor = FeatureExtractor(features)
    return accumulate((extractor.compute(read_utterance(utterance)) for utterance in utterances), features.dim)


def normalization_of(network: Chain) -> Normalize:
    """The stage that normalizes the features."""
    stage = network.stages["normalize"]
    assert isinstance(stage, Normalize)
    return stage


def set_normalization(network: Chain, stats: CmvnStats, where: str) -> None:
    """Give a network the statistics of its features. Raises DataError, with ``where``, for those of other features."""
    normalize = normalization_of(network)
    if stats.dim != len(normalize.mean):
        allowed = f"{len(normalize.mean)}, as the features of these settings"
        raise DataError(where, f"holds {counted(stats.dim, 'channel')}", allowed, "run 'recitative cmvn' again")
    normalize.mean.copy_(torch.from_numpy(stats.mean))
    normalize.inverse_stddev.copy_(torch.from_numpy(stats.inverse_stddev))
