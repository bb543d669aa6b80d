"""The output layer of music: one voice's pitch, beside others that are known."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recitative.nn.embedding import EmbeddingSum


class ChoiceHead(nn.Module):
    """What a voice sings, from the core's output, features of the choice and the pitches ``beside`` it.

        g = r + gelu(W2 r),  r = gelu(W1 h + sum of the features' vectors)
        score(pitch p) = (A g)_p + sum over known pitches q beside it of (B_q g)_(p - q),    score(silence) = (A g)_K

    so a pitch is scored by itself and by the interval that it makes with each of the others: what is learned of a chord
    or a step in one key holds in all. After choosing, the frame goes on to its next voice (as in RNN-NADE,
    Boulanger-Lewandowski et al. 2012, whose chain goes over all keys of a piano, not over voices).
    """

    def __init__(
        self,
        hidden: int,
        width: int,
        entries: int,
        pitches: int,
        beside: int,
        dropout: float = 0.0,
        feature_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.pitches = pitches
        self.choices = EmbeddingSum(entries, width, feature_dropout)
        self.from_core = nn.Linear(hidden, width)
        self.inner = nn.Linear(width, width)
        self.alone = nn.Linear(width, pitches + 1)  # silence last
        self.between = nn.Linear(width, beside * (2 * pitches - 1))
        self.dropout = nn.Dropout(dropout)
        nn.init.zeros_(self.between.weight)
        nn.init.zeros_(self.between.bias)

    def forward(self, h: Tensor, ids: Tensor, beside: Tensor) -> Tensor:
        """(..., H), features (..., F), tokens (..., R) -> scores (..., pitches + 1) float32, before any softmax.

        A token of ``pitches`` or more is no pitch and says nothing.
        """
        r = self.dropout(F.gelu(self.from_core(h) + self.choices(ids)))
        g = r + self.dropout(F.gelu(self.inner(r)))
        scores: Tensor = self.alone(g) + F.pad(self._intervals(g, beside), (0, 1))
        return scores.float()

    def _intervals(self, g: Tensor, beside: Tensor) -> Tensor:
        by_interval: Tensor = self.between(g)
        by_interval = by_interval.view(*beside.shape, 2 * self.pitches - 1)  # (..., R, 2 K - 1)
        pitches = torch.arange(self.pitches, device=g.device)
        known = beside < self.pitches
        index = pitches - torch.where(known, beside, 0)[..., None] + self.pitches - 1  # (..., R, K)
        return (by_interval.gather(-1, index) * known[..., None]).sum(-2)
