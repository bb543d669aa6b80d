"""Distillation: a student learns the distributions of a better, slower teacher, frame by frame.

A transcript has no times; a bidirectional teacher knows them, and how certain each token is. The loss added to CTC is
the relative entropy of the student's distributions to the teacher's (Hinton et al. 2015), d frames later
(``distill.delay_frames``), since a streaming student has less context at the end of the teacher's frame:

    sum over t of min over |e| <= w of sum over v of P(v | t) (ln P(v | t) - ln Q(v | t + d + e))

CTC's tokens are spikes of one frame, and the frame of a spike is an accident of training. With w = 0 a student that
cannot predict it spreads a token over the frames where the teacher's spike may be, each less likely than the blank, and
greedy decoding loses it (on AN4's dev set 11.1 % wrong phones instead of 9.0). So each frame of the teacher is compared
with the best student frame within w = ``distill.window_frames`` (Kurata & Audhkhasi 2018). The teacher gets the
features before SpecAugment, the student those after it, both with the same speed and vocal tract.

Audio without transcripts is labelled by the teacher: the likeliest tokens of its frames without repeats and blanks, in
each epoch with that epoch's speed and vocal tract.

Distillation of sequences (Kim & Rush 2016; Takashima et al. 2018) uses labels: with probability ``distill.nbest`` an
utterance is trained on one of the teacher's n-best texts instead of its transcript, sampled in each epoch by the
texts' posteriors. The expected loss is CTC's loss of all texts, weighted by their posteriors, at the price of one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from recitative.asr.kind import RECOGNIZER
from recitative.asr.network import RecognizerModel
from recitative.asr.tuning import read_nbest
from recitative.data.tables import Utterance
from recitative.errors import DataError, UsageError
from recitative.model.folder import load_model
from recitative.nn.ragged import valid_mask
from recitative.stage import Padded
from recitative.text.lexicon import Spelling

BLANK_ID = 0


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
    """Greedy decoding of (N, T, V): the likeliest tokens of each row, without repeats and blanks."""
    best = torch.where(valid_mask(log_probs), log_probs.data.argmax(-1), BLANK_ID)
    before = torch.cat([torch.full_like(best[:, :1], BLANK_ID), best[:, :-1]], 1)
    kept = (best != BLANK_ID) & (best != before)
    return [row[chosen].tolist() for row, chosen in zip(best, kept, strict=True)]
