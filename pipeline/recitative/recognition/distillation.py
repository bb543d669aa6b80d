"""Distillation: a student learns frame by frame what a better, slower teacher says of the same audio.

CTC tells a network what was said but not when; a bidirectional teacher knows both, and how sure one can be. The loss
beside CTC is the relative entropy of the student's distributions to the teacher's (Hinton et al. 2015), d frames later
(``distill.delay_frames``), since a streaming student has heard less when the teacher's frame ends:

    sum over t of sum over v of P(v | t) (ln P(v | t) - ln Q(v | t + d))

Senior et al. 2015 found that the two must agree on the times before frames can be compared: the transcripts' CTC leaves
the student free to speak whenever it likes, this sum holds it to the teacher's frames (Kurata & Audhkhasi 2018). The
teacher hears the features before SpecAugment, the student after it, both with the same speed and vocal tract.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from recitative.errors import UsageError
from recitative.models.folder import Recogniser, load_recogniser
from recitative.nn.ragged import valid_mask
from recitative.stage import Padded


@dataclass(frozen=True)
class Teacher:
    """A trained recogniser that is listened to and never changed."""

    recogniser: Recogniser
    delay_frames: int

    @torch.no_grad()
    def log_probs(self, features: Padded[Tensor]) -> Padded[Tensor]:
        """Features (N, T, C) before SpecAugment -> (N, T', V)."""
        return self.recogniser.log_probs(self.recogniser.encode(features))

    def loss(self, student: Padded[Tensor], taught: Padded[Tensor]) -> Tensor:
        """See ``relative_entropy``, at the student's delay."""
        return relative_entropy(taught, student, self.delay_frames)


def relative_entropy(taught: Padded[Tensor], student: Padded[Tensor], delay_frames: int) -> Tensor:
    """The sum above over all rows and frames that both have, in nats; log probabilities (N, T, V) and (N, T', V)."""
    taught, student = _from(taught, max(0, -delay_frames)), _from(student, max(0, delay_frames))
    lengths = torch.minimum(taught.lengths, student.lengths)
    frames = int(lengths.max()) if len(lengths) else 0
    p, q = taught.data[:, :frames], student.data[:, :frames]
    both = valid_mask(Padded(q, lengths))[..., None]  # (N, T, 1)
    # A token that the teacher rules out contributes nothing, and neither does the padding, whatever is in it.
    said = both & (p > -torch.inf)
    weights = torch.where(said, p.exp(), 0.0)
    return (weights * (torch.where(said, p, 0.0) - torch.where(said, q, 0.0))).sum()


def load_teacher(folder: Path, student: Recogniser, device: torch.device) -> Teacher:
    """Read a model folder to learn from.

    Raises UsageError if it hears other features, says other tokens, or has another frame rate than the student.
    """
    teacher = load_recogniser(folder)
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
    return Teacher(teacher, student.settings.distill.delay_frames)


def _from(x: Padded[Tensor], start: int) -> Padded[Tensor]:
    """Each row without its first ``start`` frames."""
    return Padded(x.data[:, start:], (x.lengths - start).clamp(min=0))
