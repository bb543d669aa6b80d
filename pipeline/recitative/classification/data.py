"""The data of a classifier: training recordings, augmented and mixed, and those that score a model.

Mixup (Zhang et al. 2018) is two recordings heard at once, with the labels of both:

    x = share * x[i] + (1 - share) * x[j]        loss = share * loss(y[i]) + (1 - share) * loss(y[j])

with the share drawn from Beta(alpha, alpha) for each pair, and both from one batch, where recordings are about equally
long. The features that are mixed are logarithms, so it is their spectrograms that are superposed, not their sounds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from recitative.classification.labels import label_numbers, require_usable
from recitative.classification.network import Classifier
from recitative.classification.settings import ClassifierSettings
from recitative.data.directory import DataDirectory
from recitative.data.frames import least_samples, num_output_frames
from recitative.errors import UsageError
from recitative.features.extraction import audio_durations_s
from recitative.stage import Array
from recitative.train.audio import AudioBatch, AudioDataset, evaluation_batches

MIXED = 1  # sets the random numbers of a batch apart from those of its utterances


@dataclass(frozen=True)
class LabeledBatch(AudioBatch):
    """With labels (N,) int64. Where recordings are mixed, a row is ``shares`` (N,) float32 of its own, and the rest of
    another with the label ``others`` (N,)."""

    labels: Tensor
    others: Tensor
    shares: Tensor


class ClassificationDataset(AudioDataset[LabeledBatch]):
    """The recordings of a data directory, or of shards, with the labels of ``settings.labels``.

    Raises one DataError for all recordings of a wrong sample rate, shorter than one frame of the network at the fastest
    speed, or longer than ``max_duration_s``; UsageError for a ``piece_s`` that is too short; and what ``label_numbers``
    and ``AugmentedFeatures`` raise.
    """

    settings: ClassifierSettings

    def __init__(self, data: DataDirectory, settings: ClassifierSettings, mean: Array, where: Path) -> None:
        """mean (C,): what SpecAugment masks with, each channel's mean."""
        utterances = data.utterances
        self.labels = label_numbers(utterances, settings.labels, where, "correct it")
        seconds = audio_durations_s(utterances, settings.features.sample_rate)
        speed, most_s = max(settings.augment.speeds), settings.train.max_duration_s
        require_usable(utterances, seconds, settings, where, speed=speed, most_s=most_s)
        # What other recordings put before one is drawn later, and counted here by its mean.
        planned_s, longest_s = seconds + settings.context_s / 2, settings.piece_s or math.inf
        super().__init__(utterances, seconds, settings, mean, planned_s=planned_s, longest_s=longest_s)
        self._longest = _longest_piece(settings)
        self._most_before = round(settings.context_s * 1000 / settings.features.frame_shift_ms)

    def example(self, number: int, speeds: Array, rng: np.random.Generator) -> Array:
        """(T, C), of which the end is the recording of this number."""
        if not self._most_before:
            return draw_piece(super().example(number, speeds, rng), self._longest, rng)
        frames = int(rng.integers(self._most_before + 1))
        others = ((other, float(speeds[other])) for other in _numbers(len(self.utterances), rng))
        return self.features.draw_after(number, float(speeds[number]), others, frames, rng)

    def collate(self, epoch: int, numbers: Array, examples: Sequence[Array]) -> LabeledBatch:
        """At least one recording, mixed with each other."""
        rng = np.random.default_rng([self.settings.train.seed, epoch, int(numbers[0]), MIXED])
        pairs = draw_pairs(len(examples), self.settings.mixup.alpha, rng)
        labels = self.labels[numbers]
        mixed = self.batched(numbers, mix(examples, pairs))
        targets = (torch.from_numpy(array) for array in (labels, labels[pairs.partners], pairs.shares))
        return LabeledBatch(*mixed, *targets)


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


@dataclass(frozen=True)
class Pairs:
    """partners (N,): for each row the number of another, or its own; shares (N,) float32: how much of it is its own."""

    partners: Array
    shares: Array


def draw_pairs(rows: int, alpha: float, rng: np.random.Generator) -> Pairs:
    """Partners in a random order of all rows; with ``alpha`` 0 each row is its own, whole."""
    if not alpha:
        return Pairs(np.arange(rows), np.ones(rows, np.float32))
    return Pairs(rng.permutation(rows), rng.beta(alpha, alpha, rows).astype(np.float32))


def mix(rows: Sequence[Array], pairs: Pairs) -> list[Array]:
    """Features (T, C) of each row with its partner's, which is repeated or cut to the row's length.

    Every row must have a frame.
    """
    return [
        share * row + (1 - share) * rows[partner][np.arange(len(row)) % len(rows[partner])]
        for row, partner, share in zip(rows, pairs.partners, pairs.shares, strict=True)
    ]


def load_scored_set(data: DataDirectory, classifier: Classifier, where: Path) -> list[LabeledBatch]:
    """Batches of recordings as they are, which score a model.

    Raises one DataError for all recordings of a wrong sample rate or shorter than one frame of the network, and for all
    without a label or with one that the model does not know.
    """
    settings, utterances = classifier.settings, data.utterances
    remedy = "correct it, or train with recordings of it"
    labels = torch.from_numpy(label_numbers(utterances, classifier.labels, where, remedy))
    seconds = audio_durations_s(utterances, settings.features.sample_rate)
    require_usable(utterances, seconds, settings, where)
    return [
        LabeledBatch(batch.features, batch.names, batch.frame_s, labels[rows], labels[rows], torch.ones(len(rows)))
        for rows, batch in evaluation_batches(utterances, seconds, settings)
    ]
