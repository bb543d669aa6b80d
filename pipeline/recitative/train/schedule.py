"""The learning rate over a run."""

from __future__ import annotations

import math
from itertools import pairwise

from recitative.config import TrainSettings


def learning_rate(settings: TrainSettings, step: int, epochs_done: float) -> float:
    """Linear warm-up over ``warmup_steps``; half a cosine from the peak down to ``final_lr_fraction`` of it, from each
    restart to the next (SGDR, Loshchilov & Hutter 2017).

        lr = peak * min(1, (step + 1) / warmup) * (f + (1 - f) * (1 + cos(pi * progress)) / 2)

    step: optimiser steps taken so far, from 0; epochs_done: epochs so far with their fraction; progress: the part of
    the current cycle that is done, 0 to 1.
    """
    warm = min(1.0, (step + 1) / settings.warmup_steps) if settings.warmup_steps else 1.0
    low = settings.final_lr_fraction
    cosine = math.cos(math.pi * cycle_progress(settings, epochs_done))
    return settings.learning_rate * warm * (low + (1 - low) * (1 + cosine) / 2)


def cycle_progress(settings: TrainSettings, epochs_done: float) -> float:
    """The part of the current cycle that is done, 0 to 1."""
    for start, end in pairwise((0, *settings.restarts, settings.epochs)):
        if epochs_done < end:
            return (epochs_done - start) / (end - start)
    return 1.0
