"""Several models that write as one: a note is as probable as they find it on average. NumPy only.

Each learned the same few pieces by heart in its own way; what they agree on is music (Hansen & Salamon 1990).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recitative.errors import UsageError
from recitative.music.composer import Scorer
from recitative.music.masked import MaskedCode
from recitative.music.settings import FrameSettings
from recitative.stage import Array, Ids, Padded, Stage, State


class Mixture:
    """``models.composer.Scorer``"""

    def __init__(self, scorers: Sequence[Scorer]) -> None:
        """Raises UsageError for models with other frames, or of which some continue music and others fill it in."""
        first, *others = scorers
        if any(_hears(other) != _hears(first) for other in others):
            raise UsageError(
                "models that write together must have the same 'frames' and 'pieces.key', and all continue or fill in"
            )
        self._scorers = tuple(scorers)
        self.settings, self.fills = first.settings, first.fills
        reads = MaskedCode(first.frames.code) if first.fills else first.frames.code
        self.context = _SideBySide([scorer.context for scorer in scorers], len(reads.context_sizes))

    @property
    def frames(self) -> FrameSettings:
        return self.settings.frames

    def scores(self, hidden: Array, ids: Ids, beside: Ids) -> Array:
        """(M, H), (M, G), (M, R) -> (M, outputs): the logarithm of the mean probability."""
        parts = zip(self._scorers, np.split(hidden, self.context.ends, axis=-1), strict=True)
        each = [_log_softmax(scorer.scores(part, ids, beside)) for scorer, part in parts]
        return np.asarray(np.logaddexp.reduce(each) - np.log(len(each)))


def _hears(scorer: Scorer) -> tuple[FrameSettings, int, bool]:
    return scorer.frames, scorer.settings.pieces.key, scorer.fills


class _SideBySide:
    """Stages that read the same, (N, T, F) -> (N, T, sum of H); ``ends``: where the part of each but the last ends."""

    stride = 1

    def __init__(self, stages: Sequence[Stage[Array]], features: int) -> None:
        self._stages = tuple(stages)
        self.lookahead = stages[0].lookahead
        one = Padded(np.zeros((1, 1, features), np.int64), np.ones(1, np.int64))
        widths = [stage.step(one, stage.initial_state(1), last=True)[0].data.shape[-1] for stage in stages]
        self.ends = np.cumsum(widths)[:-1].tolist()

    def output_lengths(self, lengths: Array) -> Array:
        return lengths

    def initial_state(self, n: int) -> State:
        return {f"{i}.{name}": a for i, stage in enumerate(self._stages) for name, a in stage.initial_state(n).items()}

    def step(self, x: Padded[Array], state: State, *, last: bool) -> tuple[Padded[Array], State]:
        found: list[Array] = []
        after: State = {}
        for i, stage in enumerate(self._stages):
            own = {name.partition(".")[2]: a for name, a in state.items() if name.partition(".")[0] == str(i)}
            y, new = stage.step(x, own, last=last)
            found.append(y.data)
            after |= {f"{i}.{name}": a for name, a in new.items()}
        return Padded(np.concatenate(found, axis=-1), x.lengths), after


def _log_softmax(scores: Array) -> Array:
    wide = scores.astype(np.float64)
    return np.asarray(wide - np.logaddexp.reduce(wide, axis=-1, keepdims=True))
