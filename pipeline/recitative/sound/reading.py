"""Reading the recordings of a data directory for models of sound, and their labels: texts and speakers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from recitative.audio.files import Samples, read_audio
from recitative.data.tables import Utterance
from recitative.errors import DataError, Problem
from recitative.sound.conditioning import Labels

T = TypeVar("T")
OnProgress = Callable[[int, int], object]


def read_each(
    utterances: Sequence[Utterance], read: Callable[[Utterance], T], on_progress: OnProgress | None = None
) -> list[T]:
    """Raises DataError that lists every recording which cannot be used."""
    found: list[T] = []
    problems: list[Problem] = []
    for number, utterance in enumerate(utterances):
        try:
            found.append(read(utterance))
        except DataError as error:
            problems += [Problem(f"utterance '{utterance.utt_id}': {p.where}", p.found, p.allowed, p.remedy)
                         for p in error.problems]  # fmt: skip
        if on_progress:
            on_progress(number + 1, len(utterances))
    if problems:
        raise DataError.collect(problems)
    return found


def samples_of(utterance: Utterance, sample_rate: int) -> Samples:
    """(S,) in [-1, 1]. Raises DataError for a recording that cannot be read, or of another rate in Hz."""
    samples, rate = read_audio(utterance.recording_path, start_s=utterance.start_s, end_s=utterance.end_s)
    if rate != sample_rate:
        allowed = f"{sample_rate} Hz (features.sample_rate)"
        raise DataError(str(utterance.recording_path), f"{rate} Hz", allowed, "convert it, or change the setting")
    return samples


def labels_of(utterances: Sequence[Utterance]) -> Labels:
    """The texts and speakers that there are, sorted."""
    texts = sorted({utterance.text or "" for utterance in utterances})
    return Labels(tuple(texts), tuple(sorted({utterance.speaker for utterance in utterances})))


def usual_seconds(labels: Labels, utterances: Sequence[Utterance], seconds: Sequence[float]) -> tuple[float, ...]:
    """How long recordings of each text are, on average."""
    found: dict[str, list[float]] = {text: [] for text in labels.texts}
    for utterance, length in zip(utterances, seconds, strict=True):
        if (text := utterance.text or "") in found:
            found[text].append(length)
    return tuple(float(np.mean(lengths)) for lengths in found.values())
