"""Operations on states: values with the batch on axis 0."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from recitative.stage import State


def detach(state: State) -> State:
    """The same numbers without their history: truncated back-propagation between two segments."""
    return {key: value.detach() for key, value in state.items()}


def select(state: State, rows: Sequence[int] | Tensor) -> State:
    """The states of some rows, in the order given; a row may come twice (a beam that forks)."""
    index = torch.as_tensor(rows, dtype=torch.int64)
    return {key: value[index.to(value.device)] for key, value in state.items()}


def cat(states: Sequence[State]) -> State:
    """States of several batches as one batch; pieces still pending are padded to the longest."""
    return {key: _cat([state[key] for state in states]) for key in states[0]}


def _cat(values: Sequence[Tensor]) -> Tensor:
    if values[0].dim() == 3:  # (N, P, C): what is pending differs from batch to batch
        longest = max(value.shape[1] for value in values)
        values = [torch.nn.functional.pad(value, (0, 0, 0, longest - value.shape[1])) for value in values]
    return torch.cat(list(values))
