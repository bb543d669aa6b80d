"""The one protocol: everything that turns a sequence into a sequence is a Stage.

    offline:    y, _ = stage.step(x, stage.initial_state(n), last=True)
    streaming:  y, state = stage.step(chunk, state, last=False), and last=True with the final chunk

There is no second path. For any cutting of x into chunks the concatenated outputs are equal; ``tests/contract.py``
checks it, and every stage of the library passes through that one test.

This module does not import PyTorch: the runtime uses it with NumPy arrays, training with tensors.
"""

from __future__ import annotations

from dataclasses import dataclass
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
