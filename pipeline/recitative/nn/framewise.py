"""Stages that treat every frame alone: dropout, projection, the output layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recitative.nn.ragged import zero_padding
from recitative.stage import Padded, State


class Framewise(nn.Module):
    """Base of stages without memory: stride 1, look-ahead 0, no state."""

    stride = 1
    lookahead = 0

    def output_lengths(self, lengths: Tensor) -> Tensor:
        return lengths

    def initial_state(self, n: int) -> State:
        return {}

    def step(self, x: Padded[Tensor], state: State, *, last: bool) -> tuple[Padded[Tensor], State]:
        # The padding goes first: the weights' gradient at a padded frame would be 0 * NaN.
        return Padded(self(zero_padding(x)), x.lengths), {}


class Dropout(Framewise):
    """Dropout of single values, in training only."""

    def __init__(self, width: int, probability: float) -> None:
        super().__init__()
        self.output_width = width
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.probability, self.training)


class Project(Framewise):
    """A linear layer with ReLU, (N, T, C) -> (N, T, width)."""

    def __init__(self, input_width: int, width: int) -> None:
        super().__init__()
        self.output_width = width
        self.linear = nn.Linear(input_width, width)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.linear(x))


class LogProbs(Framewise):
    """The output layer: log probabilities over tokens, (N, T, C) -> (N, T, V), in float32 whatever came in."""

    def __init__(self, input_width: int, tokens: int) -> None:
        super().__init__()
        self.output_width = tokens
        self.linear = nn.Linear(input_width, tokens)

    def forward(self, x: Tensor) -> Tensor:
        return F.log_softmax(self.linear(x).float(), dim=-1)
