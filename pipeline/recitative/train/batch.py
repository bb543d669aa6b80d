"""What batches of recordings have in common."""

from __future__ import annotations

from torch import Tensor

from recitative.stage import Padded


class AudioBatch:
    """features (N, T, C), the recordings' ids, seconds from one frame to the next; fields of what inherits from it."""

    features: Padded[Tensor]
    names: tuple[str, ...]
    frame_s: float

    @property
    def rows(self) -> int:
        return len(self.names)

    @property
    def seconds(self) -> float:
        """Of audio, at the speed it is played at."""
        return float(self.features.lengths.sum()) * self.frame_s

    @property
    def padded_s(self) -> float:
        return self.rows * self.longest_s

    @property
    def longest_s(self) -> float:
        return self.features.data.shape[1] * self.frame_s
