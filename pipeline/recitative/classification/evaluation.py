"""Evaluation of a classifier on a labeled data directory, and the HTML page that shows it. No PyTorch.

An utterance's whole text is its label. The page has accuracy, confusions, calibration and the most confident errors;
each function of its part gives one section's values to ``report/templates/classification.html.j2``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from recitative.atomic import write_text
from recitative.classification.classifier import Classifier
from recitative.classification.kind import ClassifierSettings
from recitative.config import dump_settings
from recitative.data.directory import DataDirectory
from recitative.data.tables import Utterance
from recitative.errors import DataError, Problem
from recitative.features.extraction import audio_durations_s, read_utterance
from recitative.report.charts import Recording, confusion_matrix, reliability_diagram, spectrogram
from recitative.report.figure import Figure
from recitative.report.page import DASH, encode_flac, percent, render, sound_uri
from recitative.score.calibration import expected_calibration_error, reliability
from recitative.score.classification import Confusions, wilson_interval
from recitative.stage import Array

Progress = Callable[[int, int], None]

BATCH = 16  # recordings that are classified together

MAX_SPEAKERS = 40
MAX_CONFUSIONS = 20
TOP_LABELS = 3  # shown of each error
BINS = 10


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


# The page


def write_report(
    labeled: LabeledSet,
    settings: ClassifierSettings,
    output: Path,
    *,
    title: str,
    errors: int,
    progress: Progress = lambda done, total: None,
) -> None:
    """Write the page; atomic. errors: maximum number shown. progress: called with (done, total)."""
    shown = most_confident_errors(labeled, errors)
    described = []
    for done, number in enumerate(shown):
        progress(done, len(shown))
        described.append(error(labeled, number, settings.features.sample_rate))
    write_text(output, page(labeled, settings, title, described))


def page(labeled: LabeledSet, settings: ClassifierSettings, title: str, errors: Sequence[dict[str, Any]]) -> str:
    """The page's HTML. errors: those to show, each made by ``error``."""
    core, found = settings.model.recurrent, labeled.confusions
    speaker_count = len({utterance.speaker for utterance in labeled.utterances})
    bins = reliability(labeled.confidences, labeled.correct, BINS)
    wrong = confusions(found)
    return render(
        "classification.html.j2",
        title=title,
        facts=[
            f"{found.total} recordings", "1 speaker" if speaker_count == 1 else f"{speaker_count} speakers",
            f"{len(labeled.labels)} labels", f"{core.cell}, {core.direction}, {core.layers} x {core.hidden}",
            f"{settings.model.pooling} over time",
        ],
        tiles=tiles(labeled),
        confusions=matrix(found),
        classes=classes(found),
        confused=wrong[:MAX_CONFUSIONS],
        confused_count=len(wrong),
        ece=expected_calibration_error(labeled.confidences, labeled.correct, BINS),
        reliability=reliability_diagram(bins, "Reliability diagram"),
        bins=[
            (f"{100 * one.low:.0f} to {100 * one.high:.0f} %", one.count, percent(one.mean_confidence),
             percent(one.accuracy), f"{100 * (one.mean_confidence - one.accuracy):+.1f}")
            for one in bins if one.count
        ],
        speakers=speakers(labeled),
        speaker_count=speaker_count,
        errors=errors,
        error_count=int((~labeled.correct).sum()),
        settings=dump_settings(settings),
    )  # fmt: skip


def matrix(found: Confusions) -> Figure:
    """True labels by predicted labels, with recalls and precisions."""
    counts, labels = found.counts, found.labels

    def tooltip(true: int, predicted: int) -> str:
        count, total = counts[true, predicted], counts[true].sum()
        return f"{labels[true]}, predicted {labels[predicted]}: {count} of {total} ({100 * count / total:.1f} %)"

    margins = [
        [f"{100 * rates[label]:.0f}" if label in rates else DASH for label in labels]
        for rates in (found.recalls, found.precisions)
    ]
    return confusion_matrix(counts, labels, "Confusion matrix", tooltip, margins=(margins[0], margins[1]))


def classes(found: Confusions) -> list[tuple[str, int, float | None, float | None, str]]:
    """Label, recordings, recall, precision and F1; the lowest recall first, labels without a recording last."""
    totals = found.counts.sum(axis=1).tolist()
    rows = []
    for label, total in zip(found.labels, totals, strict=True):
        recall, precision = found.recalls.get(label), found.precisions.get(label)
        f1 = DASH
        if recall is not None and precision is not None:
            f1 = f"{2 * recall * precision / (recall + precision) if recall + precision else 0.0:.3f}"
        rows.append((label, total, recall, precision, f1))
    return sorted(rows, key=lambda row: (2.0 if row[2] is None else row[2], row[0]))


def confusions(found: Confusions) -> list[tuple[str, str, int]]:
    """True label, predicted label and count of each kind of error, the most frequent first."""
    wrong = [
        (found.labels[true], found.labels[predicted], int(found.counts[true, predicted]))
        for true, predicted in np.argwhere(found.counts).tolist()
        if predicted != true
    ]
    return sorted(wrong, key=lambda item: (-item[2], *item[:2]))


def speakers(labeled: LabeledSet) -> list[tuple[str, int, int]]:
    """Name, correct and all recordings of the speakers with the lowest accuracies; none where there is one speaker."""
    names = [utterance.speaker for utterance in labeled.utterances]
    totals, right = Counter(names), Counter(np.array(names)[labeled.correct].tolist())
    worst_first = sorted(totals, key=lambda name: (right[name] / totals[name], name))
    return [(name, right[name], totals[name]) for name in worst_first[:MAX_SPEAKERS]] if len(totals) > 1 else []


def most_confident_errors(labeled: LabeledSet, count: int) -> list[int]:
    """The numbers of the recordings with the most probable wrong labels, ties in the order of the data."""
    wrong = np.flatnonzero(~labeled.correct)
    most_confident_first: list[int] = wrong[np.argsort(-labeled.confidences[wrong], kind="stable")].tolist()
    return most_confident_first[:count]


def error(labeled: LabeledSet, number: int, sample_rate: int) -> dict[str, Any]:
    """One recording: its true and its most probable labels, its spectrogram and sound if it can be read."""
    utterance, log_probs, true = labeled.utterances[number], labeled.log_probs[number], int(labeled.true[number])
    top: list[int] = np.argsort(-log_probs, kind="stable")[:TOP_LABELS].tolist()
    shown = {
        "utterance": utterance,
        "true": labeled.labels[true],
        "predicted": labeled.labels[int(labeled.predicted[number])],
        "labels": [(labeled.labels[n], float(np.exp(log_probs[n]))) for n in (top if true in top else [*top, true])],
        "problem": "",
    }
    try:
        recording = Recording(read_utterance(utterance), sample_rate)
    except DataError as problem:
        return shown | {"problem": str(problem)}
    return shown | {
        "spectrogram": spectrogram(recording),
        "sound": sound_uri(recording, encode_flac, "audio/flac"),
        "duration_s": recording.duration_s,
    }


def tiles(labeled: LabeledSet) -> list[tuple[str, str, str]]:
    """(value, name, detail)."""
    found = labeled.confusions
    low, high = wilson_interval(found.correct, found.total)
    interval = f"{found.correct} of {found.total}; 95 %: {100 * low:.2f} to {100 * high:.2f}"
    confidence = float(labeled.confidences.mean())
    ece = expected_calibration_error(labeled.confidences, labeled.correct, BINS)
    leaning = "above" if confidence > found.accuracy else "not above"
    return [
        (percent(found.accuracy), "accuracy", interval),
        (percent(found.unweighted_average_recall), "average recall", "unweighted: each label counts the same"),
        (percent(confidence), "mean confidence", f"{leaning} the accuracy"),
        (f"{ece:.3f}", "calibration error", f"ECE, {BINS} bins; 0 is best"),
        (f"{labeled.nll:.3f}", "nats per recording", "mean of -ln P of the true label"),
    ]
