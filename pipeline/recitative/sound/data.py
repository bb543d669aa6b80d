"""Recordings as batches for models of sound: segments of samples, or whole spectrograms, with their conditioning.

All recordings are kept in memory: a byte for each sample, and the frames of the conditioning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from recitative.audio.files import Samples, read_audio
from recitative.audio.mulaw import MIDDLE
from recitative.data.tables import Utterance
from recitative.errors import DataError, Problem
from recitative.features.frontend import FeatureExtractor
from recitative.sound.conditioning import Labels, label_conditions, levels_of, mel_conditions, mel_frames, places_of
from recitative.sound.settings import SpectrogramSettings, WaveSettings
from recitative.stage import Array
from recitative.train.task import Batch

T = TypeVar("T")
OnProgress = Callable[[int, int], object]


def labels_of(utterances: Sequence[Utterance]) -> Labels:
    """All texts and speakers, sorted."""
    texts = sorted({utterance.text or "" for utterance in utterances})
    return Labels(tuple(texts), tuple(sorted({utterance.speaker for utterance in utterances})))


def mean_seconds(labels: Labels, utterances: Sequence[Utterance], seconds: Sequence[float]) -> tuple[float, ...]:
    """The mean duration of the recordings of each text."""
    found: dict[str, list[float]] = {text: [] for text in labels.texts}
    for utterance, length in zip(utterances, seconds, strict=True):
        if (text := utterance.text or "") in found:
            found[text].append(length)
    return tuple(float(np.mean(lengths)) for lengths in found.values())


def _read_each(
    utterances: Sequence[Utterance],
    sample_rate: int,
    convert: Callable[[Utterance, Samples], T],
    on_progress: OnProgress | None,
) -> list[T]:
    """Convert the samples (S,) in [-1, 1] of each recording.

    Raises DataError that lists all recordings that cannot be used.
    """
    found: list[T] = []
    problems: list[Problem] = []
    for number, utterance in enumerate(utterances):
        try:
            samples, rate = read_audio(utterance.recording_path, start_s=utterance.start_s, end_s=utterance.end_s)
            if rate != sample_rate:
                allowed, remedy = f"{sample_rate} Hz (features.sample_rate)", "convert it, or change the setting"
                raise DataError(str(utterance.recording_path), f"{rate} Hz", allowed, remedy)
            found.append(convert(utterance, samples))
        except DataError as error:
            problems += [Problem(f"utterance '{utterance.utt_id}': {p.where}", p.found, p.allowed, p.remedy)
                         for p in error.problems]  # fmt: skip
        if on_progress:
            on_progress(number + 1, len(utterances))
    if problems:
        raise DataError.collect(problems)
    return found


# Segments of samples


@dataclass(frozen=True)
class Recording:
    """codes: (S,) levels; frames: (T, C) conditioning, C = 0 for none."""

    name: str
    codes: npt.NDArray[np.uint8]
    frames: Array


@dataclass(frozen=True)
class SoundBatch(Batch):
    """N segments of at most J steps of the core.

    codes: (N, history + J step) levels, the history first, padded with silence; frames: (N, T, C) conditioning;
    places: (N, J) position of each step among the frames; lengths: (N,) steps.
    """

    codes: npt.NDArray[np.int64]
    frames: Array
    frame_lengths: npt.NDArray[np.int64]
    places: npt.NDArray[np.float32]
    lengths: npt.NDArray[np.int64]
    names: tuple[str, ...]
    seconds: float
    padded_s: float
    longest_s: float


def read_recordings(
    utterances: Sequence[Utterance], settings: WaveSettings, labels: Labels, on_progress: OnProgress | None = None
) -> list[Recording]:
    """Raises DataError that lists all recordings that cannot be used."""

    def convert(utterance: Utterance, samples: Samples) -> Recording:
        match settings.sound.condition:
            case "none":
                frames = np.zeros((1, 0), np.float32)
            case "mel":
                frames = mel_conditions(samples, settings)
            case "labels":
                text = utterance.text or ""
                frames = label_conditions(text, utterance.speaker, len(samples), settings.features, labels)
        return Recording(utterance.utt_id, levels_of(samples, frames, settings), frames)

    return _read_each(utterances, settings.features.sample_rate, convert, on_progress)


class SoundSegments:
    """The batches of all epochs.

    In each epoch every recording is cut into segments, starting at a position drawn from (seed, epoch, recording).
    Samples that do not fill a step of the core are left out.
    """

    def __init__(self, recordings: Sequence[Recording], settings: WaveSettings) -> None:
        self._recordings = recordings
        self._settings = settings

    def num_batches(self, epoch: int) -> int:
        return len(self._plan(epoch))

    def batches(self, epoch: int, start: int) -> Iterator[SoundBatch]:
        """The batches of an epoch from number ``start`` on."""
        for chosen in self._plan(epoch)[start:]:
            parts = [(self._recordings[i], first, steps) for i, first, steps in chosen]
            yield sound_batch(parts, self._settings)

    def _plan(self, epoch: int) -> list[list[tuple[int, int, int]]]:
        """(recording, first step, steps) of the segments of each batch.

        Recordings that fit into a segment are not cut. Segments of similar length form a batch.
        """
        rng = np.random.default_rng([self._settings.train.seed, epoch])
        longest, rows = self._settings.segment_steps, self._settings.segments.rows
        plan = []
        for number, recording in enumerate(self._recordings):
            steps = len(recording.codes) // self._settings.sound.step
            first = int(rng.integers(1, longest + 1)) if steps > longest else steps
            cuts = [0, *range(first, steps, longest), steps]
            plan += [(number, a, b - a) for a, b in pairwise(cuts) if b > a]
        lengths = np.array([steps for _, _, steps in plan])
        order = np.argsort(lengths * rng.uniform(0.9, 1.1, len(plan)), kind="stable")
        groups = [[plan[i] for i in order[start : start + rows]] for start in range(0, len(plan), rows)]
        return [groups[i] for i in rng.permutation(len(groups))]


def sound_batch(parts: Sequence[tuple[Recording, int, int]], settings: WaveSettings) -> SoundBatch:
    """A batch of segments (recording, first step, steps)."""
    step, history = settings.sound.step, settings.sound.history
    lengths = np.array([steps for _, _, steps in parts])
    codes = np.full((len(parts), history + int(lengths.max()) * step), MIDDLE, np.int64)
    places = np.zeros((len(parts), int(lengths.max())), np.float32)
    frames = []
    for row, (recording, first, steps) in enumerate(parts):
        begin, end = first * step - history, (first + steps) * step
        codes_here = recording.codes[max(0, begin) : end]
        codes[row, history + steps * step - len(codes_here) : history + steps * step] = codes_here
        where, count = places_of(np.arange(first, first + steps), settings), len(recording.frames)
        low = int(np.clip(np.floor(where.min()), 0, count - 1))
        high = int(np.clip(np.floor(where.max()) + 2, low + 1, count))
        frames.append(recording.frames[low:high])
        places[row, :steps] = where - low
    seconds = step / settings.features.sample_rate * lengths
    return SoundBatch(
        codes, _padded(frames), np.array([len(piece) for piece in frames]), places, lengths,
        tuple(recording.name for recording, _, _ in parts),
        float(seconds.sum()), float(seconds.max() * len(parts)), float(seconds.max()),
    )  # fmt: skip


def _padded(arrays: Sequence[Array]) -> Array:
    """(T, C) each -> (N, longest T, C), padded with zeros."""
    padded = np.zeros((len(arrays), max(map(len, arrays)), arrays[0].shape[1]), np.float32)
    for row, array in zip(padded, arrays, strict=True):
        row[: len(array)] = array
    return padded


# Whole spectrograms


@dataclass(frozen=True)
class Spectrogram:
    """frames: (T, C) log-mel; conditioning: (T, W); seconds: duration of the recording."""

    name: str
    frames: Array
    conditioning: Array
    seconds: float


@dataclass(frozen=True)
class SpectrogramBatch(Batch):
    """frames: (N, T, C), conditioning: (N, T, W), both padded with zeros; lengths: (N,)."""

    frames: Array
    conditioning: Array
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
    """Raises DataError that lists all recordings that cannot be used."""
    features, extractor = settings.features, FeatureExtractor(settings.features)

    def convert(utterance: Utterance, samples: Samples) -> Spectrogram:
        frames = mel_frames(samples, extractor, str(utterance.recording_path))
        told = label_conditions(utterance.text or "", utterance.speaker, len(samples), features, labels)
        return Spectrogram(utterance.utt_id, frames, told[: len(frames)], len(samples) / features.sample_rate)

    return _read_each(utterances, features.sample_rate, convert, on_progress)


class SpectrogramBatches:
    """The batches of all epochs, each of which has every recording once."""

    def __init__(self, spectrograms: Sequence[Spectrogram], settings: SpectrogramSettings) -> None:
        self._spectrograms = spectrograms
        self._settings = settings

    def num_batches(self, epoch: int) -> int:
        return -(-len(self._spectrograms) // self._settings.rows)

    def batches(self, epoch: int, start: int) -> Iterator[SpectrogramBatch]:
        """The batches of an epoch from number ``start`` on. Recordings of similar length form a batch."""
        rng = np.random.default_rng([self._settings.train.seed, epoch])
        lengths = np.array([len(one.frames) for one in self._spectrograms])
        order = np.argsort(lengths * rng.uniform(0.9, 1.1, len(lengths)), kind="stable")
        rows = self._settings.rows
        groups = [order[first : first + rows] for first in range(0, len(order), rows)]
        for number in rng.permutation(len(groups))[start:]:
            yield spectrogram_batch([self._spectrograms[i] for i in groups[number]])


def spectrogram_batch(parts: Sequence[Spectrogram]) -> SpectrogramBatch:
    """A batch of whole recordings."""
    seconds = [part.seconds for part in parts]
    return SpectrogramBatch(
        _padded([part.frames for part in parts]), _padded([part.conditioning for part in parts]),
        np.array([len(part.frames) for part in parts]), tuple(part.name for part in parts),
        sum(seconds), max(seconds) * len(parts), max(seconds),
    )  # fmt: skip
