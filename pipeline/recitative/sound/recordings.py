"""Recordings as batches for a model of sound: segments of them side by side, and what the model is told.

In every epoch each recording is cut anew into segments, from a place drawn from (seed, epoch, recording); no sample is
left out but those that fill no step of the core. All recordings are kept in memory, as levels and frames: a byte a
sample, and as many numbers a frame as the model is told.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from recitative.audio.mulaw import MIDDLE, companded
from recitative.data.tables import Utterance
from recitative.sound.conditioning import Labels, label_conditions, mel_conditions, places_of
from recitative.sound.excitation import levels_of
from recitative.sound.reading import OnProgress, read_each, samples_of
from recitative.sound.settings import WaveSettings
from recitative.stage import Array
from recitative.train.task import Batch


@dataclass(frozen=True)
class Recording:
    """codes: (S,) levels; frames: (T, C) what is told, C = 0 where nothing is."""

    name: str
    codes: npt.NDArray[np.uint8]
    frames: Array


@dataclass(frozen=True)
class SoundBatch(Batch):
    """N segments of at most J steps of the core.

    codes: (N, history + J step) levels, the history first, silence where there is none; frames: (N, T, C) what is told,
    and places: (N, J) where each step lies among them; lengths: (N,) steps.
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
    """Raises DataError that lists every recording which cannot be used."""
    return read_each(utterances, lambda utterance: _read(utterance, settings, labels), on_progress)


def frames_told(samples: Array, utterance: Utterance, settings: WaveSettings, labels: Labels) -> Array:
    """(T, C) for a recording."""
    match settings.sound.condition:
        case "none":
            return np.zeros((1, 0), np.float32)
        case "mel":
            return mel_conditions(samples, settings)
        case "labels":
            return label_conditions(utterance.text or "", utterance.speaker, len(samples), settings.features, labels)


def _read(utterance: Utterance, settings: WaveSettings, labels: Labels) -> Recording:
    samples = samples_of(utterance, settings.features.sample_rate)
    frames = frames_told(samples, utterance, settings, labels)
    return Recording(utterance.utt_id, levels_of(samples, frames, settings), frames)


class SoundSegments:
    """The batches of every epoch."""

    def __init__(self, recordings: Sequence[Recording], settings: WaveSettings) -> None:
        self._recordings = recordings
        self._settings = settings

    def num_batches(self, epoch: int) -> int:
        return len(self._plan(epoch))

    def batches(self, epoch: int, start: int) -> Iterator[SoundBatch]:
        """Those of an epoch from number ``start`` on."""
        for chosen in self._plan(epoch)[start:]:
            parts = [(self._recordings[i], first, steps) for i, first, steps in chosen]
            yield batch_of(parts, self._settings)

    def _plan(self, epoch: int) -> list[list[tuple[int, int, int]]]:
        """(recording, first step, steps) of the segments of each batch: each recording once, those that fit into a
        segment whole; segments of about the same length side by side, other ones in each epoch."""
        rng = np.random.default_rng([self._settings.train.seed, epoch])
        most, rows = self._settings.segment_steps, self._settings.segments.rows
        plan = []
        for number, recording in enumerate(self._recordings):
            steps = len(recording.codes) // self._settings.sound.step
            first = int(rng.integers(1, most + 1)) if steps > most else steps
            cuts = [0, *range(first, steps, most), steps]
            plan += [(number, a, b - a) for a, b in pairwise(cuts) if b > a]
        lengths = np.array([steps for _, _, steps in plan])
        order = np.argsort(lengths * rng.uniform(0.9, 1.1, len(plan)), kind="stable")
        groups = [[plan[i] for i in order[start : start + rows]] for start in range(0, len(plan), rows)]
        return [groups[i] for i in rng.permutation(len(groups))]


def batch_of(parts: Sequence[tuple[Recording, int, int]], settings: WaveSettings) -> SoundBatch:
    """Segments (recording, first step, steps) side by side."""
    step, history = settings.sound.step, settings.sound.history
    lengths = np.array([steps for _, _, steps in parts])
    codes = np.full((len(parts), history + int(lengths.max()) * step), MIDDLE, np.int64)
    places = np.zeros((len(parts), int(lengths.max())), np.float32)
    told = []
    for row, (recording, first, steps) in enumerate(parts):
        begin, end = first * step - history, (first + steps) * step
        piece = recording.codes[max(0, begin) : end]
        codes[row, history + steps * step - len(piece) : history + steps * step] = piece
        where = places_of(np.arange(first, first + steps), settings)
        low, high = _frames_between(where, len(recording.frames))
        told.append(recording.frames[low:high])
        places[row, :steps] = where - low
    seconds = step / settings.features.sample_rate * lengths
    return SoundBatch(
        codes, *_padded(told), places, lengths, tuple(recording.name for recording, _, _ in parts),
        float(seconds.sum()), float(seconds.max() * len(parts)), float(seconds.max()),
    )  # fmt: skip


def _frames_between(places: npt.NDArray[np.floating], count: int) -> tuple[int, int]:
    """The frames that are needed at places."""
    low = int(np.clip(np.floor(places.min()), 0, count - 1))
    high = int(np.clip(np.floor(places.max()) + 2, low + 1, count))
    return low, high


def _padded(frames: Sequence[Array]) -> tuple[Array, npt.NDArray[np.int64]]:
    lengths = np.array([len(piece) for piece in frames])
    data = np.zeros((len(frames), int(lengths.max()), frames[0].shape[1]), np.float32)
    for row, piece in zip(data, frames, strict=True):
        row[: len(piece)] = piece
    return data, lengths


def values_of(codes: npt.NDArray[np.integer]) -> Array:
    """What a network reads of levels."""
    return np.asarray(companded()[codes])
