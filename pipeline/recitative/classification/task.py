"""A classifier of recordings: its network, its data, augmented and mixed, and its training.

The network is normalization, front end, the recurrent core, pooling over time, and log probabilities. The label of a
recording is that of the last frame; every earlier frame has the label that the recording would have if it ended there.
The loss is weighted cross entropy on whole recordings.

Mixup (Zhang et al. 2018) superposes two recordings and their losses:

    x = share * x[i] + (1 - share) * x[j]        loss = share * loss(y[i]) + (1 - share) * loss(y[j])

with the share from Beta(alpha, alpha) for each pair, and both from one batch, where recordings have about the same
length. The features that are mixed are logarithms, so their spectrograms are superposed, not their sounds.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recitative.classification.classifier import (
    CLASSIFIER,
    ClassifierData,
    ClassifierNetworkSettings,
    ClassifierSettings,
    load_classifier,
)
from recitative.classification.evaluation import classify_directory, label_numbers, require_usable
from recitative.data.directory import DataDirectory
from recitative.data.tables import Utterance
from recitative.errors import DataError, Problem, UsageError
from recitative.features.extraction import CmvnStats, audio_durations_s
from recitative.model.export import Advance, measure_inputs
from recitative.model.graph import Inputs
from recitative.model.kind import ModelKind
from recitative.nn.ragged import last_frames
from recitative.nn.recurrent import RecurrentStack
from recitative.nn.stages import (
    AttentionPooling,
    Chain,
    Dropout,
    LastFrame,
    LogProbs,
    MeanPooling,
    RecentMean,
    add_front_end,
    normalization_stages,
)
from recitative.score.classification import Confusions
from recitative.score.wer import ErrorCounts
from recitative.stage import Array, Padded, run_whole
from recitative.train.audio import (
    AudioBatch,
    AudioDataset,
    AudioTask,
    evaluation_batches,
    set_normalization,
    statistics_of,
)
from recitative.train.checkpoint import Progress
from recitative.train.run import TrainingRun

MIXUP_STREAM = 1  # separates the random numbers of mixup from those of the utterances


@dataclass(frozen=True)
class ClassifierModel:
    """A network with the names of its outputs."""

    kind: ClassVar[ModelKind] = CLASSIFIER
    settings: ClassifierSettings
    labels: tuple[str, ...]
    network: Chain

    def log_probs(self, features: Padded[Tensor]) -> Tensor:
        """Whole inputs (N, T, C) -> (N, K), of each label; every row must be long enough for one output frame."""
        return last_frames(run_whole(self.network, features))


def build_classifier(settings: ClassifierNetworkSettings, feature_dim: int, num_labels: int) -> Chain:
    """The network as one stage: features (N, T, feature_dim) -> log probabilities (N, T', num_labels)."""
    stages = normalization_stages(settings.cmvn, feature_dim)
    width = add_front_end(stages, settings.front_end, feature_dim)
    core = RecurrentStack(width, settings.recurrent)
    stages["core"] = core
    if settings.dropout:
        stages["dropout"] = Dropout(core.output_width, settings.dropout)
    stages["pooling"] = _pooling(settings, core.output_width)
    stages["head"] = LogProbs(core.output_width, num_labels)
    return Chain(stages)


def _pooling(settings: ClassifierNetworkSettings, width: int) -> nn.Module:
    match settings.pooling:
        case "last":
            return LastFrame(width)
        case "mean":
            return MeanPooling(width)
        case "attention":
            return AttentionPooling(width)
        case "recent":
            return RecentMean(width, settings.pooling_frames)


def new_classifier(settings: ClassifierSettings, labels: tuple[str, ...]) -> ClassifierModel:
    """A classifier with random weights (from torch's generator)."""
    return ClassifierModel(settings, labels, build_classifier(settings.model, settings.features.dim, len(labels)))


# Data and training


def names_of(utterances: Sequence[Utterance], wanted: Sequence[str], where: Path) -> tuple[str, ...]:
    """The labels of a model that is trained on these utterances: ``wanted``, or all that occur, sorted.

    Raises one DataError for all utterances without a label or with one that is not wanted, one for all wanted labels
    without an example, and one for a single class.
    """
    names = tuple(wanted) or tuple(sorted({utterance.text for utterance in utterances if utterance.text}))
    numbers = label_numbers(utterances, names, where, "correct it, or add it to the setting labels")
    found = set(numbers.tolist())
    if missing := [name for number, name in enumerate(names) if number not in found]:
        remedy = "add recordings of it, or take it out of the setting labels"
        raise DataError.collect(
            [Problem(str(where), f"has no example of the class '{name}'", "", remedy) for name in missing]
        )
    if len(names) < 2:
        raise DataError(str(where), f"has a single class, '{names[0]}'", "two or more", "add recordings of another")
    return names


def class_weights(numbers: npt.NDArray[np.int64], classes: int, *, balanced: bool) -> npt.NDArray[np.float32]:
    """(K,) the weight of an example of each class: 1, or N / (K n) for a class with n of N examples.

    Either way the mean weight of an example is 1. Every class must have an example.
    """
    if not balanced:
        return np.ones(classes, np.float32)
    counts = np.bincount(numbers, minlength=classes)
    return (len(numbers) / (classes * counts)).astype(np.float32)


@dataclass(frozen=True)
class LabeledBatch(AudioBatch):
    """labels (N,) int64; shares (N,) float32 and others (N,): the weight of a row's own recording and label, and the
    label of the recording that is mixed into it with the remaining weight."""

    labels: Tensor
    others: Tensor
    shares: Tensor


class ClassificationDataset(AudioDataset[LabeledBatch]):
    """The recordings of a data directory, or of shards, with the labels of ``settings.labels``.

    Raises one DataError for all recordings of a wrong sample rate, shorter than one frame of the network at the fastest
    speed, or longer than ``max_duration_s``; UsageError for a ``crop_s`` that is too short; and what ``label_numbers``
    and ``AugmentedFeatures`` raise.
    """

    settings: ClassifierSettings

    def __init__(self, data: DataDirectory, settings: ClassifierSettings, mean: Array, where: Path) -> None:
        """mean (C,): what SpecAugment masks with, each channel's mean."""
        utterances = data.utterances
        self.labels = label_numbers(utterances, settings.labels, where, "correct it")
        seconds = audio_durations_s(utterances, settings.features.sample_rate)
        speed = max(settings.augment.speeds)
        require_usable(utterances, seconds, settings, where, speed=speed, longest_s=settings.train.max_duration_s)
        # The context before a recording has a random length, counted here by its mean.
        planned_s, longest_s = seconds + settings.left_context_s / 2, settings.crop_s or math.inf
        super().__init__(utterances, seconds, settings, mean, planned_s=planned_s, longest_s=longest_s)
        self._longest = _longest_piece(settings)
        self._most_before = round(settings.left_context_s * 1000 / settings.features.frame_shift_ms)

    def example(self, number: int, speeds: Array, rng: np.random.Generator) -> Array:
        """(T, C), which ends with the recording of this number."""
        if not self._most_before:
            return random_crop(super().example(number, speeds, rng), self._longest, rng)
        frames = int(rng.integers(self._most_before + 1))
        numbers = (int(rng.integers(len(self.utterances))) for _ in itertools.count())
        others = ((other, float(speeds[other])) for other in numbers)
        return self.features.sample_after(number, float(speeds[number]), others, frames, rng)

    def collate(self, epoch: int, numbers: Array, examples: Sequence[Array]) -> LabeledBatch:
        """At least one recording, mixed with each other."""
        rng = np.random.default_rng([self.settings.train.seed, epoch, int(numbers[0]), MIXUP_STREAM])
        pairs = mixup_pairs(len(examples), self.settings.mixup.alpha, rng)
        labels = self.labels[numbers]
        mixed = self.batched(numbers, mixup(examples, pairs))
        targets = (torch.from_numpy(array) for array in (labels, labels[pairs.partners], pairs.shares))
        return LabeledBatch(*mixed, *targets)


def _longest_piece(settings: ClassifierSettings) -> int:
    """``crop_s`` in feature frames, 0 = no limit. Raises UsageError if it is shorter than one frame of the network."""
    frames = round(settings.crop_s * 1000 / settings.features.frame_shift_ms)
    if settings.crop_s and not settings.model.front_end.num_output_frames(frames):
        least = settings.model.front_end.least_samples(settings.features) / settings.features.sample_rate
        raise UsageError(
            f"crop_s={settings.crop_s:g}: must be 0, for whole recordings, or at least {least:.4g} s, one frame of "
            "the network; choose longer pieces"
        )
    return frames


def random_crop(features: Array, longest: int, rng: np.random.Generator) -> Array:
    """(T, C) -> at most ``longest`` successive frames of it; 0 = all."""
    beyond = len(features) - longest
    if not longest or beyond <= 0:
        return features
    start = int(rng.integers(beyond + 1))
    return features[start : start + longest]


@dataclass(frozen=True)
class MixupPairs:
    """partners (N,): the row that each row is mixed with; shares (N,) float32: the weight of the row itself."""

    partners: Array
    shares: Array


def mixup_pairs(rows: int, alpha: float, rng: np.random.Generator) -> MixupPairs:
    """The partners are a random permutation of the rows; with ``alpha`` 0 nothing is mixed."""
    if not alpha:
        return MixupPairs(np.arange(rows), np.ones(rows, np.float32))
    return MixupPairs(rng.permutation(rows), rng.beta(alpha, alpha, rows).astype(np.float32))


def mixup(rows: Sequence[Array], pairs: MixupPairs) -> list[Array]:
    """Features (T, C) of each row with its partner's, which is repeated or cut to the row's length.

    Every row must have a frame.
    """
    return [
        share * row + (1 - share) * rows[partner][np.arange(len(row)) % len(rows[partner])]
        for row, partner, share in zip(rows, pairs.partners, pairs.shares, strict=True)
    ]


def load_scored_set(data: DataDirectory, classifier: ClassifierModel, where: Path) -> list[LabeledBatch]:
    """Batches of unmodified recordings, for evaluation.

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


class ClassificationTask(AudioTask[LabeledBatch]):
    """Models are chosen by the accuracy on the dev set, ties by the loss; without a dev set the last one is kept.

    The loss is divided by the number of recordings, not by the sum of their weights, whose mean over the training set
    is 1: so every recording counts the same in whatever batch it is.
    """

    def __init__(
        self,
        classifier: ClassifierModel,
        dataset: ClassificationDataset,
        dev: Sequence[LabeledBatch],
        device: torch.device,
    ) -> None:
        super().__init__(classifier.network, dataset, device)
        self.model = self.classifier = classifier
        self.dev = dev
        balanced = classifier.settings.class_weights == "balanced"
        weights = class_weights(dataset.labels, len(classifier.labels), balanced=balanced)
        self._weights = torch.from_numpy(weights).to(device)

    def loss(self, batch: LabeledBatch) -> tuple[Tensor, int]:
        log_probs = self.classifier.log_probs(self.to_device(batch.features))
        labels, others, shares = (x.to(self.device) for x in (batch.labels, batch.others, batch.shares))
        own = F.nll_loss(log_probs, labels, self._weights, reduction="none")
        other = F.nll_loss(log_probs, others, self._weights, reduction="none")
        return (shares * own + (1 - shares) * other).sum(), batch.rows

    def evaluate(self) -> Mapping[str, float]:
        if not self.dev:
            return {}
        pairs: list[tuple[int, int]] = []
        nll = 0.0
        for batch in self.dev:
            log_probs = self.classifier.log_probs(self.to_device(batch.features)).cpu()
            nll += float(F.nll_loss(log_probs.double(), batch.labels, reduction="sum"))
            pairs += zip(batch.labels.tolist(), log_probs.argmax(dim=1).tolist(), strict=True)
        confusions, loss = Confusions.of(self.classifier.labels, pairs), nll / len(pairs)
        errors, total = confusions.total - confusions.correct, confusions.total
        return {
            "dev_loss": loss,
            "dev_accuracy": confusions.accuracy,
            "dev_uar": confusions.unweighted_average_recall,
            "score": errors / total + loss / (1 + loss) / (2 * total),  # the loss decides less than half an error
        }

    def result(self, progress: Progress) -> str:
        return super().result(progress) if self.dev else "the last is kept"


def prepare(settings: ClassifierSettings, data: ClassifierData, run: TrainingRun) -> ClassificationTask:
    """The task of a run; see ``train.run``.

    Raises UsageError if patience has no dev set to wait for, and what reading the data does.
    """
    if data.dev is None and settings.train.patience:
        raise UsageError(f"train.patience={settings.train.patience}: waits for better scores on a dev set; give one")
    train, dev = DataDirectory.read(data.train), DataDirectory.read(data.dev) if data.dev else None
    settings = settings.model_copy(update={"labels": names_of(train.utterances, settings.labels, data.train)})
    run.start(settings)
    classifier = new_classifier(settings, settings.labels)
    dev_batches = load_scored_set(dev, classifier, data.dev) if dev and data.dev else []
    if data.cmvn:
        stats = CmvnStats.read(data.cmvn)
    else:
        audio_durations_s(train.utterances, settings.features.sample_rate)
        stats = statistics_of(train.utterances, settings.features)
    set_normalization(classifier.network, stats, str(data.cmvn))
    dataset = ClassificationDataset(train, settings, stats.mean, data.train)
    return ClassificationTask(classifier, dataset, dev_batches, run.device)


class ClassifierCheck:
    """Wrong labels of an exported model on a development set; see ``QuantizationCheck``."""

    rate = "accuracy"

    def __init__(self, model: ClassifierModel, dev: Path) -> None:
        self.model, self.dev = model, dev

    def inputs(self) -> Inputs:
        batches = load_scored_set(DataDirectory.read(self.dev), self.model, self.dev)
        return measure_inputs(self.model.network, (batch.features for batch in batches))

    def errors(self, content: bytes, advance: Advance) -> ErrorCounts:
        labeled = classify_directory(load_classifier(content, threads=torch.get_num_threads()), self.dev, advance)
        found = labeled.confusions
        return ErrorCounts(ref=found.total, substitutions=found.total - found.correct)
