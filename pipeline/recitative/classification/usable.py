"""Which recordings a classifier can be given: those that last a frame of its network, and no longer than is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from recitative.data.frames import least_samples
from recitative.data.utterance import Utterance
from recitative.errors import DataError, Problem
from recitative.models.classifier_settings import ClassifierSettings

Array = npt.NDArray[Any]


def require_usable(
    utterances: Sequence[Utterance],
    seconds: Array,
    settings: ClassifierSettings,
    where: Path,
    *,
    speed: float = 1.0,
    most_s: float = float("inf"),
) -> None:
    """Raises one DataError for all recordings that last less than one frame of the network, or more than ``most_s``.

    seconds (N,): of each utterance; speed: the fastest at which they are played.
    """
    rate = settings.features.sample_rate
    least = least_samples(settings.features, settings.model.front_end)
    problems: list[Problem] = []
    for utterance, duration_s in zip(utterances, seconds.tolist(), strict=True):
        place = f"{where}: utterance '{utterance.utt_id}'"
        if int(round(duration_s * rate) / speed) < least:
            found = f"lasts {duration_s:.4g} s" + (f", at speed {speed:g}" if speed != 1.0 else "")
            allowed = f"at least {least / rate:.4g} s, one frame of the network"
            problems.append(Problem(place, found, allowed, "remove it, or choose a smaller front end"))
        if duration_s > most_s:
            allowed = f"at most train.max_duration_s={most_s:g}"
            problems.append(Problem(place, f"lasts {duration_s:.1f} s", allowed, "cut it or raise the limit"))
    if problems:
        raise DataError.collect(problems)
