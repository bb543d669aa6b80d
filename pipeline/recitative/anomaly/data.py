"""The data of an anomaly model: segments of recordings, those of training and those that score a model.

A recording that is longer than ``segment_s`` is cut into pieces of that length, each of which begins with an empty
memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from recitative.anomaly.settings import ForecasterSettings
from recitative.data.tables import Utterance
from recitative.errors import DataError, Problem
from recitative.features.extraction import audio_durations_s
from recitative.stage import Array
from recitative.train.audio import AudioBatch, AudioDataset, evaluation_batches


def training_set(
    utterances: Sequence[Utterance], settings: ForecasterSettings, mean: Array, where: Path
) -> AudioDataset[AudioBatch]:
    """The segments of recordings. mean (C,): what SpecAugment masks with. Raises what ``cut`` does."""
    segments, seconds = cut(utterances, settings, where, speed=max(settings.augment.speeds))
    return AudioDataset(segments, seconds, settings, mean)


def load_scored_set(utterances: Sequence[Utterance], settings: ForecasterSettings, where: Path) -> list[AudioBatch]:
    """Batches of segments of recordings as they are, which score a model. Raises what ``cut`` does."""
    segments, seconds = cut(utterances, settings, where)
    return [batch for _, batch in evaluation_batches(segments, seconds, settings)]


def cut(
    utterances: Sequence[Utterance], settings: ForecasterSettings, where: Path, *, speed: float = 1.0
) -> tuple[list[Utterance], Array]:
    """All recordings in pieces of at most ``segment_s``, and how many seconds each piece has.

    speed: the fastest at which they are played. Raises one DataError for all recordings of a wrong sample rate, and for
    all that have no more frames than are forecast ahead.
    """
    seconds = audio_durations_s(utterances, settings.features.sample_rate)
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
