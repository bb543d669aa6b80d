"""Sampling from distributions over tokens: temperature, nucleus (top-p) sampling, and categorical draws. NumPy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recitative.stage import Array, Ids, Mask


@dataclass(frozen=True)
class Sampling:
    """temperature: > 0; top_p: threshold of nucleus sampling, in (0, 1]."""

    temperature: float = 1.0
    top_p: float = 1.0


def distribution(scores: Array, allowed: Mask, sampling: Sampling) -> npt.NDArray[np.float64]:
    """Probabilities (M, outputs), 0 for tokens that are not allowed or not in the nucleus. At least one is above 0."""
    scores = np.where(allowed, scores.astype(np.float64), -np.inf)
    with np.errstate(over="ignore", invalid="ignore"):  # at extreme temperatures; -inf is set below
        cooled = (scores - scores.max(axis=-1, keepdims=True)) / sampling.temperature
    probabilities = np.exp(np.where(allowed, cooled, -np.inf))
    probabilities /= probabilities.sum(axis=-1, keepdims=True)
    if sampling.top_p < 1:
        ordered = -np.sort(-probabilities, axis=-1)
        before = np.cumsum(ordered, axis=-1) - ordered
        least = np.where(before < sampling.top_p, ordered, np.inf).min(axis=-1, keepdims=True)
        probabilities = np.where(probabilities >= least, probabilities, 0.0)
    return np.asarray(probabilities)


def categorical(probabilities: npt.NDArray[np.float64], numbers: npt.NDArray[np.float64]) -> Ids:
    """Sample from (..., V) probabilities with numbers (...) from [0, 1), by inversion; never an outcome of probability
    0.

    The probabilities need not sum to 1.
    """
    below = np.cumsum(probabilities, axis=-1)
    places = np.minimum(
        numbers * below[..., -1], np.nextafter(below[..., -1], 0.0)
    )  # a product may round up to the sum
    return np.asarray((below <= places[..., None]).sum(-1), np.int64)
