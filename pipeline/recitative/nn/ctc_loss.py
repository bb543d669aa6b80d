"""The CTC loss (Graves et al. 2006), as a sum and a count."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from recitative.errors import DataError
from recitative.stage import Padded
from recitative.text.tokens import required_frames


def ctc_loss(log_probs: Padded[Tensor], labels: Padded[Tensor], names: Sequence[str]) -> tuple[Tensor, int]:
    """-log p(labels | input) summed over the batch, in nats, and the number of labels.

    log_probs: (N, T, V) float32, token 0 is the blank
    labels:    (N, L) int64 in 1..V-1
    names:     N utterance ids, for errors; N may be 0
    Raises DataError that names the utterances with too few frames for their labels. Their loss would be infinite, and
    zero instead (``zero_infinity``) would make a broken utterance look perfect.
    """
    if not names:
        return log_probs.data.sum(), 0  # 0, with a gradient; PyTorch refuses empty batches
    _require_room(log_probs.lengths, labels, names)
    sums = F.ctc_loss(
        log_probs.data.transpose(0, 1),  # (N, T, V) -> (T, N, V)
        labels.data,
        log_probs.lengths,
        labels.lengths,
        blank=0,
        reduction="sum",
        zero_infinity=False,
    )
    return sums, int(labels.lengths.sum())


def _require_room(frames: Tensor, labels: Padded[Tensor], names: Sequence[str]) -> None:
    rows = zip(names, frames.tolist(), labels.data.tolist(), labels.lengths.tolist(), strict=True)
    short = [
        f"'{name}' ({have} frames, needs {need})"
        for name, have, row, n in rows
        if have < (need := required_frames(row[:n]))
    ]
    if short:
        raise DataError(
            f"utterance {', '.join(short)}",
            "the text is longer than the audio allows",
            "at least one frame a label and one more between equal neighbors",
            "correct the text or the segment, or lower the front end's stride",
        )


def fits(labels: Sequence[int], frames: int) -> bool:
    """Whether there is a frame for each label and one more between equal neighbors."""
    return required_frames(labels) <= frames


def padded_labels(rows: Sequence[Sequence[int]]) -> Padded[Tensor]:
    """Lists of labels as a padded batch (N, L)."""
    lengths = torch.tensor([len(row) for row in rows], dtype=torch.int64)
    data = torch.zeros(len(rows), int(lengths.max()) if rows else 0, dtype=torch.int64)
    for i, row in enumerate(rows):
        data[i, : len(row)] = torch.tensor(row, dtype=torch.int64)
    return Padded(data, lengths)
