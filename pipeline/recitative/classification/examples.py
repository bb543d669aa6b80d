"""Recordings with their labels as batches: training's, augmented and mixed, and those that score a model.

Everything random depends on (seed, epoch, utterance) or (seed, epoch, batch) alone: a run can start in any batch of any
epoch and with any number of processes that prepare batches, and gets the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from recitative.classification.labels import label_numbers
from recitative.classification.mixup import draw_pairs, mix
from recitative.classification.usable import require_usable
from recitative.data.directory import DataDirectory
from recitative.data.frames import least_samples, num_output_frames
from recitative.data.shards.index import ShardIndex
from recitative.data.utterance import Utterance
from recitative.errors import UsageError
from recitative.features.augmented import AugmentedFeatures
from recitative.features.frontend import FeatureExtractor
from recitative.features.utterances import measure_all, read_utterance
from recitative.models.classifier import Classifier
from recitative.models.classifier_settings import ClassifierSettings
from recitative.nn.ragged import pad_features, select_rows
from recitative.stage import Padded
from recitative.train.batch import AudioBatch
from recitative.train.plan import EpochPlan, EpochPlans

Array = npt.NDArray[Any]

SCORED_TOGETHER = 16
MIXED = 1  # sets the random numbers of a batch apart from those of its utterances


@dataclass(frozen=True)
class Batch(AudioBatch):
    """features (N, T, C) float32, labels (N,) int64, the utterances' ids, seconds from one frame to the next.

    Where recordings are mixed, a row is ``shares`` (N,) float32 of its own and the rest of one with the label
    ``others`` (N,).
    """

    features: Padded[Tensor]
    labels: Tensor
    others: Tensor
    shares: Tensor
    names: tuple[str, ...]
    frame_s: float

    def split(self, parts: int) -> list[Batch]:
        """``parts`` batches of about as many rows, alike in length, each no longer than its longest row."""
        by_length = torch.argsort(self.features.lengths, stable=True)
        return [self._rows(rows) for rows in by_length.tensor_split(parts) if len(rows)]

    def _rows(self, rows: Tensor) -> Batch:
        names = tuple(self.names[row] for row in rows.tolist())
        labels, others, shares = self.labels[rows], self.others[rows], self.shares[rows]
        return Batch(select_rows(self.features, rows), labels, others, shares, names, self.frame_s)


class TrainingSet:
    """The recordings of a data directory, or of shards, with the labels of ``settings.labels``; the plan of each epoch.

    Raises one DataError for all recordings of a wrong sample rate, shorter than one frame of the network at the fastest
    speed, or longer than ``max_duration_s``; UsageError for a ``piece_s`` that is too short; and what ``label_numbers``
    and ``AugmentedFeatures`` raise.
    """

    def __init__(self, data: DataDirectory, settings: ClassifierSettings, mean: Array, where: Path) -> None:
        """mean (C,): what SpecAugment masks with, each channel's mean."""
        self.settings = settings
        self.utterances = data.utterances
        self.labels = label_numbers(self.utterances, settings.labels, where, "correct it")
        self.seconds = measure_all(data.utterances, settings.features.sample_rate)
        speed, most_s = max(settings.augment.speeds), settings.train.max_duration_s
        require_usable(self.utterances, self.seconds, settings, where, speed=speed, most_s=most_s)
        self._heard = AugmentedFeatures(self.utterances, self.seconds, settings, mean)
        shards = self.utterances.shard_numbers if isinstance(self.utterances, ShardIndex) else None
        # What other recordings put before one is drawn later, and counted here by its mean.
        planned_s = self.seconds + settings.context_s / 2
        self._plans = EpochPlans(planned_s, settings, shards, longest_s=settings.piece_s or math.inf)
        self._longest = _longest_piece(settings)
        self._most_before = round(settings.context_s * 1000 / settings.features.frame_shift_ms)

    def plan(self, epoch: int) -> EpochPlan:
        return self._plans.of(epoch)

    def load(self, epoch: int, numbers: Array) -> Batch:
        """Recordings of one batch of an epoch, at least one, augmented for it and mixed with each other."""
        seed, speeds = self.settings.train.seed, self.plan(epoch).speeds
        rows = [self._row(number, speeds, np.random.default_rng([seed, epoch, number])) for number in numbers.tolist()]
        rng = np.random.default_rng([seed, epoch, int(numbers[0]), MIXED])
        pairs = draw_pairs(len(rows), self.settings.mixup.alpha, rng)
        labels = self.labels[numbers]
        return Batch(
            pad_features(mix(rows, pairs), self.settings.features.dim),
            torch.from_numpy(labels),
            torch.from_numpy(labels[pairs.partners]),
            torch.from_numpy(pairs.shares),
            tuple(self.utterances[number].utt_id for number in numbers.tolist()),
            self.settings.features.frame_shift_ms / 1000,
        )

    def _row(self, number: int, speeds: Array, rng: np.random.Generator) -> Array:
        """(T, C), of which the end is the recording of this number."""
        if not self._most_before:
            return draw_piece(self._heard.draw(number, float(speeds[number]), rng)[1], self._longest, rng)
        frames = int(rng.integers(self._most_before + 1))
        others = ((other, float(speeds[other])) for other in _numbers(len(self.utterances), rng))
        return self._heard.draw_after(number, float(speeds[number]), others, frames, rng)


def _numbers(count: int, rng: np.random.Generator) -> Iterator[int]:
    """Any of ``count``, each time anew."""
    while True:
        yield int(rng.integers(count))


def _longest_piece(settings: ClassifierSettings) -> int:
    """In feature frames, 0 = any number. Raises UsageError for one in which the network has no frame."""
    frames = round(settings.piece_s * 1000 / settings.features.frame_shift_ms)
    if settings.piece_s and not num_output_frames(frames, settings.model.front_end):
        least = least_samples(settings.features, settings.model.front_end) / settings.features.sample_rate
        raise UsageError(
            f"piece_s={settings.piece_s:g}: must be 0, for whole recordings, or at least {least:.4g} s, one frame of "
            "the network; choose longer pieces"
        )
    return frames


def draw_piece(features: Array, longest: int, rng: np.random.Generator) -> Array:
    """(T, C) -> at most ``longest`` frames of it from a random place; 0 = all."""
    beyond = len(features) - longest
    if not longest or beyond <= 0:
        return features
    start = int(rng.integers(beyond + 1))
    return features[start : start + longest]


def load_scored_set(data: DataDirectory, classifier: Classifier, where: Path) -> list[Batch]:
    """Batches of recordings as they are, which score a model.

    Raises one DataError for all recordings of a wrong sample rate or shorter than one frame of the network, and for all
    without a label or with one that the model does not know.
    """
    settings, utterances = classifier.settings, data.utterances
    remedy = "correct it, or train with recordings of it"
    labels = torch.from_numpy(label_numbers(utterances, classifier.labels, where, remedy))
    seconds = measure_all(utterances, settings.features.sample_rate)
    require_usable(utterances, seconds, settings, where)
    by_length = torch.from_numpy(seconds.argsort(kind="stable"))
    groups = (by_length[start : start + SCORED_TOGETHER] for start in range(0, len(by_length), SCORED_TOGETHER))
    return [_as_they_are(utterances, labels, rows, settings) for rows in groups]


def _as_they_are(utterances: Sequence[Utterance], labels: Tensor, rows: Tensor, settings: ClassifierSettings) -> Batch:
    extractor = FeatureExtractor(settings.features)
    group = [utterances[row] for row in rows.tolist()]
    return Batch(
        pad_features([extractor.compute(read_utterance(utterance)) for utterance in group], settings.features.dim),
        labels[rows],
        labels[rows],
        torch.ones(len(rows)),
        tuple(utterance.utt_id for utterance in group),
        settings.features.frame_shift_ms / 1000,
    )
