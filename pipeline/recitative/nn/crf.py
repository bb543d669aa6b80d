"""A CRF with the topology of CTC (Xiang & Ou 2019, "CRF-based single-stage acoustic modeling with CTC topology").

    p(labels | input) = p_LM(labels) p_CTC(labels | input) / sum over l of p_LM(l) p_CTC(l | input)

The loss compares the transcript with all other label sequences, each weighted by a trigram of labels. It is
lattice-free MMI (Povey et al. 2016) without alignments. With CTC alone, every frame learns to prefer what is frequent,
since labels are independent of each other, and in decoding the language model prefers it once more; here it takes part
in training.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from recitative.nn.ragged import valid_mask
from recitative.stage import Padded

MAX_TOKENS = 100  # the sum goes through all trigrams of them in every frame


class LabelTrigram(nn.Module):
    """A trigram of labels, with all its probabilities in one table, smoothed by Witten & Bell 1991."""

    def __init__(self, rows: Iterable[Sequence[int]], tokens: int) -> None:
        """rows: label sequences, of ids in 1..tokens-1; 0 marks the begin of a sequence."""
        super().__init__()
        counts = np.zeros((tokens, tokens, tokens))
        for row in rows:
            history = np.concatenate([[0, 0], np.asarray(row, np.int64)])
            np.add.at(counts, (history[:-2], history[1:-1], history[2:]), 1)
        below = np.full(tokens, 1 / (tokens - 1))
        below[0] = 0  # the blank is no label
        for level in (counts.sum((0, 1)), counts.sum(0), counts):
            seen, kinds = level.sum(-1, keepdims=True), (level > 0).sum(-1, keepdims=True)
            below = np.where(seen > 0, (level + kinds * below) / np.maximum(seen + kinds, 1), below)
        self.log_probs: Tensor
        self.register_buffer("log_probs", torch.from_numpy(np.log(np.maximum(below, 1e-30))).float())

    def forward(self, log_probs: Padded[Tensor], labels: Padded[Tensor]) -> Tensor:
        """The loss of the CRF less that of CTC, summed over the batch, in nats. N may be 0."""
        return (self.log_sum(log_probs) - self.score(labels)).sum()

    def score(self, labels: Padded[Tensor]) -> Tensor:
        """ln p_LM of labels (N, L) -> (N,)."""
        history = nn.functional.pad(labels.data, (2, 0))
        scores = self.log_probs[history[:, :-2], history[:, 1:-1], history[:, 2:]]
        return torch.where(valid_mask(labels), scores, 0.0).sum(-1)

    def log_sum(self, log_probs: Padded[Tensor]) -> Tensor:
        """ln of the sum over all label sequences of p_LM p_CTC: (N, T, V) float32 -> (N,), differentiable.

        The forward algorithm. A state is the last two labels, and whether the last frame was a label or a blank. Its
        probabilities are scaled to a sum of 1 in every frame.
        """
        if not log_probs.data.numel():
            return log_probs.data.sum((1, 2))  # 0, with a gradient
        with torch.autocast(log_probs.data.device.type, enabled=False):
            return self._log_sum(log_probs)

    def _log_sum(self, log_probs: Padded[Tensor]) -> Tensor:
        rows, _, tokens = log_probs.data.shape
        emitted = log_probs.data.exp().permute(1, 2, 0)[..., None]  # (T, V, N, 1)
        table = self.log_probs.exp().transpose(0, 1).contiguous()  # (last a, before x, next b)
        again = table.diagonal(dim1=0, dim2=2).T[:, None]  # (a, 1, x): a label twice, with a blank between
        other = table * (1 - torch.eye(tokens, device=table.device))[:, None]
        label = table.new_zeros(tokens, rows, tokens)  # (last a, row, before x)
        blank = label.clone()
        blank[0, :, 0] = 1
        scales = []
        for frame in emitted.unbind(0):
            both = label + blank
            onward = torch.bmm(both, other) + torch.diag_embed((blank * again).sum(-1).T).transpose(0, 1)  # (a, N, b)
            label, blank = frame * (label + onward.permute(2, 1, 0)), frame[0] * both
            scale = (label + blank).sum((0, 2))
            scales.append(scale.log())
            label, blank = label / scale[:, None], blank / scale[:, None]
        sums = torch.stack(scales, -1).cumsum(-1)  # (N, T)
        last = (log_probs.lengths.to(sums.device) - 1).clamp(min=0)
        return sums.gather(-1, last[:, None])[:, 0]
