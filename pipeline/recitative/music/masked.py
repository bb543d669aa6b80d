"""What a model that fills music in hears: the notes that are given around those that are missing.

As ``music.frames``, but a frame's context is everything: the whole grid, in which what is missing has the token
``hidden``. The voices of a frame are decided each by itself, given all that is not hidden, as an orderless NADE does
(Uria et al. 2014; Coconet, Huang et al. 2017); repeated drawing makes them fit one another.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from recitative.music.frames import INTERVALS, KEYS, WIDEST, FrameCode, offsets
from recitative.stage import Ids

UNKNOWN = INTERVALS  # an interval with a hidden pitch


@dataclass(frozen=True)
class MaskedCode:
    """The features of a grid of tokens (N, T, V) with holes."""

    code: FrameCode

    @property
    def beside(self) -> int:
        """Pitches beside which a voice is heard when it is decided."""
        return self.code.voices + 1

    @cached_property
    def context_sizes(self) -> tuple[int, ...]:
        v = self.code.voices
        return (*[self.code.hidden + 1] * v, *[INTERVALS + 1] * (v * (v - 1) // 2 + v), self.code.bar, KEYS)

    def context_ids(self, frames: Ids, key: Ids) -> Ids:
        """(N, T, V), tonics (N,), 0 where not told -> (N, T, F)."""
        v = self.code.voices
        before, _ = self._neighbors(frames)
        position = np.broadcast_to(np.arange(frames.shape[1]) % self.code.bar, frames.shape[:2])
        features = [
            *np.moveaxis(frames, -1, 0),
            *(self._interval(frames[..., i], frames[..., j]) for i in range(v) for j in range(i + 1, v)),
            *np.moveaxis(self._interval(frames, before), -1, 0),
            position,
            np.broadcast_to(key[:, None], frames.shape[:2]),
        ]
        return np.stack(features, axis=-1) + offsets(self.context_sizes)

    @cached_property
    def choice_sizes(self) -> tuple[int, ...]:
        v, width = self.code.voices, self.code.hidden + 1
        return (v, width * v, width * v, *[width * v * v] * v, *[(INTERVALS + 1) * v * v] * v, self.code.bar * v)

    def choice_ids(self, frames: Ids, voice: int) -> tuple[Ids, Ids]:
        """For one voice of each frame: features (N, T, G), and the pitches beside it (N, T, V + 1), as tokens: its own
        before and after, then those of the other voices. The voice's own pitch is not looked at."""
        v, width = self.code.voices, self.code.hidden + 1
        before, after = (neighbor[..., voice] for neighbor in self._neighbors(frames))
        others = [other for other in range(v) if other != voice]
        hidden = np.full(before.shape, self.code.hidden)
        now = [hidden if other == voice else frames[..., other] for other in range(v)]
        places = [voice * v + other for other in range(v)]
        position = np.broadcast_to(np.arange(frames.shape[1]) % self.code.bar, before.shape)
        features = [
            np.full(before.shape, voice),
            before + width * voice,
            after + width * voice,
            *(pitch + width * place for pitch, place in zip(now, places, strict=True)),
            *(self._interval(p, before) + (INTERVALS + 1) * place for p, place in zip(now, places, strict=True)),
            position + self.code.bar * voice,
        ]
        beside = np.stack([before, after, *(frames[..., other] for other in others)], axis=-1)
        return np.stack(features, axis=-1) + offsets(self.choice_sizes), beside

    def _neighbors(self, frames: Ids) -> tuple[Ids, Ids]:
        """Each voice one frame earlier and one later; ``start`` beyond the ends."""
        edge = np.full_like(frames[:, :1], self.code.start)
        return np.concatenate([edge, frames[:, :-1]], axis=1), np.concatenate([frames[:, 1:], edge], axis=1)

    def _interval(self, a: Ids, b: Ids) -> Ids:
        unknown = (a == self.code.hidden) | (b == self.code.hidden)
        silent = (a >= self.code.silence) | (b >= self.code.silence)
        clipped = np.clip(a - b, -WIDEST, WIDEST) + WIDEST
        return np.where(unknown, UNKNOWN, np.where(silent, INTERVALS - 1, clipped))
