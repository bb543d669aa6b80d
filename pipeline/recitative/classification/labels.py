"""The labels of a data directory, where an utterance's whole text is its label, and which recordings can be used."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from recitative.classification.settings import ClassifierSettings
from recitative.data.frames import least_samples
from recitative.data.tables import Utterance
from recitative.errors import DataError, Problem
from recitative.stage import Array


def names_of(utterances: Sequence[Utterance], wanted: Sequence[str], where: Path) -> tuple[str, ...]:
    """What a model that is trained on these utterances tells apart: ``wanted``, or all labels that there are, sorted.

    Raises one DataError for all utterances without a label or with one that is not wanted, and for all that is wanted
    and has no example; and for a single class.
    """
    names = tuple(wanted) or tuple(sorted({utterance.text for utterance in utterances if utterance.text}))
    numbers = label_numbers(utterances, names, where, "correct it, or add it to the setting labels")
    found = set(numbers.tolist())
    if missing := [name for number, name in enumerate(names) if number not in found]:
        remedy = "add recordings of it, or take it out of the setting labels"
        raise DataError.collect(
            [Problem(str(where), f"has no example of the class '{name}'", "", remedy) for name in missing]
        )
    if len(names) < 2:
        raise DataError(str(where), f"has a single class, '{names[0]}'", "two or more", "add recordings of another")
    return names


def label_numbers(
    utterances: Sequence[Utterance], names: Sequence[str], where: Path, remedy: str
) -> npt.NDArray[np.int64]:
    """(N,) the number of each utterance's label among the names.

    Raises one DataError for all utterances without a label or with one that is not among them.
    """
    numbers = {name: number for number, name in enumerate(names)}
    problems = []
    for utterance in utterances:
        place = f"{where}/text: '{utterance.utt_id}'"
        if not utterance.text:
            problems.append(Problem(place, "has no label", f"one of {listed(names)}" if names else "", "add it"))
        elif utterance.text not in numbers:
            found = f"has the label '{utterance.text}', which is none of the model's"
            problems.append(Problem(place, found, listed(names), remedy))
    if problems:
        raise DataError.collect(problems)
    return np.array([numbers[utterance.text or ""] for utterance in utterances], np.int64)


def class_weights(numbers: npt.NDArray[np.int64], classes: int, *, balanced: bool) -> npt.NDArray[np.float32]:
    """(K,) what an example of each class counts for: 1, or N / (K n) for a class with n of N examples.

    Either way the mean weight of an example is 1. Every class must have an example.
    """
    if not balanced:
        return np.ones(classes, np.float32)
    counts = np.bincount(numbers, minlength=classes)
    return (len(numbers) / (classes * counts)).astype(np.float32)


def listed(names: Sequence[str], shown: int = 20) -> str:
    """The first names, for a message."""
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")


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
