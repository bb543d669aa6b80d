"""Distillation: a student learns frame by frame what a better, slower teacher says of the same audio.

CTC tells a network what was said but not when; a bidirectional teacher knows both, and how sure one can be. The loss
beside CTC is the relative entropy of the student's distributions to the teacher's (Hinton et al. 2015), d frames later
(``distill.delay_frames``), since a streaming student has heard less when the teacher's frame ends:

    sum over t of min over |e| <= w of sum over v of P(v | t) (ln P(v | t) - ln Q(v | t + d + e))

CTC's tokens are spikes of one frame, and which frame a spike takes is an accident of training. With w = 0 a student
that cannot know it spreads a token over the frames where the teacher's spike may be, each less likely than the blank,
and greedy decoding loses it (on AN4's dev set 11.1 % wrong phones instead of 9.0). So each frame of the teacher is
compared with the best of those nearby, w = ``distill.window_frames`` to either side (Kurata & Audhkhasi 2018). The
teacher hears the features before SpecAugment, the student after it, both with the same speed and vocal tract.

Audio without transcripts teaches as well: its transcript is the teacher's own, the likeliest tokens of its frames with
repeats and blanks taken away, heard anew with each epoch's speed and vocal tract.

Whole sequences (Kim & Rush 2016; Takashima et al. 2018) come in as labels: with the chance ``distill.nbest`` an
utterance is trained on one of the teacher's n-best texts instead of its transcript, drawn anew in every epoch by the
texts' posteriors. On average that is CTC's loss of all of them, weighted by their posteriors, at the price of one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from recitative.asr.network import RecognizerModel
from recitative.asr.recognizer_kind import RECOGNIZER
from recitative.asr.rescoring import read_nbest
from recitative.data.tables import Utterance
from recitative.errors import DataError, UsageError
from recitative.model.folder import load_model
from recitative.nn.ragged import valid_mask
from recitative.stage import Padded
from recitative.text.lexicon import Spelling

BLANK_ID = 0


@dataclass(frozen=True)
class Teacher:
    """A trained recognizer that is listened to and never changed."""

    recognizer: RecognizerModel
    delay_frames: int
    window_frames: int

    @torch.no_grad()
    def log_probs(self, features: Padded[Tensor]) -> Padded[Tensor]:
        """Features (N, T, C) before SpecAugment -> (N, T', V)."""
        return self.recognizer.log_probs(self.recognizer.encode(features))

    def loss(self, student: Padded[Tensor], taught: Padded[Tensor]) -> Tensor:
        """See ``relative_entropy``, at the student's delay."""
        return relative_entropy(taught, student, self.delay_frames, self.window_frames)


class Alternatives:
    """Labels of other texts that an utterance may be trained on, drawn by their posteriors."""

    def __init__(self, chance: float, texts: Mapping[int, tuple[Sequence[float], Sequence[list[int]]]]) -> None:
        """chance: 0 to 1, of an alternative rather than the transcript
        texts: number of an utterance -> natural logarithms of the scores, and the labels of each text
        """
        self._chance = chance
        self._texts = {number: (_posteriors(scores), labels) for number, (scores, labels) in texts.items()}

    def draw(self, number: int, rng: np.random.Generator) -> list[int] | None:
        """Labels to train on in this epoch; None for the transcript's."""
        if number not in self._texts or rng.random() >= self._chance:
            return None
        posteriors, labels = self._texts[number]
        return labels[rng.choice(len(labels), p=posteriors)]


def _posteriors(scores: Sequence[float]) -> npt.NDArray[np.float64]:
    weights = np.exp(np.asarray(scores) - max(scores))
    return np.asarray(weights / weights.sum())


def read_alternatives(path: Path, utterances: Sequence[Utterance], spelling: Spelling, chance: float) -> Alternatives:
    """From what 'recitative decode --nbest' wrote of the training utterances.

    Texts without a word, or with words that the spelling cannot write, are left out; so are those with more labels than
    the transcript by a fifth, which might not fit the frames. Raises DataError for a file that is no n-best list, or
    has none of the utterances.
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
    taught: Padded[Tensor], student: Padded[Tensor], delay_frames: int, window_frames: int = 0
) -> Tensor:
    """The sum above in nats; log probabilities (N, T, V) and (N, T', V).

    A frame of the teacher for which the student has no frame in its window does not count.
    """
    shifts = range(delay_frames - window_frames, delay_frames + window_frames + 1)
    nearby = torch.stack([_at_shift(taught, student, shift) for shift in shifts])  # (2 w + 1, N, T)
    best = nearby.min(0).values
    return torch.where(best < torch.inf, best, 0.0).sum()


def _at_shift(taught: Padded[Tensor], student: Padded[Tensor], shift: int) -> Tensor:
    """(N, T) of each frame t of the teacher, compared with frame t + shift of the student; infinite without one."""
    rows, frames, _ = taught.data.shape
    position = torch.arange(frames, device=taught.data.device) + shift
    there = (position >= 0) & (position < student.lengths[:, None]) & valid_mask(taught)  # (N, T)
    if not student.data.shape[1]:
        return taught.data.new_full((rows, frames), torch.inf)
    q = student.data[:, position.clamp(0, student.data.shape[1] - 1)]  # (N, T, V)
    # A token that the teacher rules out contributes nothing, and neither does the padding, whatever is in it.
    said = there[..., None] & (taught.data > -torch.inf)
    p = torch.where(said, taught.data, 0.0)
    terms = torch.where(said, p.exp() * (p - torch.where(said, q, 0.0)), 0.0).sum(-1)
    return torch.where(there, terms, torch.inf)


def load_teacher(folder: Path, student: RecognizerModel, device: torch.device) -> Teacher:
    """Read a model folder to learn from.

    Raises UsageError if it hears other features, says other tokens, or has another frame rate than the student.
    """
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


def heard_labels(log_probs: Padded[Tensor]) -> list[list[int]]:
    """The likeliest tokens of each row of (N, T, V), repeats and blanks taken away."""
    best = torch.where(valid_mask(log_probs), log_probs.data.argmax(-1), BLANK_ID)
    before = torch.cat([torch.full_like(best[:, :1], BLANK_ID), best[:, :-1]], 1)
    kept = (best != BLANK_ID) & (best != before)
    return [row[chosen].tolist() for row, chosen in zip(best, kept, strict=True)]
