"""The data of a recognizer: training recordings with their labels, the dev set, and what a teacher adds to both."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from recitative.asr.kind import RECOGNIZER
from recitative.asr.network import RecognizerModel
from recitative.asr.tuning import read_nbest
from recitative.config import Settings
from recitative.data.directory import DataDirectory
from recitative.data.tables import Utterance
from recitative.decoding.hypotheses import best_labels
from recitative.errors import DataError, Problem, UsageError, counted, raise_all
from recitative.features.extraction import audio_durations_s
from recitative.model.folder import load_model
from recitative.nn.heads import padded_labels
from recitative.nn.ragged import pad_features, valid_mask
from recitative.stage import Array, Padded
from recitative.text.tokens import Spelling, required_frames
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
        unlabeled: DataDirectory | None = None,
        alternatives: Alternatives | None = None,
    ) -> None:
        """mean (C,): what SpecAugment masks with, the corpus's mean of each channel
        teach: batches carry their features before SpecAugment too, for a teacher
        unlabeled: more audio, for the teacher alone: its transcripts, if there are any, are not used
        alternatives: of the transcripts, from a teacher
        """
        utterances: Sequence[Utterance] = data.utterances
        seconds = audio_durations_s(data.utterances, settings.features.sample_rate)
        self.labels = labels_of(utterances, spelling, where)
        if unlabeled:
            more_s = audio_durations_s(unlabeled.utterances, settings.features.sample_rate)
            utterances = (*data.utterances, *unlabeled.utterances)
            seconds = np.concatenate([seconds, more_s])
            self.labels = Labels([*self.labels, *([] for _ in more_s)])
        self._teach, self._alternatives, self._front_end = teach, alternatives, settings.model.front_end
        fastest = _fastest_speeds(utterances, seconds, self.labels, settings, where)
        super().__init__(utterances, seconds, settings, mean, fastest=fastest)

    def example(self, number: int, speeds: Array, rng: np.random.Generator) -> tuple[Array, Array, Sequence[int]]:
        """Features without SpecAugment's masks and with them, and the labels."""
        least = self._front_end.num_input_frames(max(required_frames(self.labels[number]), 1))
        features, masked = self.features.sample(number, float(speeds[number]), rng, least)
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


def labels_of(utterances: Sequence[Utterance], spelling: Spelling, where: Path) -> Labels:
    """Raises one DataError for all utterances without text, or with what the spelling cannot write."""
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
            found = f"{counted(frames, 'frame')} at speed {speeds[0]:g} for {counted(len(row), 'label')}"
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
    labels = labels_of(utterances, spelling, where)
    batches = tuple(
        TranscribedBatch(batch.features, batch.names, batch.frame_s, padded_labels([labels[i] for i in numbers]))
        for numbers, batch in evaluation_batches(utterances, seconds, settings)
    )
    return DevSet(batches, {u.utt_id: u.text or "" for u in utterances})


# Distillation: a student learns the distributions of a better, slower teacher, frame by frame.
#
# A transcript has no times; a bidirectional teacher knows them, and how certain each token is. The loss added to CTC is
# the relative entropy of the student's distributions to the teacher's (Hinton et al. 2015), d frames later
# (``distill.delay_frames``), since a streaming student has less context at the end of the teacher's frame:
#
#     sum over t of min over |e| <= w of sum over v of P(v | t) (ln P(v | t) - ln Q(v | t + d + e))
#
# CTC's tokens are spikes of one frame, and the frame of a spike is an accident of training. With w = 0 a student that
# cannot predict it spreads a token over the frames where the teacher's spike may be, each less likely than the blank,
# and greedy decoding loses it (on AN4's dev set 11.1 % wrong phones instead of 9.0). So each frame of the teacher is
# compared with the best student frame within w = ``distill.window_frames`` (Kurata & Audhkhasi 2018). The teacher gets
# the features before SpecAugment, the student those after it, both with the same speed and vocal tract.
#
# Audio without transcripts is labeled by the teacher: the likeliest tokens of its frames without repeats and blanks,
# in each epoch with that epoch's speed and vocal tract.
#
# Distillation of sequences (Kim & Rush 2016; Takashima et al. 2018) uses labels: with probability ``distill.nbest`` an
# utterance is trained on one of the teacher's n-best texts instead of its transcript, sampled in each epoch by the
# texts' posteriors. The expected loss is CTC's loss of all texts, weighted by their posteriors, at the price of one.


@dataclass(frozen=True)
class Teacher:
    """A trained recognizer, with fixed weights."""

    recognizer: RecognizerModel
    delay_frames: int
    window_frames: int

    @torch.no_grad()
    def log_probs(self, features: Padded[Tensor]) -> Padded[Tensor]:
        """Features (N, T, C) before SpecAugment -> (N, T', V)."""
        return self.recognizer.log_probs(self.recognizer.encode(features))

    def loss(self, student: Padded[Tensor], teacher: Padded[Tensor]) -> Tensor:
        """``relative_entropy`` of log probabilities (N, T, V), at the student's delay."""
        return relative_entropy(teacher, student, self.delay_frames, self.window_frames)


class Alternatives:
    """N-best texts as labels, sampled by their posteriors instead of the transcript."""

    def __init__(self, chance: float, texts: Mapping[int, tuple[Sequence[float], Sequence[list[int]]]]) -> None:
        """chance: probability 0 to 1 of an alternative
        texts: number of an utterance -> scores in natural logarithms, and labels, of each text
        """
        self._chance = chance
        self._texts: dict[int, tuple[npt.NDArray[np.float64], Sequence[list[int]]]] = {}
        for number, (scores, labels) in texts.items():
            weights = np.exp(np.asarray(scores) - max(scores))
            self._texts[number] = np.asarray(weights / weights.sum()), labels

    def draw(self, number: int, rng: np.random.Generator) -> list[int] | None:
        """Labels for this epoch; None: those of the transcript."""
        if number not in self._texts or rng.random() >= self._chance:
            return None
        posteriors, labels = self._texts[number]
        return labels[rng.choice(len(labels), p=posteriors)]


def read_alternatives(path: Path, utterances: Sequence[Utterance], spelling: Spelling, chance: float) -> Alternatives:
    """Read the output of 'recitative decode --nbest' for the training utterances.

    Texts without words, with words that the spelling cannot write, or with over a fifth more labels than the
    transcript, which might not fit the frames, are left out. Raises DataError for a file that is no n-best list, or has
    none of the utterances.
    """
    nbest = read_nbest(path)
    texts: dict[int, tuple[list[float], list[list[int]]]] = {}
    for number, utterance in enumerate(utterances):
        most = 1.2 * len(spelling.split(utterance.text or ""))
        usable = [
            (candidate.score, labels)
            for candidate in nbest.get(utterance.utt_id, [])
            if candidate.text and not spelling.unknown(candidate.text)
            if len(labels := spelling.encode(candidate.text, utt_id=utterance.utt_id)) <= most
        ]
        if usable:
            texts[number] = [score for score, _ in usable], [labels for _, labels in usable]
    if not texts:
        allowed = "lists of the training utterances, with words of the lexicon"
        raise DataError(str(path), "has no text to train on", allowed, "decode the training data with --nbest 10")
    return Alternatives(chance, texts)


def relative_entropy(
    teacher: Padded[Tensor], student: Padded[Tensor], delay_frames: int, window_frames: int = 0
) -> Tensor:
    """The sum above in nats, of log probabilities (N, T, V) and (N, T', V).

    Frames of the teacher without a student frame in their window do not count.
    """
    shifts = range(delay_frames - window_frames, delay_frames + window_frames + 1)
    nearby = torch.stack([_at_shift(teacher, student, shift) for shift in shifts])  # (2 w + 1, N, T)
    best = nearby.min(0).values
    return torch.where(best < torch.inf, best, 0.0).sum()


def _at_shift(teacher: Padded[Tensor], student: Padded[Tensor], shift: int) -> Tensor:
    """(N, T): relative entropy of the student's frame t + shift to the teacher's frame t; infinite without one."""
    rows, frames, _ = teacher.data.shape
    position = torch.arange(frames, device=teacher.data.device) + shift
    valid = (position >= 0) & (position < student.lengths[:, None]) & valid_mask(teacher)  # (N, T)
    if not student.data.shape[1]:
        return teacher.data.new_full((rows, frames), torch.inf)
    q = student.data[:, position.clamp(0, student.data.shape[1] - 1)]  # (N, T, V)
    # Tokens with probability 0 for the teacher, and padding, contribute nothing.
    counted = valid[..., None] & (teacher.data > -torch.inf)
    p = torch.where(counted, teacher.data, 0.0)
    terms = torch.where(counted, p.exp() * (p - torch.where(counted, q, 0.0)), 0.0).sum(-1)
    return torch.where(valid, terms, torch.inf)


def load_teacher(folder: Path, student: RecognizerModel, device: torch.device) -> Teacher:
    """Read the teacher's model folder. Raises UsageError if features, tokens or frame rate aren't the student's."""
    teacher = load_model(folder, RECOGNIZER)
    faults = {
        "other tokens": teacher.tokens != student.tokens,
        "other features": teacher.settings.features != student.settings.features,
        f"one output per {teacher.network.stride} frames": teacher.network.stride != student.network.stride,
    }
    for found, differs in faults.items():
        if differs:
            allowed = "the student's tokens, features and frames per output"
            raise UsageError(f"--teacher {folder}: has {found}; {allowed}; train one of the two to suit the other")
    teacher.network.to(device)
    settings = student.settings.distill
    return Teacher(teacher, settings.delay_frames, settings.window_frames)


def greedy_labels(log_probs: Padded[Tensor]) -> list[list[int]]:
    """The labels of the best path of each row (N, T, V)."""
    return best_labels(Padded(log_probs.data.float().cpu().numpy(), log_probs.lengths.cpu().numpy()))
