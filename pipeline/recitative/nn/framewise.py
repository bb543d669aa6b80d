"""Stages that treat every frame alone: dropout, projection, the output layer."""

from __future__ import annotations

from fractions import Fraction

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recitative.nn.ragged import zero_padding
from recitative.stage import Padded, State


class Framewise(nn.Module):
    """Base of stages without memory: stride 1, look-ahead 0, no state."""

    stride: int | Fraction = 1  # a fraction: several outputs per input
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
    """The output layer: log probabilities over tokens, (N, T, C) -> (N, R * T, V), always in float32.

    With R > 1 each step of the recurrent core predicts R frames: a network with a core of 80 ms and an output every
    40 ms costs half of one whose core runs at 40 ms (multi-frame prediction, Vanhoucke et al. 2013).
    """

    def __init__(self, input_width: int, tokens: int, outputs_per_step: int = 1) -> None:
        super().__init__()
        self.output_width = tokens
        self.outputs_per_step = outputs_per_step
        self.stride = Fraction(1, outputs_per_step)
        self.linear = nn.Linear(input_width, outputs_per_step * tokens)

    def forward(self, x: Tensor) -> Tensor:
        rows, steps, _ = x.shape
        scores = self.linear(x).float().view(rows, steps * self.outputs_per_step, self.output_width)
        return F.log_softmax(scores, dim=-1)

    def output_lengths(self, lengths: Tensor) -> Tensor:
        return lengths * self.outputs_per_step

    def step(self, x: Padded[Tensor], state: State, *, last: bool) -> tuple[Padded[Tensor], State]:
        y, _ = super().step(x, state, last=last)
        return Padded(y.data, self.output_lengths(y.lengths)), {}
