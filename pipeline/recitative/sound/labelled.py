"""What recordings are told to be: their texts and speakers, and how long each text usually is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recitative.data.tables import Utterance
from recitative.sound.conditioning import Labels


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
