"""Sampling from distributions over tokens: temperature, nucleus (top-p) sampling, and one draw. NumPy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recitative.stage import Array


@dataclass(frozen=True)
class Sampling:
    """temperature > 0: of the distributions, below 1 is bolder in nothing; top_p in (0, 1]: only the likeliest tokens
    that together have this probability are drawn."""

    temperature: float = 1.0
    top_p: float = 1.0


def distribution(scores: Array, may: npt.NDArray[np.bool_], sampling: Sampling) -> npt.NDArray[np.float64]:
    """(M, outputs) probabilities, 0 for what may not be; what top_p leaves out is 0 as well. At least one is left."""
    allowed = np.where(may, scores.astype(np.float64), -np.inf)
    with np.errstate(over="ignore", invalid="ignore"):  # at the limits of temperature; what may not be is set below
        cooled = (allowed - allowed.max(axis=-1, keepdims=True)) / sampling.temperature
    probabilities = np.exp(np.where(may, cooled, -np.inf))
    probabilities /= probabilities.sum(axis=-1, keepdims=True)
    if sampling.top_p < 1:
        ordered = -np.sort(-probabilities, axis=-1)
        before = np.cumsum(ordered, axis=-1) - ordered  # of the likelier ones
        least = np.where(before < sampling.top_p, ordered, np.inf).min(axis=-1, keepdims=True)
        probabilities = np.where(probabilities >= least, probabilities, 0.0)
    return np.asarray(probabilities)


def drawn(probabilities: npt.NDArray[np.float64], number: float) -> int:
    """The outcome in whose part of the cumulated (V,) probabilities a number from [0, 1) falls; never one of 0.

    They need not sum to one: the number is of the whole.
    """
    below = np.cumsum(probabilities)
    place = min(number * below[-1], np.nextafter(below[-1], 0.0))  # a product may round up to the sum
    return int((below <= place).sum())
