"""Recordings as batches, and the task of learning from them: what recognizers, classifiers and anomaly models share.

Everything random depends on (seed, epoch, utterance) or (seed, epoch, batch) alone: a run can start in any batch of any
epoch and with any number of processes that prepare batches, and gets the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from recitative.config import AudioTaskSettings, FeatureSettings
from recitative.data.shards import ShardIndex
from recitative.data.tables import Utterance
from recitative.errors import DataError
from recitative.features.augment import AugmentedFeatures
from recitative.features.cmvn import CmvnStats, accumulate
from recitative.features.extraction import read_utterance
from recitative.features.frontend import FeatureExtractor
from recitative.nn.normalize import Normalize
from recitative.nn.ragged import pad_features
from recitative.nn.stages import Chain
from recitative.stage import Array, Padded
from recitative.train.distributed import DistributedContext
from recitative.train.sampler import BatchLoader, BatchSampler
from recitative.train.task import Batch, Task, rows_of

A = TypeVar("A", bound="AudioBatch")
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
        """Of audio, at the speed it is played at."""
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
        return Padded(x.data.to(self.device, non_blocking=True), x.lengths.to(self.device, non_blocking=True))


def statistics_of(utterances: Iterable[Utterance], features: FeatureSettings) -> CmvnStats:
    """Sums over the frames of recordings."""
    extractor = FeatureExtractor(features)
    return accumulate((extractor.compute(read_utterance(utterance)) for utterance in utterances), features.dim)


def normalization_of(network: Chain) -> Normalize:
    """The stage that normalizes the features."""
    stage = network.stages["normalise"]
    assert isinstance(stage, Normalize)
    return stage


def set_normalization(network: Chain, stats: CmvnStats, where: str) -> None:
    """Give a network the statistics of its features. Raises DataError, with ``where``, for those of other features."""
    normalize = normalization_of(network)
    if stats.dim != len(normalize.mean):
        allowed = f"{len(normalize.mean)}, as the features of these settings"
        raise DataError(where, f"holds {stats.dim} channels", allowed, "run 'recitative cmvn' again")
    normalize.mean.copy_(torch.from_numpy(stats.mean))
    normalize.inverse_stddev.copy_(torch.from_numpy(stats.inverse_stddev))
