"""The output layer of sound: which level a sample has, given those before it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SampleHead(nn.Module):
    """The last tier of SampleRNN (Mehri et al. 2017): the core speaks once for ``step`` samples, a small network
    without memory decides each of them from what it said and the samples just before.

        r = relu(U_k h + W (last ``history`` samples) + E[last level]),   scores = W3 relu(W2 r)

    U_k is another matrix for each of the ``step`` places.
    """

    def __init__(self, hidden: int, width: int, step: int, history: int, levels: int) -> None:
        super().__init__()
        self.step, self.width, self.history = step, width, history
        self.from_core = nn.Linear(hidden, step * width)
        self.from_samples = nn.Linear(history, width, bias=False)
        self.from_level = nn.Parameter(torch.empty(levels, width).uniform_(-0.1, 0.1))
        self.inner = nn.Linear(width, width)
        self.scores = nn.Linear(width, levels)

    def forward(self, h: Tensor, levels: Tensor, values: Tensor) -> Tensor:
        """Teacher forcing.

        h: (N, J, H); levels: (N, J step) int64, the level before each sample; values: (N, history - 1 + J step), what
        the network reads of the samples from ``history`` before the first one on, up to the last but one
        -> scores (N, J step, levels) before the softmax.
        """
        said = self.from_core(h).view(h.shape[0], -1, self.width)  # (N, J, step W) -> (N, J step, W)
        kernel = self.from_samples.weight[:, None]  # (W, 1, history)
        heard = F.conv1d(values[:, None], kernel).transpose(1, 2)
        r = torch.relu(said + heard + F.embedding(levels, self.from_level))
        scores: Tensor = self.scores(torch.relu(self.inner(r)))
        return scores
