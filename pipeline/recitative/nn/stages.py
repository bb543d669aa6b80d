"""Stages without memory of their own, stages in sequence, and a delay."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recitative.nn.ragged import zero_padding
from recitative.stage import Padded, State


class SameRate(nn.Module):
    """Base of stages with an output for every input, and without look-ahead."""

    stride: int | Fraction = 1  # a fraction: several outputs per input
    lookahead: int | None = 0

    def output_lengths(self, lengths: Tensor) -> Tensor:
        return lengths


class SameWidth(SameRate):
    """Base of such stages without parameters: (N, T, C) -> (N, T, C). ``_like`` has the device of their state."""

    _like: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.input_width = self.output_width = width
        self.register_buffer("_like", torch.zeros(()), persistent=False)


class Framewise(SameRate):
    """Base of stages that treat every frame alone, without state."""

    def initial_state(self, n: int) -> State:
        return {}

    def step(self, x: Padded[Tensor], state: State, *, last: bool) -> tuple[Padded[Tensor], State]:
        # Zero the padding first: at padded frames the gradient of the weights would be 0 * NaN.
        return Padded(self(zero_padding(x)), x.lengths), {}


class Dropout(Framewise):
    """Dropout of single values, only in training."""

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
    """The output layer: log probabilities of tokens, (N, T, C) -> (N, R * T, V), always float32.

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


class Chain(nn.Module):
    """Named stages in sequence are a stage. State: the entries of each stage as ``{stage}.{entry}``."""

    def __init__(self, stages: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.stages = nn.ModuleDict(dict(stages))

    def _parts(self) -> list[tuple[str, Any]]:
        return list(self.stages.items())

    @property
    def stride(self) -> int:
        return int(prod(stage.stride for _, stage in self._parts()))

    @property
    def lookahead(self) -> int | None:
        """In inputs of the first stage: the sum of each stage's look-ahead times the strides before it."""
        total, stride = 0, 1
        for _, stage in self._parts():
            if stage.lookahead is None:
                return None
            total += stage.lookahead * stride
            stride *= stage.stride
        return total

    def output_lengths(self, lengths: Tensor) -> Tensor:
        for _, stage in self._parts():
            lengths = stage.output_lengths(lengths)
        return lengths

    def initial_state(self, n: int) -> State:
        return {
            f"{name}.{key}": value for name, stage in self._parts() for key, value in stage.initial_state(n).items()
        }

    def step(self, x: Padded[Tensor], state: State, *, last: bool) -> tuple[Padded[Tensor], State]:
        new_state: State = {}
        for name, stage in self._parts():
            own = {key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")}
            x, stage_state = stage.step(x, own, last=last)
            new_state |= {f"{name}.{key}": value for key, value in stage_state.items()}
        return x, new_state


class Delay(SameWidth):
    """y[t] = x[t - frames], with zeros before the first frame: (N, T, C) -> (N, T, C). Input of a forecast.

    The look-ahead is negative: output t does not depend on the last ``frames`` inputs up to t.

    State: ``before`` (N, frames, C), the last input frames.
    """

    def __init__(self, width: int, frames: int) -> None:
        """frames: at least 1."""
        super().__init__(width)
        self.frames = frames
        self.lookahead = -frames

    def initial_state(self, n: int) -> State:
        return {"before": self._like.new_zeros(n, self.frames, self.input_width)}

    def step(self, x: Padded[Tensor], state: State, *, last: bool) -> tuple[Padded[Tensor], State]:
        heard = torch.cat([state["before"].to(x.data.dtype), x.data], dim=1)  # row n ends at frames + lengths[n]
        y = Padded(heard[:, : x.data.shape[1]], x.lengths)
        if last:
            return y, self.initial_state(len(x.lengths))
        index = x.lengths[:, None] + torch.arange(self.frames, device=x.lengths.device)
        before = heard.gather(1, index[..., None].expand(-1, -1, heard.shape[2]))
        return y, {"before": before}
