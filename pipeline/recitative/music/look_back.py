"""Look-back features: what followed in a piece the last time that its recent notes occurred.

Music repeats itself, and a recurrent network has forgotten the notes of a phrase when it returns. Every frame that was
read is therefore kept with the number of moves that agree between its past and the latest past. The frame with the
longest match is the candidate for a copy (the look-back of Waite 2016, at a distance that the notes themselves give).
It is an exact function of the notes, in memory that does not grow beyond ``reach`` frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recitative.stage import Ids

Small = npt.NDArray[np.int16]

NEVER = -1  # what led to a frame ended otherwise than what was read last


@dataclass(frozen=True)
class Recall:
    """Of N rows that have read P frames: the frames (N, P, V); and for each of E groups of voices, how many times these
    voices moved in the frames before that one and in the last ones alike, (N, E, P), NEVER where the last differ."""

    past: Small
    alike: Small

    @classmethod
    def empty(cls, rows: int, voices: int, groups: int) -> Recall:
        return cls(np.zeros((rows, 0, voices), np.int16), np.zeros((rows, groups, 0), np.int16))

    def after(self, frame: Ids, groups: Sequence[Sequence[int]], reach: int) -> Recall:
        """With one more frame (N, V), of which the newest ``reach`` are kept."""
        new = frame.astype(np.int16)
        rows, count, _ = self.past.shape
        alike = np.full((rows, len(groups), count + 1), NEVER, np.int16)
        if count:
            equal, moved = self.past == new[:, None], self.past[:, -1] != new
            for number, group in enumerate(groups):
                longer = self.alike[:, number] + moved[:, list(group)].any(-1)[:, None]
                begun = np.where(self.alike[:, number] == NEVER, 0, longer)
                alike[:, number, 1:] = np.where(equal[..., list(group)].all(-1), begun, NEVER)
        past = np.concatenate([self.past, new[:, None]], axis=1)
        return Recall(past[:, -reach:], alike[..., -reach:])

    def echoes(self, nothing: int) -> tuple[Ids, Ids]:
        """For each group the frame that is the echo (N, E, V), the latest of several, and how many moves led to it
        alike (N, E); ``nothing`` and 0 where not even one did."""
        rows, groups, count = self.alike.shape
        voices = self.past.shape[-1]
        if not count:
            return np.full((rows, groups, voices), nothing, np.int64), np.zeros((rows, groups), np.int64)
        place = count - 1 - np.argmax(self.alike[..., ::-1], axis=-1)  # (N, E)
        most = np.take_along_axis(self.alike, place[..., None], axis=-1)[..., 0].clip(0).astype(np.int64)
        found = self.past[np.arange(rows)[:, None], place].astype(np.int64)
        return np.where(most[..., None] > 0, found, nothing), most
