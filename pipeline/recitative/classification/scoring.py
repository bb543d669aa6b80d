"""What a classifier says of recordings whose labels are known. NumPy only: files of an export need no PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recitative.classification.labeller import Labeller
from recitative.classification.labels import label_numbers, require_usable
from recitative.data.directory import DataDirectory
from recitative.data.tables import Utterance
from recitative.features.extraction import audio_durations_s, read_utterance
from recitative.score.classification import Confusions
from recitative.stage import Array

LABELLED_TOGETHER = 16


@dataclass(frozen=True)
class Labelled:
    """N recordings in the order of their data: true (N,) the numbers of their labels, log_probs (N, K)."""

    labels: tuple[str, ...]
    utterances: Sequence[Utterance]
    true: Array
    log_probs: Array

    @property
    def given(self) -> Array:
        """(N,) the numbers of the likeliest labels."""
        return np.asarray(self.log_probs.argmax(axis=1))

    @property
    def correct(self) -> Array:
        """(N,) bool."""
        return np.asarray(self.given == self.true)

    @property
    def confidences(self) -> Array:
        """(N,) the probability of each likeliest label, from 0 to 1."""
        return np.asarray(np.exp(self.log_probs.max(axis=1).astype(np.float64)).clip(max=1.0))

    @property
    def confusions(self) -> Confusions:
        return Confusions.of(self.labels, zip(self.true.tolist(), self.given.tolist(), strict=True))

    @property
    def nats(self) -> float:
        """The mean of -ln P of the true labels."""
        return float(-self.log_probs[np.arange(len(self.true)), self.true].astype(np.float64).mean())


def label_directory(
    labeller: Labeller,
    where: Path,
    advance: Callable[[int, int], None] = lambda done, total: None,
    *,
    all_speeds: bool = False,
) -> Labelled:
    """Name the recordings of a data directory, those of about the same length together; ``advance(done, total)``.

    all_speeds: hear each at all speeds of the training, see ``Labeller.mean_log_probs``.

    Raises one DataError for all recordings of a wrong sample rate or shorter than one frame of the network, and for all
    without a label or with one that the model does not know.
    """
    utterances = DataDirectory.read(where).utterances
    true = label_numbers(utterances, labeller.labels, where, "correct it, or train with recordings of it")
    seconds = audio_durations_s(utterances, labeller.sample_rate)
    require_usable(utterances, seconds, labeller.settings, where)
    name = labeller.mean_log_probs if all_speeds else labeller.last_log_probs
    log_probs = np.zeros((len(utterances), len(labeller.labels)), np.float32)
    order = seconds.argsort(kind="stable")
    for start in range(0, len(order), LABELLED_TOGETHER):
        rows = order[start : start + LABELLED_TOGETHER]
        log_probs[rows] = name([read_utterance(utterances[row]) for row in rows.tolist()])
        advance(start + len(rows), len(order))
    return Labelled(labeller.labels, utterances, true, log_probs)
