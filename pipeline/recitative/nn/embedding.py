"""Embeddings of tokens and features, and the output layer that shares the embedding's weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recitative.nn.ragged import valid_mask
from recitative.nn.stages import Framewise
from recitative.stage import Padded, State

INITIAL_RANGE = 0.1  # initial weights within -0.1..0.1 (Zaremba et al. 2014): a tied output starts nearly uniform


class Embedding(Framewise):
    """Token ids (N, T) int64 in 0..V-1 -> (N, T, width). Padding may have any value."""

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.output_width = width
        self.weight = nn.Parameter(torch.empty(tokens, width).uniform_(-INITIAL_RANGE, INITIAL_RANGE))

    def forward(self, x: Tensor) -> Tensor:
        return F.embedding(x, self.weight)

    def step(self, x: Padded[Tensor], state: State, *, last: bool) -> tuple[Padded[Tensor], State]:
        inside = torch.where(valid_mask(x), x.data, x.data.new_zeros(()))
        return Padded(self(inside), x.lengths), {}


class EmbeddingSum(nn.Module):
    """The sum of the embeddings of several features: ids (..., F) int64 -> (..., width).

    All features share one table of ``entries`` rows, with separate ranges. In training each feature is dropped with
    probability ``dropout`` and the others are scaled up (Srivastava et al. 2014): with little music, a model otherwise
    memorizes combinations.
    """

    def __init__(self, entries: int, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.output_width = width
        self.dropout = dropout
        self.weight = nn.Parameter(torch.empty(entries, width).uniform_(-INITIAL_RANGE, INITIAL_RANGE))

    def forward(self, ids: Tensor) -> Tensor:
        flat = ids.flatten(0, -2)
        kept = None
        if self.training and self.dropout:
            kept = F.dropout(torch.ones(flat.shape, dtype=self.weight.dtype, device=flat.device), self.dropout)
        summed: Tensor = F.embedding_bag(flat, self.weight, mode="sum", per_sample_weights=kept)
        return summed.view(*ids.shape[:-1], self.output_width)


class EmbeddedFeatures(Framewise):
    """``EmbeddingSum`` as a stage: ids (N, T, F) int64 -> (N, T, width)."""

    def __init__(self, entries: int, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.output_width = width
        self.table = EmbeddingSum(entries, width, dropout)

    def forward(self, x: Tensor) -> Tensor:
        summed: Tensor = self.table(x)
        return summed


class TiedLogProbs(Framewise):
    """The output layer with tied weights: (N, T, C) -> (N, T, V), ln softmax(x' E^T + b), float32.

    x' is x, or a projection of x to the embedding's width if that differs. Press & Wolf 2017; Inan et al. 2017.
    """

    def __init__(self, input_width: int, embedding: Embedding) -> None:
        super().__init__()
        tokens, width = embedding.weight.shape
        self.output_width = tokens
        self.project = nn.Linear(input_width, width) if input_width != width else nn.Identity()
        self.bias = nn.Parameter(torch.zeros(tokens))
        self._embedding = (embedding,)  # in a tuple, so that PyTorch does not register its weights twice

    @property
    def weight(self) -> Tensor:
        """(V, width)"""
        return self._embedding[0].weight

    def forward(self, x: Tensor) -> Tensor:
        return F.log_softmax(F.linear(self.project(x), self.weight, self.bias).float(), dim=-1)
