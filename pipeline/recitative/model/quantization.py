"""Layers in int8: x W^T + b with few levels for x and W, and little error in the product.

- Channels with a wide range hand some of it to the weights that meet them: x W^T = (x / s) (W s)^T (Xiao et al. 2022,
  SmoothQuant). With s = sqrt(std(x) / |W|) of each channel the error of rounded weights is smallest, with s = the range
  of x that of rounded inputs; ``smoothing`` is between both.
- Each channel is centered: its levels lie between the least and the greatest input measured, and a little beyond, since
  n frames do not show the extremes: 1 + 4 / sqrt(n) times the range. Centers are whole levels, so that 0, the most
  frequent input behind a ReLU, stays exact.
- The entries of a row of weights are rounded one column after another, and the columns that are left make up for each
  error as well as they can, given the covariance of the inputs (Frantar et al. 2022, GPTQ). With C channels and n
  frames the covariances are taken as C / (C + n) smaller: few frames show some that others do not have.
- The bias takes what is left on the mean input.

Weights have 7 bits: on processors without VNNI, 8 bits can overflow the 16-bit sums of pairs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from recitative.stage import Array

WEIGHT_LEVELS = 63  # -63..63
INPUT_LEVELS = 127  # -127..127
BLOCK = 64  # columns whose errors are handed to the others at once
LEAST = 1e-3  # of the largest: what a channel that hardly varied on the development set is taken to vary


@dataclass(frozen=True)
class InputStatistics:
    """The inputs x of a layer on a development set: their number, least and greatest (C,), the sums of x (C,) and of
    x x^T (C, C) in float64."""

    frames: int
    lowest: Array
    highest: Array
    sums: Array
    products: Array

    @classmethod
    def of(cls, x: Array) -> InputStatistics:
        """x: (T, C) float32, T at least 1."""
        return cls(len(x), x.min(axis=0), x.max(axis=0), x.sum(axis=0, dtype=np.float64), (x.T @ x).astype(np.float64))

    def __add__(self, other: InputStatistics) -> InputStatistics:
        lowest, highest = np.minimum(self.lowest, other.lowest), np.maximum(self.highest, other.highest)
        sums, products = self.sums + other.sums, self.products + other.products
        return InputStatistics(self.frames + other.frames, lowest, highest, sums, products)

    def covariance(self) -> Array:
        """(C, C) float64; those of different channels are smaller than measured, see above."""
        mean, channels = self.sums / self.frames, len(self.sums)
        found: Array = self.products / self.frames - np.outer(mean, mean)
        variance = np.maximum(found.diagonal(), 0.0)
        found *= self.frames / (channels + self.frames)
        np.fill_diagonal(found, variance)
        return found


Inputs = Mapping[str, InputStatistics]  # of every linear layer and every cell, by name


@dataclass(frozen=True)
class QuantizedLayer:
    """x W^T is nearly (x * factors - center) @ (levels * scales[:, None])^T + bias.

    factors, center: (C,)
    levels, scales, bias: (R, C) int8, (R,), (R,)
    """

    factors: Array
    center: Array
    levels: Array
    scales: Array
    bias: Array


def quantize_layer(
    weight: Array, inputs: InputStatistics, smoothing: float, input_levels: int = INPUT_LEVELS
) -> QuantizedLayer:
    """weight: (R, C); smoothing: from 0, best for the weights, to 1, best for inputs in 8 bits

    input_levels: the inputs measured are between minus this and this
    """
    covariance, mean = inputs.covariance(), inputs.sums / inputs.frames
    half_range = _at_least((inputs.highest - inputs.lowest) / 2 * (1 + 4 / np.sqrt(inputs.frames)))
    deviation, length = _at_least(np.sqrt(covariance.diagonal())), _at_least(np.linalg.norm(weight, axis=0))
    level = half_range**smoothing * np.sqrt(deviation / length) ** (1 - smoothing)
    level = (level * (half_range / level).max() / (input_levels - 0.5)).astype(np.float32)  # half: centers are rounded
    center = np.round((inputs.highest + inputs.lowest) / 2 / level).astype(np.float32)
    levels, scales = quantize_rows(weight * level, covariance / np.outer(level, level))
    rounded = levels * scales[:, None]
    bias = (weight * level) @ center + (weight * level - rounded) @ (mean / level - center)
    return QuantizedLayer(1 / level, center, levels, scales, bias.astype(np.float32))


def _at_least(values: Array) -> Array:
    floored: Array = np.maximum(values, max(LEAST * float(values.max()), 1e-6))
    return floored


def quantize_rows(weight: Array, covariance: Array | None = None) -> tuple[Array, Array]:
    """(R, C) -> levels (R, C) int8 and scales (R,) float32 with weight = levels * scales[:, None], nearly.

    covariance: (C, C) of the inputs that the weights meet; without it each weight is rounded to the nearest
    """
    largest = np.abs(weight).max(axis=1)
    scales = np.where(largest > 0, largest / WEIGHT_LEVELS, 1.0).astype(np.float32)
    exact = (weight / scales[:, None]).astype(np.float32)
    levels = _nearest(exact) if covariance is None else _compensated(exact, covariance)
    return levels.astype(np.int8), scales


def _nearest(exact: Array) -> Array:
    nearest: Array = np.clip(np.round(exact), -WEIGHT_LEVELS, WEIGHT_LEVELS)
    return nearest


def _compensated(exact: Array, covariance: Array) -> Array:
    """Channels of high variance first: then many are left that make up for their errors."""
    order = np.argsort(-covariance.diagonal(), kind="stable")
    shares = _shares(covariance[np.ix_(order, order)])
    left, levels = np.array(exact[:, order], order="F"), np.empty_like(exact)
    for start in range(0, len(order), BLOCK):
        end = min(start + BLOCK, len(order))
        errors = np.empty((len(left), end - start), np.float32)
        for column in range(start, end):
            rounded = _nearest(left[:, column])
            error = left[:, column] - rounded
            left[:, column + 1 : end] -= np.outer(error, shares[column, column + 1 : end])
            errors[:, column - start], levels[:, order[column]] = error, rounded
        left[:, end:] -= errors @ shares[start:end, end:]
    return levels


def _shares(covariance: Array) -> Array:
    """(C, C) float32, upper triangular: the share of a column's error that each later column takes.

    They are the rows of the Cholesky factor of the inverse covariance, over their diagonal.
    """
    deviation = np.sqrt(np.maximum(covariance.diagonal(), 0.0).astype(np.float64))
    bound = np.outer(deviation, deviation)  # exceeded by rounding where inputs hardly vary
    variances, axes = np.linalg.eigh(np.clip(covariance, -bound, bound))
    # Of few frames some are 0, and by rounding below it.
    variances = np.maximum(variances, max(1e-6 * variances.mean(), 1e-9 * variances.max(), 1e-30))
    factor = np.linalg.cholesky((axes / variances) @ axes.T).T
    shares: Array = factor / factor.diagonal()[:, None]
    return shares.astype(np.float32)
