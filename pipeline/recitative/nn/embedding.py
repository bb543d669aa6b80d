"""Tokens to vectors, and vectors to tokens through the same table."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recitative.nn.framewise import Framewise
from recitative.nn.ragged import valid_mask
from recitative.stage import Padded, State

INITIAL_RANGE = 0.1  # weights begin within -0.1..0.1 (Zaremba et al. 2014), so that a tied output begins nearly even


class Embedding(Framewise):
    """Token ids (N, T) int64 in 0..V-1 -> (N, T, width). What lies beyond a row's length may be any number."""

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
    """Several features at each place, each with a vector, added up: ids (..., F) int64 -> (..., width).

    All features share one table of ``entries`` rows, of which each has its own range. In training a feature is left out
    with ``dropout``, the others grow by as much (Srivastava et al. 2014): a model of little music otherwise learns
    combinations by heart.
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
    """The output layer whose weights are the embedding's: (N, T, C) -> (N, T, V), ln softmax(x' E^T + b), float32.

    x' is x, or a projection of x to the embedding's width where C is another. Press & Wolf 2017; Inan et al. 2017.
    """

    def __init__(self, input_width: int, embedding: Embedding) -> None:
        super().__init__()
        tokens, width = embedding.weight.shape
        self.output_width = tokens
        self.project = nn.Linear(input_width, width) if input_width != width else nn.Identity()
        self.bias = nn.Parameter(torch.zeros(tokens))
        self._embedding = (embedding,)  # in a tuple, where PyTorch does not look: its weights have one name, not two

    @property
    def weight(self) -> Tensor:
        """(V, width)"""
        return self._embedding[0].weight

    def forward(self, x: Tensor) -> Tensor:
        return F.log_softmax(F.linear(self.project(x), self.weight, self.bias).float(), dim=-1)
