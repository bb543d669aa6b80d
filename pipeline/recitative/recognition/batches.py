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

from recitative.config import Settings
from recitative.ctc.loss import padded_labels
from recitative.data.directory import DataDirectory
from recitative.data.frames import num_frames, num_output_frames
from recitative.data.shards.index import ShardIndex
from recitative.data.utterance import Utterance
from recitative.errors import DataError, Problem
from recitative.features.augmented import AugmentedFeatures
from recitative.features.utterances import measure_all
from recitative.nn.ragged import pad_features, select_rows
from recitative.recognition.distillation import Alternatives
from recitative.stage import Padded
from recitative.text.lexicon import Spelling
from recitative.text.tokens import required_frames
from recitative.train.batch import AudioBatch
from recitative.train.plan import EpochPlan, EpochPlans

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Batch(AudioBatch):
    """features (N, T, C) float32, labels (N, L) int64, the utterances' ids, seconds from one frame to the next.

    ``unmasked``: the features before SpecAugment, for a teacher; None where there is none. N may be 0: the share of a
    worker for which a global batch has no utterance.
    """

    features: Padded[Tensor]
    labels: Padded[Tensor]
    names: tuple[str, ...]
    frame_s: float
    unmasked: Padded[Tensor] | None = None

    def split(self, parts: int) -> list[Batch]:
        """``parts`` batches of about as many rows, alike in length, each no longer than its longest row."""
        if parts == 1 and self.rows:
            return [self]
        by_length = torch.argsort(self.features.lengths, stable=True)
        return [self._rows(rows) for rows in by_length.tensor_split(parts) if len(rows)]

    def _rows(self, rows: Tensor) -> Batch:
        names = tuple(self.names[i] for i in rows.tolist())
        unmasked = select_rows(self.unmasked, rows) if self.unmasked else None
        return Batch(select_rows(self.features, rows), select_rows(self.labels, rows), names, self.frame_s, unmasked)


class TrainingSet:
    """The utterances of a data directory or of shards with labels, and the plan of every epoch.

    Raises one DataError for all utterances that have no text, what the spelling cannot write, a wrong sample rate, more
    than ``max_duration_s``, or too few frames for their labels even at the slowest speed. What is too short for its
    labels at some speeds is not drawn at these.
    """

    def __init__(
        self,
        data: DataDirectory,
        settings: Settings,
        spelling: Spelling,
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
        self._teach = teach
        self._alternatives = alternatives
        fastest = _fastest_speeds(self.utterances, self.seconds, self.labels, settings, where)
        self._heard = AugmentedFeatures(self.utterances, self.seconds, settings, mean)
        shards = self.utterances.shard_numbers if isinstance(self.utterances, ShardIndex) else None
        self._plans = EpochPlans(self.seconds, settings, shards, fastest=fastest)

    def plan(self, epoch: int) -> EpochPlan:
        return self._plans.of(epoch)

    def load(self, epoch: int, numbers: Array) -> Batch:
        """Utterances of one batch of an epoch, augmented for it."""
        speeds = self.plan(epoch).speeds
        rows, unmasked, labels = [], [], []
        for number in numbers.tolist():
            rng = np.random.default_rng([self.settings.train.seed, epoch, number])
            features, masked = self._heard.draw(number, float(speeds[number]), rng)
            unmasked.append(features)
            rows.append(masked)
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


def _fastest_speeds(
    utterances: Sequence[Utterance],
    seconds: Array,
    labels: Sequence[Sequence[int]],
    settings: Settings,
    where: Path,
) -> Array:
    """(N,): the fastest of ``augment.speeds`` at which each utterance has a frame for every label that needs one."""
    speeds = sorted(settings.augment.speeds)
    problems: list[Problem] = []
    fastest = np.full(len(seconds), speeds[-1])
    for number, (utterance, duration_s, row) in enumerate(zip(utterances, seconds, labels, strict=True)):
        place = f"{where}: utterance '{utterance.utt_id}'"
        if duration_s > settings.train.max_duration_s:
            allowed = f"at most train.max_duration_s={settings.train.max_duration_s:g}"
            problems.append(Problem(place, f"lasts {duration_s:.1f} s", allowed, "split it or raise the limit"))
        need = required_frames(row)
        fitting = [speed for speed in speeds if _core_frames(duration_s / speed, settings) >= need]
        if fitting:
            fastest[number] = fitting[-1]
        else:
            frames = _core_frames(duration_s / speeds[0], settings)
            found = f"{frames} frames at speed {speeds[0]:g} for {len(row)} labels"
            problems.append(Problem(place, found, f"at least {need}", "correct its text or remove it"))
    if problems:
        raise DataError.collect(problems)
    return fastest


def _core_frames(duration_s: float, settings: Settings) -> int:
    """Frames of the network, a sample fewer than there are: another speed's length is rounded."""
    samples = int(duration_s * settings.features.sample_rate) - 1
    return num_output_frames(num_frames(samples, settings.features), settings.model.front_end)
