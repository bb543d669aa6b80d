"""Drawing one outcome of a distribution with a given random number. NumPy only."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def drawn(probabilities: npt.NDArray[np.float64], number: float) -> int:
    """The outcome in whose part of the cumulated (V,) probabilities a number from [0, 1) falls; never one of 0.

    They need not sum to one: the number is of the whole.
    """
    below = np.cumsum(probabilities)
    place = min(number * below[-1], np.nextafter(below[-1], 0.0))  # a product may round up to the sum
    return int((below <= place).sum())
