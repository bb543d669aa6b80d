"""Training batches: audio -> augmentation -> features.

Everything random depends on (seed, epoch, utterance) or (seed, epoch) alone: a run can start in any batch of any epoch
and with any number of worker processes, and gets the same numbers.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from recitative.audio.files import Samples
from recitative.config import Settings
from recitative.ctc.loss import padded_labels
from recitative.data.directory import DataDirectory
from recitative.data.shards.index import ShardIndex
from recitative.data.utterance import Utterance
from recitative.errors import DataError, Problem
from recitative.features.augment import Augmenter, spec_augment
from recitative.features.frontend import FeatureExtractor
from recitative.features.vtlp import VocalTractWarp
from recitative.recognition.distillation import Alternatives
from recitative.recognition.plan import EpochPlan, plan_epoch
from recitative.recognition.utterances import measure_all, read_utterance
from recitative.stage import Padded
from recitative.text.lexicon import Spelling
from recitative.text.tokens import required_frames

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Batch:
    """features (N, T, C) float32, labels (N, L) int64, the utterances' ids, seconds from one frame to the next.

    ``unmasked``: the features before SpecAugment, for a teacher; None where there is none. N may be 0: the share of a
    worker for which a global batch has no utterance.
    """

    features: Padded[Tensor]
    labels: Padded[Tensor]
    names: tuple[str, ...]
    frame_s: float
    unmasked: Padded[Tensor] | None = None

    @property
    def rows(self) -> int:
        return len(self.names)

    @property
    def seconds(self) -> float:
        """Of audio, at the speed it is played at."""
        return float(self.features.lengths.sum()) * self.frame_s

    @property
    def padded_s(self) -> float:
        return self.rows * self.longest_s

    @property
    def longest_s(self) -> float:
        return self.features.data.shape[1] * self.frame_s

    def split(self, parts: int) -> list[Batch]:
        """``parts`` batches of about as many rows, alike in length, each no longer than its longest row."""
        if parts == 1 and self.rows:
            return [self]
        by_length = torch.argsort(self.features.lengths, stable=True)
        return [self._rows(rows) for rows in by_length.tensor_split(parts) if len(rows)]

    def _rows(self, rows: Tensor) -> Batch:
        names = tuple(self.names[i] for i in rows.tolist())
        unmasked = _select(self.unmasked, rows) if self.unmasked else None
        return Batch(_select(self.features, rows), _select(self.labels, rows), names, self.frame_s, unmasked)


class TrainingSet:
    """The utterances of a data directory or of shards with labels, and the plan of every epoch.

    Raises one DataError for all utterances that have no text, what the spelling cannot write, a wrong sample rate, more
    than ``max_duration_s``, or too few frames for their labels even at the fastest speed.
    """

    def __init__(
        self,
        data: DataDirectory,
        settings: Settings,
        spelling: Spelling,
        stride: int,
        mean: Array,
        where: Path,
        *,
        teach: bool = False,
        unlabelled: DataDirectory | None = None,
        alternatives: Alternatives | None = None,
    ) -> None:
        """mean (C,): what SpecAugment masks with, the corpus's mean of each channel
        teach: batches carry their features before SpecAugment too, for a teacher to hear
        unlabelled: more audio, for the teacher alone: its transcripts, if there are any, are not looked at
        alternatives: of the transcripts, from a teacher
        """
        self.settings = settings
        self.utterances = data.utterances
        self.seconds = measure_all(data.utterances, settings.features.sample_rate)
        self.labels = _labels(self.utterances, spelling, where)
        if unlabelled:
            more_s = measure_all(unlabelled.utterances, settings.features.sample_rate)
            self.utterances = (*data.utterances, *unlabelled.utterances)
            self.seconds = np.concatenate([self.seconds, more_s])
            self.labels = Labels([*self.labels, *([] for _ in more_s)])
        self._mean = mean
        self._teach = teach
        self._alternatives = alternatives
        self._augmenter = Augmenter(settings.augment, settings.features.sample_rate)
        self._vocal_tract = VocalTractWarp(settings.features) if settings.augment.vtlp != (1.0, 1.0) else None
        _require_usable(self.utterances, self.seconds, self.labels, settings, stride, where)
        self._samples = self._decode_all() if self._fits_in_memory() else None
        self._plans: dict[int, EpochPlan] = {}

    def plan(self, epoch: int) -> EpochPlan:
        """Made once; the one before is kept too, since the next epoch is prepared while one is still going on."""
        if epoch not in self._plans:
            shards = self.utterances.shard_numbers if isinstance(self.utterances, ShardIndex) else None
            kept = {number: plan for number, plan in self._plans.items() if number == epoch - 1}
            self._plans = kept | {epoch: plan_epoch(self.seconds, self.settings, epoch, shards)}
        return self._plans[epoch]

    def _fits_in_memory(self) -> bool:
        bytes_in_all = float(self.seconds.sum()) * self.settings.features.sample_rate * np.dtype(np.float32).itemsize
        return bytes_in_all <= self.settings.train.cache_mb * 1e6

    def _decode_all(self) -> list[Samples]:
        """Once, before the worker processes start: they share it with this one."""
        return [read_utterance(utterance) for utterance in self.utterances]

    def load(self, epoch: int, numbers: Array) -> Batch:
        """Utterances of one batch of an epoch, augmented for it."""
        speeds = self.plan(epoch).speeds
        extractor = FeatureExtractor(self.settings.features)
        rows, unmasked, labels = [], [], []
        for number in numbers.tolist():
            rng = np.random.default_rng([self.settings.train.seed, epoch, number])
            samples = self._samples[number] if self._samples else read_utterance(self.utterances[number])
            samples = self._augmenter.perturb(samples, float(speeds[number]), rng)
            features = extractor.compute(samples)
            if self._vocal_tract:
                features = self._vocal_tract.warp(features, rng.uniform(*self.settings.augment.vtlp))
            unmasked.append(features)
            rows.append(spec_augment(features, self.settings.augment.spec_augment, rng, self._mean))
            labels.append(self._labels_of(number, rng))
        width = self.settings.features.dim
        return Batch(
            pad_features(rows, width),
            padded_labels(labels),
            tuple(self.utterances[number].utt_id for number in numbers.tolist()),
            self.settings.features.frame_shift_ms / 1000,
            pad_features(unmasked, width) if self._teach else None,
        )

    def _labels_of(self, number: int, rng: np.random.Generator) -> Sequence[int]:
        drawn = self._alternatives.draw(number, rng) if self._alternatives else None
        return self.labels[number] if drawn is None else drawn


class Labels(Sequence[list[int]]):
    """The labels of many utterances in one array: a list of lists would take ten times the memory."""

    def __init__(self, rows: Iterable[Sequence[int]]) -> None:
        values, ends = array("i"), array("q")
        for row in rows:
            values.extend(row)
            ends.append(len(values))
        self._values, self._ends = np.array(values, np.int32), np.array(ends, np.int64)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, number: Any) -> Any:
        start = self._ends[number - 1] if number else 0
        return self._values[start : self._ends[number]].tolist()


def pad_features(rows: Sequence[Array], width: int) -> Padded[Tensor]:
    """Features (T, width) of several utterances, or of none, as a padded batch (N, T, width)."""
    lengths = torch.tensor([len(row) for row in rows], dtype=torch.int64)
    data = torch.zeros(len(rows), int(lengths.max()) if rows else 0, width)
    for i, row in enumerate(rows):
        data[i, : len(row)] = torch.from_numpy(row)
    return Padded(data, lengths)


def _select(x: Padded[Tensor], rows: Tensor) -> Padded[Tensor]:
    lengths = x.lengths[rows]
    return Padded(x.data[rows][:, : int(lengths.max())], lengths)


def _labels(utterances: Sequence[Utterance], spelling: Spelling, where: Path) -> Labels:
    problems: list[Problem] = []

    def encoded() -> Iterator[list[int]]:
        for utterance in utterances:
            try:
                if not utterance.text:
                    raise DataError(f"{where}/text: '{utterance.utt_id}'", "has no text", "a transcript", "add it")
                yield spelling.encode(utterance.text, utt_id=utterance.utt_id)
            except DataError as error:
                problems.extend(error.problems)

    labels = Labels(encoded())
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
