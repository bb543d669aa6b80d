"""Training batches: audio -> augmentation -> features, planned so that every epoch's order is known beforehand.

Everything random depends on (seed, epoch, utterance) or (seed, epoch) alone: a run can start in any batch of any epoch
and with any number of worker processes, and gets the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from recitative.audio.files import Samples
from recitative.config import Settings
from recitative.ctc.loss import padded_labels
from recitative.data.directory import DataDirectory, Utterance
from recitative.errors import DataError, Problem
from recitative.features.augment import Augmenter, spec_augment
from recitative.features.cmvn import CmvnStats
from recitative.features.frontend import FeatureExtractor
from recitative.features.vtlp import VocalTractWarp
from recitative.recognition.utterances import measure, read_utterance
from recitative.stage import Padded
from recitative.text.lexicon import Spelling
from recitative.text.tokens import required_frames

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Batch:
    """features (N, T, C) float32, labels (N, L) int64, the utterances' ids and their seconds of audio together.

    ``unmasked``: the features before SpecAugment, for a teacher; None where there is none.
    """

    features: Padded[Tensor]
    labels: Padded[Tensor]
    names: tuple[str, ...]
    seconds: float
    unmasked: Padded[Tensor] | None = None


class TrainingSet:
    """The utterances of a data directory with labels, and the plan of every epoch.

    Raises one DataError for all utterances that have no text, what the spelling cannot write, a wrong sample rate, more
    than ``max_duration_s``, or too few frames for their labels even at the fastest speed.
    """

    def __init__(
        self,
        data: DataDirectory,
        settings: Settings,
        spelling: Spelling,
        stride: int,
        cmvn: CmvnStats,
        where: Path,
        *,
        teach: bool = False,
    ) -> None:
        """``teach``: batches carry their features before SpecAugment too, for a teacher to hear."""
        self.settings = settings
        self._teach = teach
        self.utterances = data.utterances
        self.seconds = np.array([measure(u, settings.features.sample_rate) for u in data.utterances])
        self.labels = _labels(self.utterances, spelling, where)
        self._mean = cmvn.mean
        self._augmenter = Augmenter(settings.augment, settings.features.sample_rate)
        self._vocal_tract = VocalTractWarp(settings.features) if settings.augment.vtlp != (1.0, 1.0) else None
        _require_usable(self.utterances, self.seconds, self.labels, settings, stride, where)
        self._samples = self._decode_all() if self._fits_in_memory() else None

    def plan(self, epoch: int) -> list[list[int]]:
        """Batches of utterance numbers for an epoch: alike in length, at most ``batch_s`` with padding, shuffled."""
        rng = np.random.default_rng([self.settings.train.seed, epoch])
        # Lengths are blurred so that neighbours change from epoch to epoch.
        order = np.argsort(self.seconds * rng.uniform(0.85, 1.15, len(self.seconds)), kind="stable")
        batches = _fill(order.tolist(), self.seconds, self.settings.train.batch_s)
        return [batches[i] for i in rng.permutation(len(batches))]

    def _fits_in_memory(self) -> bool:
        bytes_in_all = float(self.seconds.sum()) * self.settings.features.sample_rate * np.dtype(np.float32).itemsize
        return bytes_in_all <= self.settings.train.cache_mb * 1e6

    def _decode_all(self) -> list[Samples]:
        """Once, before the worker processes start: they share it with this one."""
        return [read_utterance(utterance) for utterance in self.utterances]

    def load(self, epoch: int, numbers: Sequence[int]) -> Batch:
        """One batch, augmented for this epoch."""
        extractor = FeatureExtractor(self.settings.features)
        rows, unmasked = [], []
        for number in numbers:
            rng = np.random.default_rng([self.settings.train.seed, epoch, number])
            samples = self._samples[number] if self._samples else read_utterance(self.utterances[number])
            samples = self._augmenter.perturb(samples, rng)
            features = extractor.compute(samples)
            if self._vocal_tract:
                features = self._vocal_tract.warp(features, rng.uniform(*self.settings.augment.vtlp))
            unmasked.append(features)
            rows.append(spec_augment(features, self.settings.augment.spec_augment, rng, self._mean))
        names = tuple(self.utterances[number].utt_id for number in numbers)
        seconds = float(self.seconds[list(numbers)].sum())
        labels = padded_labels([self.labels[n] for n in numbers])
        return Batch(pad_features(rows), labels, names, seconds, pad_features(unmasked) if self._teach else None)


class EpochBatches(Dataset[Batch]):
    """The batches of one epoch by number, for DataLoader's workers."""

    def __init__(self, training_set: TrainingSet, epoch: int) -> None:
        self.training_set = training_set
        self.epoch = epoch
        self.plan = training_set.plan(epoch)

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, number: int) -> Batch:
        return self.training_set.load(self.epoch, self.plan[number])


def iterate(training_set: TrainingSet, epoch: int, start: int, workers: int) -> Iterator[Batch]:
    """The epoch's batches from number ``start`` on, prepared ahead by worker processes."""
    batches = EpochBatches(training_set, epoch)
    order = range(start, len(batches))
    yield from DataLoader(batches, batch_size=None, sampler=order, num_workers=workers)


def pad_features(rows: Sequence[Array]) -> Padded[Tensor]:
    """Features (T, C) of several utterances as a padded batch (N, T, C)."""
    lengths = torch.tensor([len(row) for row in rows], dtype=torch.int64)
    data = torch.zeros(len(rows), int(lengths.max()), rows[0].shape[1])
    for i, row in enumerate(rows):
        data[i, : len(row)] = torch.from_numpy(row)
    return Padded(data, lengths)


def _fill(order: Sequence[int], seconds: Array, batch_s: float) -> list[list[int]]:
    """Cut an order into batches of at most ``batch_s`` seconds, counting each utterance as long as the longest."""
    batches: list[list[int]] = []
    longest = 0.0
    for number in order:
        longest = max(longest, float(seconds[number])) if batches else float(seconds[number])
        if batches and longest * (len(batches[-1]) + 1) <= batch_s:
            batches[-1].append(number)
        else:
            batches.append([number])
            longest = float(seconds[number])
    return batches


def _labels(utterances: Sequence[Utterance], spelling: Spelling, where: Path) -> list[list[int]]:
    problems: list[Problem] = []
    labels: list[list[int]] = []
    for utterance in utterances:
        try:
            if not utterance.text:
                raise DataError(f"{where}/text: '{utterance.utt_id}'", "has no text", "a transcript", "add it")
            labels.append(spelling.encode(utterance.text, utt_id=utterance.utt_id))
        except DataError as error:
            problems.extend(error.problems)
    if problems:
        raise DataError.collect(problems)
    return labels


def _require_usable(
    utterances: Sequence[Utterance],
    seconds: Array,
    labels: Sequence[Sequence[int]],
    settings: Settings,
    stride: int,
    where: Path,
) -> None:
    frame_s = settings.features.frame_shift_ms / 1000 * stride
    problems: list[Problem] = []
    for utterance, duration_s, row in zip(utterances, seconds, labels, strict=True):
        place = f"{where}: utterance '{utterance.utt_id}'"
        if duration_s > settings.train.max_duration_s:
            allowed = f"at most train.max_duration_s={settings.train.max_duration_s:g}"
            problems.append(Problem(place, f"lasts {duration_s:.1f} s", allowed, "split it or raise the limit"))
        # One frame less than the quotient: windows that do not fit are left out at both strides.
        frames = int(duration_s / max(settings.augment.speeds) / frame_s) - 1
        if frames < required_frames(row):
            found = f"{frames} frames at speed {max(settings.augment.speeds):g} for {len(row)} labels"
            allowed = f"at least {required_frames(row)}"
            problems.append(Problem(place, found, allowed, "correct its text or remove it"))
    if problems:
        raise DataError.collect(problems)
