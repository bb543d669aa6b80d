"""The data of a recognizer: training recordings with their labels, and the dev set."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from recitative.asr.distillation import Alternatives
from recitative.config import Settings
from recitative.data.directory import DataDirectory
from recitative.data.tables import Utterance
from recitative.errors import DataError, Problem, raise_all
from recitative.features.extraction import audio_durations_s
from recitative.nn.ctc_loss import padded_labels
from recitative.nn.ragged import pad_features
from recitative.stage import Array, Padded
from recitative.text.lexicon import Spelling
from recitative.text.tokens import required_frames
from recitative.train.audio import AudioBatch, AudioDataset, evaluation_batches


@dataclass(frozen=True)
class TranscribedBatch(AudioBatch):
    """With labels (N, L) int64; ``unmasked``: the features before SpecAugment, for a teacher, None without one."""

    labels: Padded[Tensor]
    unmasked: Padded[Tensor] | None = None

    def split(self, parts: int) -> list[TranscribedBatch]:
        """A single part is the batch in its own order."""
        return [self] if parts == 1 and self.rows else super().split(parts)


class RecognitionDataset(AudioDataset[TranscribedBatch]):
    """The utterances of a data directory or of shards with labels, and their batches in every epoch.

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
        teach: batches carry their features before SpecAugment too, for a teacher
        unlabelled: more audio, for the teacher alone: its transcripts, if there are any, are not used
        alternatives: of the transcripts, from a teacher
        """
        utterances: Sequence[Utterance] = data.utterances
        seconds = audio_durations_s(data.utterances, settings.features.sample_rate)
        self.labels = _labels(utterances, spelling, where)
        if unlabelled:
            more_s = audio_durations_s(unlabelled.utterances, settings.features.sample_rate)
            utterances = (*data.utterances, *unlabelled.utterances)
            seconds = np.concatenate([seconds, more_s])
            self.labels = Labels([*self.labels, *([] for _ in more_s)])
        self._teach, self._alternatives = teach, alternatives
        fastest = _fastest_speeds(utterances, seconds, self.labels, settings, where)
        super().__init__(utterances, seconds, settings, mean, fastest=fastest)

    def example(self, number: int, speeds: Array, rng: np.random.Generator) -> tuple[Array, Array, Sequence[int]]:
        """Features without SpecAugment's masks and with them, and the labels."""
        features, masked = self.features.sample(number, float(speeds[number]), rng)
        drawn = self._alternatives.draw(number, rng) if self._alternatives else None
        return features, masked, self.labels[number] if drawn is None else drawn

    def collate(
        self, epoch: int, numbers: Array, examples: Sequence[tuple[Array, Array, Sequence[int]]]
    ) -> TranscribedBatch:
        unmasked = pad_features([one[0] for one in examples], self.settings.features.dim) if self._teach else None
        masked, labels = [one[1] for one in examples], padded_labels([one[2] for one in examples])
        return TranscribedBatch(*self.batched(numbers, masked), labels, unmasked)


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
    raise_all(problems)
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
    raise_all(problems)
    return fastest


def _core_frames(duration_s: float, settings: Settings) -> int:
    """Frames of the network, a sample fewer than there are: another speed's length is rounded."""
    samples = int(duration_s * settings.features.sample_rate) - 1
    return settings.model.front_end.num_output_frames(settings.features.num_frames(samples))


@dataclass(frozen=True)
class DevSet:
    """Features are computed once, never augmented, and kept in memory (0.12 GB an hour)."""

    batches: tuple[TranscribedBatch, ...]
    texts: dict[str, str]  # utt_id -> reference


def load_dev_set(data: DataDirectory, settings: Settings, spelling: Spelling, where: Path) -> DevSet:
    """Raises DataError for utterances without text, what the spelling cannot write, or a wrong sample rate."""
    utterances = data.utterances
    seconds = audio_durations_s(utterances, settings.features.sample_rate)
    labels = _labels(utterances, spelling, where)
    batches = tuple(
        TranscribedBatch(batch.features, batch.names, batch.frame_s, padded_labels([labels[i] for i in numbers]))
        for numbers, batch in evaluation_batches(utterances, seconds, settings)
    )
    return DevSet(batches, {u.utt_id: u.text or "" for u in utterances})
