"""Statistics of global cepstral mean and variance normalization (CMVN), in Kaldi's file format."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np

from recitative.atomic import write_text
from recitative.errors import DataError
from recitative.features.archive import encode_text, read_matrix
from recitative.reading import LARGEST_SETTINGS, read_bytes
from recitative.stage import Array

VARIANCE_FLOOR = 1e-4
"""With Kaldi's floor of 1e-20, a channel that is constant in training (a band above the bandwidth of the recordings)
would explode at the first recording where it is not; variances of real channels, including deltas, are above 1e-2."""


@dataclass(frozen=True)
class CmvnStats:
    """Sums over all frames, float64; statistics of parts can be added.

    sums:        (C,) of x
    square_sums: (C,) of x^2
    count:       frames
    """

    sums: Array
    square_sums: Array
    count: float

    @classmethod
    def empty(cls, dim: int) -> CmvnStats:
        return cls(np.zeros(dim), np.zeros(dim), 0.0)

    @classmethod
    def of(cls, features: Array) -> CmvnStats:
        """The statistics of one utterance (T, C)."""
        x = features.astype(np.float64)
        return cls(x.sum(axis=0), (x * x).sum(axis=0), float(len(x)))

    def __add__(self, other: CmvnStats) -> CmvnStats:
        return CmvnStats(self.sums + other.sums, self.square_sums + other.square_sums, self.count + other.count)

    @property
    def dim(self) -> int:
        return len(self.sums)

    @property
    def mean(self) -> Array:
        """(C,) float32. Raises DataError if no frame was counted."""
        self._require_frames()
        mean: Array = (self.sums / self.count).astype(np.float32)
        return mean

    @property
    def inverse_stddev(self) -> Array:
        """(C,) float32: 1 / sqrt(max(E[x^2] - E[x]^2, VARIANCE_FLOOR)). Raises DataError if no frame was counted."""
        self._require_frames()
        mean = self.sums / self.count
        variance = np.maximum(self.square_sums / self.count - mean * mean, VARIANCE_FLOOR)
        inverse: Array = (1.0 / np.sqrt(variance)).astype(np.float32)
        return inverse

    def write(self, path: Path) -> None:
        """Write Kaldi's 2 x (C + 1) matrix as text: the sums and the count, the square sums and a zero. Atomic."""
        rows = np.stack([np.append(self.sums, self.count), np.append(self.square_sums, 0.0)])
        write_text(path, encode_text(rows))

    @classmethod
    def read(cls, path: Path) -> CmvnStats:
        """Read a file of ``write`` or of Kaldi's ``compute-cmvn-stats`` (one matrix, text or binary).

        Raises DataError that names the file if it is not such a matrix, has no frames, or has invalid sums.
        """
        remedy = "make it with 'recitative cmvn'"
        content = read_bytes(path, "CMVN statistics", remedy, limit=LARGEST_SETTINGS)
        rows = read_matrix(BytesIO(content), str(path)).astype(np.float64)
        if rows.shape[0] != 2 or rows.shape[1] < 2:
            raise DataError(str(path), f"a matrix of {len(rows)} by {rows.shape[1]}", "2 by (channels + 1)", remedy)
        stats = cls(rows[0, :-1], rows[1, :-1], float(rows[0, -1]))
        if not np.isfinite(rows).all() or stats.count <= 0:
            raise DataError(str(path), f"CMVN statistics of {stats.count:g} frames", "finite, of 1 or more", remedy)
        return stats

    def _require_frames(self) -> None:
        if self.count <= 0:
            raise DataError("CMVN statistics", "of no frames", "1 or more", "add an utterance first")


def accumulate(features: Iterable[Array], dim: int) -> CmvnStats:
    """The statistics of many utterances (T, C = ``dim``)."""
    return sum((CmvnStats.of(x) for x in features), start=CmvnStats.empty(dim))
