"""The learning rate over a run."""

from __future__ import annotations

import math

from recitative.config import TrainSettings


def learning_rate(settings: TrainSettings, step: int, progress: float) -> float:
    """Linear warm-up over ``warmup_steps``, then half a cosine down to ``final_lr_fraction`` of the peak.

        lr = peak * min(1, (step + 1) / warmup) * (f + (1 - f) * (1 + cos(pi * progress)) / 2)

    step: optimiser steps taken so far, from 0; progress: the part of the run that is done, 0 to 1.
    """
    warm = min(1.0, (step + 1) / settings.warmup_steps) if settings.warmup_steps else 1.0
    low = settings.final_lr_fraction
    return settings.learning_rate * warm * (low + (1 - low) * (1 + math.cos(math.pi * progress)) / 2)
