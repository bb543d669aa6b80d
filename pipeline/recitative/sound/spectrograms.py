"""Recordings as batches for a model of mel frames: whole ones side by side, those of about the same length together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recitative.data.tables import Utterance
from recitative.errors import DataError
from recitative.features.frontend import FeatureExtractor
from recitative.sound.conditioning import Labels, label_conditions
from recitative.sound.reading import OnProgress, read_each, samples_of
from recitative.sound.settings import SpectrogramSettings
from recitative.stage import Array
from recitative.train.task import Batch


@dataclass(frozen=True)
class Spectrogram:
    """frames: (T, C) log-mel; told: (T, W) at each; seconds: of the recording."""

    name: str
    frames: Array
    told: Array
    seconds: float


@dataclass(frozen=True)
class SpectrogramBatch(Batch):
    """frames: (N, T, C), told: (N, T, W), zeros behind the end of a row; lengths: (N,)."""

    frames: Array
    told: Array
    lengths: npt.NDArray[np.int64]
    names: tuple[str, ...]
    seconds: float
    padded_s: float
    longest_s: float


def read_spectrograms(
    utterances: Sequence[Utterance],
    settings: SpectrogramSettings,
    labels: Labels,
    on_progress: OnProgress | None = None,
) -> list[Spectrogram]:
    """Raises DataError that lists every recording which cannot be used."""
    extractor = FeatureExtractor(settings.features)
    return read_each(utterances, lambda utterance: _read(utterance, extractor, labels), on_progress)


def _read(utterance: Utterance, extractor: FeatureExtractor, labels: Labels) -> Spectrogram:
    features = extractor.settings
    samples = samples_of(utterance, features.sample_rate)
    frames = extractor.compute(samples)
    if not len(frames):
        shortest = f"{features.frame_length_ms:g} ms or more"
        found = f"has {len(samples)} samples, less than one frame"
        raise DataError(str(utterance.recording_path), found, shortest, "leave it out")
    told = label_conditions(utterance.text or "", utterance.speaker, len(samples), features, labels)
    return Spectrogram(utterance.utt_id, frames, told[: len(frames)], len(samples) / features.sample_rate)


class SpectrogramBatches:
    """The batches of every epoch: every recording once."""

    def __init__(self, spectrograms: Sequence[Spectrogram], settings: SpectrogramSettings) -> None:
        self._spectrograms = spectrograms
        self._settings = settings

    def num_batches(self, epoch: int) -> int:
        return -(-len(self._spectrograms) // self._settings.rows)

    def batches(self, epoch: int, start: int) -> Iterator[SpectrogramBatch]:
        """Those of an epoch from number ``start`` on; neighbors by length, other ones in each epoch."""
        rng = np.random.default_rng([self._settings.train.seed, epoch])
        lengths = np.array([len(one.frames) for one in self._spectrograms])
        order = np.argsort(lengths * rng.uniform(0.9, 1.1, len(lengths)), kind="stable")
        rows = self._settings.rows
        groups = [order[first : first + rows] for first in range(0, len(order), rows)]
        for number in rng.permutation(len(groups))[start:]:
            yield batch_of([self._spectrograms[i] for i in groups[number]])


def batch_of(parts: Sequence[Spectrogram]) -> SpectrogramBatch:
    """Whole recordings side by side."""
    lengths = np.array([len(part.frames) for part in parts])
    frames = np.zeros((len(parts), int(lengths.max()), parts[0].frames.shape[1]), np.float32)
    told = np.zeros((len(parts), int(lengths.max()), parts[0].told.shape[1]), np.float32)
    for row, part in enumerate(parts):
        frames[row, : lengths[row]] = part.frames
        told[row, : lengths[row]] = part.told
    seconds = [part.seconds for part in parts]
    return SpectrogramBatch(
        frames, told, lengths, tuple(part.name for part in parts), sum(seconds), max(seconds) * len(parts), max(seconds)
    )
