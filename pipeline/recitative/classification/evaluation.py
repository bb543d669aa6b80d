"""Evaluation of a classifier on a labeled data directory. No PyTorch. An utterance's whole text is its label."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from recitative.classification.classifier import Classifier
from recitative.classification.kind import ClassifierSettings
from recitative.data.directory import DataDirectory
from recitative.data.tables import Utterance
from recitative.errors import DataError, Problem
from recitative.features.extraction import audio_durations_s, read_utterance
from recitative.score.classification import Confusions
from recitative.stage import Array

Progress = Callable[[int, int], None]

BATCH = 16  # recordings that are classified together


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
            problems.append(Problem(place, "has no label", f"one of {_listed(names)}" if names else "", "add it"))
        elif utterance.text not in numbers:
            found = f"has the label '{utterance.text}', which is none of the model's"
            problems.append(Problem(place, found, _listed(names), remedy))
    if problems:
        raise DataError.collect(problems)
    return np.array([numbers[utterance.text or ""] for utterance in utterances], np.int64)


def _listed(names: Sequence[str], shown: int = 20) -> str:
    """The first names, for an error message."""
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
    least = settings.model.front_end.least_samples(settings.features)
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


@dataclass(frozen=True)
class LabeledSet:
    """N classified recordings in the order of their data: true (N,) the numbers of their labels, log_probs (N, K)."""

    labels: tuple[str, ...]
    utterances: Sequence[Utterance]
    true: Array
    log_probs: Array

    @property
    def predicted(self) -> Array:
        """(N,) the numbers of the most probable labels."""
        return np.asarray(self.log_probs.argmax(axis=1))

    @property
    def correct(self) -> Array:
        """(N,) bool."""
        return np.asarray(self.predicted == self.true)

    @property
    def confidences(self) -> Array:
        """(N,) the probability of each most probable label, 0..1."""
        return np.asarray(np.exp(self.log_probs.max(axis=1).astype(np.float64)).clip(max=1.0))

    @property
    def confusions(self) -> Confusions:
        return Confusions.of(self.labels, zip(self.true.tolist(), self.predicted.tolist(), strict=True))

    @property
    def nll(self) -> float:
        """The mean of -ln P of the true labels, in nats."""
        return float(-self.log_probs[np.arange(len(self.true)), self.true].astype(np.float64).mean())


def classify_directory(
    classifier: Classifier,
    where: Path,
    advance: Progress = lambda done, total: None,
    *,
    all_speeds: bool = False,
) -> LabeledSet:
    """Classify the recordings of a data directory, those of about the same length together; ``advance(done, total)``.

    all_speeds: average over all speeds of the training, see ``Classifier.mean_log_probs``.

    Raises one DataError for all recordings of a wrong sample rate or shorter than one frame of the network, and for all
    without a label or with one that the model does not know.
    """
    utterances = DataDirectory.read(where).utterances
    true = label_numbers(utterances, classifier.labels, where, "correct it, or train with recordings of it")
    seconds = audio_durations_s(utterances, classifier.sample_rate)
    require_usable(utterances, seconds, classifier.settings, where)
    classify = classifier.mean_log_probs if all_speeds else classifier.last_log_probs
    log_probs = np.zeros((len(utterances), len(classifier.labels)), np.float32)
    order = seconds.argsort(kind="stable")
    for start in range(0, len(order), BATCH):
        rows = order[start : start + BATCH]
        log_probs[rows] = classify([read_utterance(utterances[row]) for row in rows.tolist()])
        advance(start + len(rows), len(order))
    return LabeledSet(classifier.labels, utterances, true, log_probs)
