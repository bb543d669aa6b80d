"""The one protocol: everything that turns a sequence into a sequence is a Stage.

    offline:    y, _ = stage.step(x, stage.initial_state(n), last=True)
    streaming:  y, state = stage.step(chunk, state, last=False), and last=True with the final chunk

There is no second path. For any cutting of x into chunks the concatenated outputs are equal; ``tests/contract.py``
checks it, and every stage of the library passes through that one test.

This module does not import PyTorch: the runtime uses it with NumPy arrays, training with tensors.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

A = TypeVar("A")  # an array type: numpy.ndarray or torch.Tensor

Array = npt.NDArray[Any]
"""A NumPy array of any type; docstrings give shape and type."""
Ids = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

State = dict[str, Any]
"""Named arrays, each with the batch on axis 0. A value: passed in, returned, never kept on a module."""


@dataclass(frozen=True)
class Padded(Generic[A]):
    """A batch of sequences of unequal lengths.

    data:    (N, T, ...) what lies beyond a row's length is undefined (it may be NaN)
    lengths: (N,) int64, 0 <= length <= T
    """

    data: A
    lengths: A


class Stage(Protocol[A]):
    """A causal (up to ``lookahead``) map of sequences with explicit state.

    stride:    inputs per output, >= 1: output j belongs to input j * stride
    lookahead: the most inputs after j * stride that output j depends on; None = the whole input
    """

    @property
    def stride(self) -> int: ...

    @property
    def lookahead(self) -> int | None: ...

    def initial_state(self, n: int) -> State:
        """The state of ``n`` streams that have heard nothing."""
        ...

    def step(self, x: Padded[A], state: State, *, last: bool) -> tuple[Padded[A], State]:
        """Take the next piece of every row; return what can be said so far. ``last`` flushes what was held back."""
        ...

    def output_lengths(self, lengths: A) -> A:
        """The number of outputs for whole inputs of these lengths (N,) -> (N,)."""
        ...


def run_whole(stage: Any, x: Padded[A]) -> Padded[A]:
    """The outputs of a stage for whole inputs."""
    rows = len(x.lengths)  # type: ignore[arg-type]  # of an array
    y: Padded[A] = stage.step(x, stage.initial_state(rows), last=True)[0]
    return y


class Sequential(Generic[A]):
    """Base of stages that are named stages in sequence. State: the entries of each as ``{name}.{entry}``."""

    def parts(self) -> Iterable[tuple[str, Any]]:
        """Names and stages, in order."""
        raise NotImplementedError

    @property
    def stride(self) -> int:
        return int(prod(stage.stride for _, stage in self.parts()))

    @property
    def lookahead(self) -> int | None:
        """In inputs of the first stage: the sum of each stage's look-ahead times the strides before it."""
        total, stride = 0, 1
        for _, stage in self.parts():
            if stage.lookahead is None:
                return None
            total += stage.lookahead * stride
            stride *= stage.stride
        return total

    def output_lengths(self, lengths: A) -> A:
        for _, stage in self.parts():
            lengths = stage.output_lengths(lengths)
        return lengths

    def initial_state(self, n: int) -> State:
        state: State = {}
        for name, stage in self.parts():
            state |= named(name, stage.initial_state(n))
        return state

    def step(self, x: Padded[A], state: State, *, last: bool) -> tuple[Padded[A], State]:
        new_state: State = {}
        for name, stage in self.parts():
            x, after = stage.step(x, entries_of(name, state), last=last)
            new_state |= named(name, after)
        return x, new_state


def named(name: str, state: State) -> State:
    """The state of a part as entries in the state of the whole."""
    return {f"{name}.{entry}": value for entry, value in state.items()}


def entries_of(name: str, state: State) -> State:
    """The state of a part, from the state of the whole: the inverse of ``named``."""
    prefix = f"{name}."
    return {entry.removeprefix(prefix): value for entry, value in state.items() if entry.startswith(prefix)}
