"""Sentinels of the int8 LSTM that no other unit outgrows.

``model.export.cells`` gives every int8 LSTM two units that are always the ends of the range by which ONNX Runtime
quantizes the hidden units of all rows: +-tanh of a large cell. But its tanh is a rational function, in float32 up to
1.0000002 for some arguments from 8 to 9, and 1 for larger ones: a saturated unit of one row could widen the range of
all others, whose numbers then changed with their company. So the cells of the sentinels are those of the largest tanh
that this machine computes.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import numpy as np

from recitative.model.file import InitialState
from recitative.model.session import open_session

# A graph of one operator: Tanh, x (n,) -> y (n,).
_TANH = b64decode("CAo6OAoMCgF4EgF5IgRUYW5oEgR0YW5oWhAKAXgSCwoJCAESBQoDEgFuYhAKAXkSCwoJCAESBQoDEgFuQgQKABAS")


def with_sentinels(state: Mapping[str, InitialState]) -> dict[str, InitialState]:
    """The state of a new stream; its entries with a tail are h and c of int8 LSTMs."""
    return {name: _sentinel(name, initial) if initial.tail else initial for name, initial in state.items()}


def _sentinel(name: str, initial: InitialState) -> InitialState:
    cell, largest = largest_tanh()
    value = cell if name.endswith(".c") else largest
    return replace(initial, tail=tuple(float(np.copysign(value, end)) for end in initial.tail))


@cache
def largest_tanh() -> tuple[float, float]:
    """x and tanh x, where ONNX Runtime's tanh is largest: of all float32 from 8 to 9, behind which it is constant."""
    first, last = (int(np.float32(end).view(np.int32)) for end in (8, 9))
    x = np.arange(first, last + 1, dtype=np.int32).view(np.float32)
    (y,) = open_session(_TANH, "tanh", "graph", "", threads=1).run(["y"], {"x": x})
    at = int(y.argmax())
    return float(x[at]), float(y[at])
