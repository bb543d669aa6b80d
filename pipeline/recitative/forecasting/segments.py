"""Recordings as batches of segments: training's, augmented, and those that score a model.

A recording that is longer than ``segment_s`` is cut into pieces of that length, each of which begins with an empty
memory. Everything random depends on (seed, epoch, segment) alone: a run can start in any batch of any epoch and with
any number of processes that prepare batches, and gets the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor, argsort

from recitative.data.utterance import Utterance
from recitative.errors import DataError, Problem
from recitative.features.augmented import AugmentedFeatures
from recitative.features.frontend import FeatureExtractor
from recitative.features.utterances import measure_all, read_utterance
from recitative.models.forecaster_settings import ForecasterSettings
from recitative.nn.ragged import pad_features, select_rows
from recitative.stage import Padded
from recitative.train.batch import AudioBatch
from recitative.train.plan import EpochPlan, EpochPlans

Array = npt.NDArray[Any]

SCORED_TOGETHER = 16


@dataclass(frozen=True)
class Batch(AudioBatch):
    """features (N, T, C) float32, the segments' ids, seconds from one frame to the next."""

    features: Padded[Tensor]
    names: tuple[str, ...]
    frame_s: float

    def split(self, parts: int) -> list[Batch]:
        """``parts`` batches of about as many rows, alike in length, each no longer than its longest row."""
        by_length = argsort(self.features.lengths, stable=True)
        return [self._rows(rows) for rows in by_length.tensor_split(parts) if len(rows)]

    def _rows(self, rows: Tensor) -> Batch:
        names = tuple(self.names[row] for row in rows.tolist())
        return Batch(select_rows(self.features, rows), names, self.frame_s)


class TrainingSet:
    """The segments of recordings, and the plan of each epoch. Raises what ``cut`` does."""

    def __init__(self, utterances: Sequence[Utterance], settings: ForecasterSettings, mean: Array, where: Path) -> None:
        """mean (C,): what SpecAugment masks with, each channel's mean."""
        self.settings = settings
        self.segments, seconds = cut(utterances, settings, where, speed=max(settings.augment.speeds))
        self._heard = AugmentedFeatures(self.segments, seconds, settings, mean)
        self._plans = EpochPlans(seconds, settings)

    def plan(self, epoch: int) -> EpochPlan:
        return self._plans.of(epoch)

    def load(self, epoch: int, numbers: Array) -> Batch:
        """Segments of one batch of an epoch, at least one, augmented for it."""
        speeds, rows = self.plan(epoch).speeds, []
        for number in numbers.tolist():
            rng = np.random.default_rng([self.settings.train.seed, epoch, number])
            rows.append(self._heard.draw(number, float(speeds[number]), rng)[1])
        return _batch(rows, [self.segments[number] for number in numbers.tolist()], self.settings)


def load_scored_set(utterances: Sequence[Utterance], settings: ForecasterSettings, where: Path) -> list[Batch]:
    """Batches of segments of recordings as they are, which score a model. Raises what ``cut`` does."""
    segments, seconds = cut(utterances, settings, where)
    extractor = FeatureExtractor(settings.features)
    order = seconds.argsort(kind="stable").tolist()
    batches = []
    for start in range(0, len(order), SCORED_TOGETHER):
        group = [segments[number] for number in order[start : start + SCORED_TOGETHER]]
        batches.append(_batch([extractor.compute(read_utterance(one)) for one in group], group, settings))
    return batches


def cut(
    utterances: Sequence[Utterance], settings: ForecasterSettings, where: Path, *, speed: float = 1.0
) -> tuple[list[Utterance], Array]:
    """All recordings in pieces of at most ``segment_s``, and how many seconds each piece has.

    speed: the fastest at which they are played. Raises one DataError for all recordings of a wrong sample rate, and for
    all that have no more frames than are forecast ahead.
    """
    seconds = measure_all(utterances, settings.features.sample_rate)
    least_s = least_samples(settings) / settings.features.sample_rate * speed
    problems = [
        Problem(f"{where}: utterance '{utterance.utt_id}'", f"lasts {duration_s:.4g} s", f"at least {least_s:.4g} s",
                "remove it")
        for utterance, duration_s in zip(utterances, seconds.tolist(), strict=True)
        if duration_s < least_s
    ]  # fmt: skip
    if problems:
        raise DataError.collect(problems)
    whole = zip(utterances, seconds.tolist(), strict=True)
    pieces = [piece for utterance, duration_s in whole for piece in _pieces(utterance, duration_s, settings.segment_s)]
    return [piece for piece, _ in pieces], np.array([duration_s for _, duration_s in pieces])


def _pieces(utterance: Utterance, duration_s: float, longest_s: float) -> Iterator[tuple[Utterance, float]]:
    """Pieces of one recording, all as long as each other."""
    count = math.ceil(duration_s / longest_s)
    if count == 1:
        yield utterance, duration_s
        return
    for number in range(count):
        start_s = utterance.start_s + duration_s * number / count
        end_s = utterance.start_s + duration_s * (number + 1) / count
        name = f"{utterance.utt_id}-{number + 1}"
        yield replace(utterance, utt_id=name, start_s=start_s, end_s=end_s), duration_s / count


def least_samples(settings: ForecasterSettings) -> int:
    """Samples of the shortest recording of which a frame can be forecast from another."""
    return settings.features.window_samples + settings.model.horizon * settings.features.hop_samples


def _batch(rows: Sequence[Array], segments: Sequence[Utterance], settings: ForecasterSettings) -> Batch:
    names = tuple(segment.utt_id for segment in segments)
    return Batch(pad_features(rows, settings.features.dim), names, settings.features.frame_shift_ms / 1000)
