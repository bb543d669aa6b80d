"""How fast a model writes music, beside how long it takes to play."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

from recitative.models.composer import Sampling, Scorer
from recitative.models.composition import Limits, blank, compose

QUARTERS_PER_MINUTE = 100.0


@dataclass(frozen=True)
class Speed:
    """seconds: the median of the runs, of writing ``pieces`` side by side; music_s: what they last together."""

    seconds: float
    pieces: int
    music_s: float

    @property
    def real_time_factor(self) -> float:
        """Below 1: written faster than it is played."""
        return self.seconds / self.music_s

    @property
    def pieces_per_second(self) -> float:
        return self.pieces / self.seconds


def measure_speed(scorer: Scorer, *, bars: int, pieces: int, runs: int, sweeps: int = 100) -> Speed:
    """Of pieces from nothing, at 100 quarter notes a minute; one run before the others is not counted."""
    draft = blank(scorer.frames, bars * scorer.frames.bar, "piece", QUARTERS_PER_MINUTE)
    taken = []
    for run in range(runs + 1):
        started = time.perf_counter()
        made = compose(scorer, draft, Limits(), Sampling(), count=pieces, seed=run, sweeps=sweeps)
        taken.append(time.perf_counter() - started)
    return Speed(statistics.median(taken[1:]), pieces, sum(piece.seconds for piece in made))
