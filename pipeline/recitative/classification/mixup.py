"""Two recordings heard at once, with the labels of both (Zhang et al. 2018, "mixup").

    x = share * x[i] + (1 - share) * x[j]        loss = share * loss(y[i]) + (1 - share) * loss(y[j])

with the share drawn from Beta(alpha, alpha) for each pair, and both from one batch, where recordings are about equally
long. The features that are mixed are logarithms: it is their pictures that are laid over each other, not their sounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Pairs:
    """partners (N,): for each row the number of another, or its own; shares (N,) float32: how much of it is its own."""

    partners: Array
    shares: Array


def draw_pairs(rows: int, alpha: float, rng: np.random.Generator) -> Pairs:
    """Partners in a random order of all rows; with ``alpha`` 0 each row is its own, whole."""
    if not alpha:
        return Pairs(np.arange(rows), np.ones(rows, np.float32))
    return Pairs(rng.permutation(rows), rng.beta(alpha, alpha, rows).astype(np.float32))


def mix(rows: Sequence[Array], pairs: Pairs) -> list[Array]:
    """Features (T, C) of each row with its partner's, which is repeated or cut to the row's length.

    Every row must have a frame.
    """
    return [
        share * row + (1 - share) * rows[partner][np.arange(len(row)) % len(rows[partner])]
        for row, partner, share in zip(rows, pairs.partners, pairs.shares, strict=True)
    ]
