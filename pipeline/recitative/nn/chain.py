"""Stages one after another are again a stage; its latency and lengths follow from theirs."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

from torch import Tensor, nn

from recitative.stage import Padded, State


class Chain(nn.Module):
    """Named stages in order. State: every stage's own entries as ``{stage}.{entry}``."""

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
        """In inputs of the first stage: each stage's own, times the strides before it."""
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
            x, stage_state = stage.step(x, _entries(state, name), last=last)
            new_state |= {f"{name}.{key}": value for key, value in stage_state.items()}
        return x, new_state


def _entries(state: State, name: str) -> State:
    prefix = f"{name}."
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
