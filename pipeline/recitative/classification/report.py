"""The report of a classifier on a labeled set: an HTML page with accuracy, confusions, calibration and errors.

Each function gives one section's values to ``report/templates/classification.html.j2``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recitative.atomic import write_text
from recitative.classification.scoring import Labelled
from recitative.classification.settings import ClassifierSettings
from recitative.config import dump_settings
from recitative.errors import DataError
from recitative.features.extraction import read_utterance
from recitative.report.charts import Recording, confusion_matrix, reliability_diagram, spectrogram
from recitative.report.figure import Figure
from recitative.report.page import DASH, encode_flac, percent, render, sound_uri
from recitative.score.calibration import expected_calibration_error, reliability
from recitative.score.classification import Confusions, wilson_interval

Progress = Callable[[int, int], None]

MAX_SPEAKERS = 40
MAX_CONFUSIONS = 20
TOP_LABELS = 3  # shown of each error
BINS = 10


def write_report(
    labelled: Labelled,
    settings: ClassifierSettings,
    output: Path,
    *,
    title: str,
    errors: int,
    progress: Progress = lambda done, total: None,
) -> None:
    """Write the page; atomic. errors: the most that are shown. progress: called with (done, total)."""
    shown = most_confident_errors(labelled, errors)
    described = []
    for done, number in enumerate(shown):
        progress(done, len(shown))
        described.append(error(labelled, number, settings.features.sample_rate))
    write_text(output, page(labelled, settings, title, described))


def page(labelled: Labelled, settings: ClassifierSettings, title: str, errors: Sequence[dict[str, Any]]) -> str:
    """The page. errors: those to show, as ``error`` describes them."""
    core, found = settings.model.recurrent, labelled.confusions
    speaker_count = len({utterance.speaker for utterance in labelled.utterances})
    bins = reliability(labelled.confidences, labelled.correct, BINS)
    wrong = confusions(found)
    return render(
        "classification.html.j2",
        title=title,
        facts=[
            f"{found.total} recordings", "1 speaker" if speaker_count == 1 else f"{speaker_count} speakers",
            f"{len(labelled.labels)} labels", f"{core.cell}, {core.direction}, {core.layers} x {core.hidden}",
            f"{settings.model.pooling} over time",
        ],
        tiles=_tiles(labelled),
        confusions=matrix(found),
        classes=classes(found),
        confused=wrong[:MAX_CONFUSIONS],
        confused_count=len(wrong),
        ece=expected_calibration_error(labelled.confidences, labelled.correct, BINS),
        reliability=reliability_diagram(bins, "Reliability diagram"),
        bins=[
            (f"{100 * one.low:.0f} to {100 * one.high:.0f} %", one.count, percent(one.mean_confidence),
             percent(one.accuracy), f"{100 * (one.mean_confidence - one.accuracy):+.1f}")
            for one in bins if one.count
        ],
        speakers=speakers(labelled),
        speaker_count=speaker_count,
        errors=errors,
        error_count=int((~labelled.correct).sum()),
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


def speakers(labelled: Labelled) -> list[tuple[str, int, int]]:
    """Name, correct and all recordings of the speakers with the lowest accuracies; none where there is one speaker."""
    names = [utterance.speaker for utterance in labelled.utterances]
    totals, right = Counter(names), Counter(np.array(names)[labelled.correct].tolist())
    worst_first = sorted(totals, key=lambda name: (right[name] / totals[name], name))
    return [(name, right[name], totals[name]) for name in worst_first[:MAX_SPEAKERS]] if len(totals) > 1 else []


def most_confident_errors(labelled: Labelled, count: int) -> list[int]:
    """The numbers of the recordings with the most probable wrong labels, ties in the order of the data."""
    wrong = np.flatnonzero(~labelled.correct)
    most_confident_first: list[int] = wrong[np.argsort(-labelled.confidences[wrong], kind="stable")].tolist()
    return most_confident_first[:count]


def error(labelled: Labelled, number: int, sample_rate: int) -> dict[str, Any]:
    """One recording: its true and its most probable labels, its spectrogram and sound if it can be read."""
    utterance, log_probs, true = labelled.utterances[number], labelled.log_probs[number], int(labelled.true[number])
    top: list[int] = np.argsort(-log_probs, kind="stable")[:TOP_LABELS].tolist()
    shown = {
        "utterance": utterance,
        "true": labelled.labels[true],
        "predicted": labelled.labels[int(labelled.given[number])],
        "labels": [(labelled.labels[n], float(np.exp(log_probs[n]))) for n in (top if true in top else [*top, true])],
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


def _tiles(labelled: Labelled) -> list[tuple[str, str, str]]:
    """(value, name, detail)."""
    found = labelled.confusions
    low, high = wilson_interval(found.correct, found.total)
    interval = f"{found.correct} of {found.total}; 95 %: {100 * low:.2f} to {100 * high:.2f}"
    confidence = float(labelled.confidences.mean())
    ece = expected_calibration_error(labelled.confidences, labelled.correct, BINS)
    leaning = "above" if confidence > found.accuracy else "not above"
    return [
        (percent(found.accuracy), "accuracy", interval),
        (percent(found.unweighted_average_recall), "average recall", "unweighted: each label counts the same"),
        (percent(confidence), "mean confidence", f"{leaning} the accuracy"),
        (f"{ece:.3f}", "calibration error", f"ECE, {BINS} bins; 0 is best"),
        (f"{labelled.nats:.3f}", "nats per recording", "mean of -ln P of the true label"),
    ]
