"""Evaluation of a classifier on a labeled data directory, and its page: accuracy, confusions, calibration, recordings.
No PyTorch.

An utterance's whole text is its label. ``report/templates/classification.html.j2`` shows the page, of one classifier or
of two that are compared. It is one file with the most confident errors, or is served by ``report.page``, where
every recording can be opened.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from recitative.atomic import write_text
from recitative.classification.classifier import Classifier, ClassifierSettings
from recitative.config import dump_settings
from recitative.data.directory import DataDirectory
from recitative.data.tables import Utterance
from recitative.errors import DataError, Problem, counted, raise_all
from recitative.features.extraction import audio_durations_s, read_utterance
from recitative.report.charts import Recording, confusion_matrix, reliability_diagram, spectrogram
from recitative.report.figure import Figure
from recitative.report.page import DASH, Cell, encode_flac, percent, render, render_part, sound_uri
from recitative.score.classification import Confusions, expected_calibration_error, reliability, wilson_interval
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
    raise_all(problems)
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
    longest_s: float = float("inf"),
) -> None:
    """Raises one DataError for all recordings that last less than one frame of the network, or more than ``longest_s``.

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
        if duration_s > longest_s:
            allowed = f"at most train.max_duration_s={longest_s:g}"
            problems.append(Problem(place, f"lasts {duration_s:.1f} s", allowed, "cut it or raise the limit"))
    raise_all(problems)


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


MAX_CONFUSIONS = 20
MAX_ROWS = 2000  # recordings listed
TOP_LABELS = 3  # shown of each recording
BINS = 10


def write_report(report: Report, output: Path, *, errors: int, progress: Progress = lambda done, total: None) -> None:
    """Write the page; atomic. errors: maximum number shown. progress: called with (done, total)."""
    write_text(output, report.page(errors, progress))


@dataclass(frozen=True)
class Report:
    """One classifier or two on the same data.

    names: of the classifiers. settings: of the first. live: the page is served, so that each recording can be opened
    """

    title: str
    names: Sequence[str]
    labeled: Sequence[LabeledSet]
    settings: ClassifierSettings
    live: bool = False

    def page(self, errors: int = 0, progress: Progress = lambda done, total: None) -> str:
        """The page with the most confident errors."""
        labeled, core = self.labeled[0], self.settings.model.recurrent
        found, shown = labeled.confusions, most_confident_errors(labeled, errors)
        articles = []
        for done, number in enumerate(shown):
            progress(done, len(shown))
            articles.append(self._recording(number))
        speaker_count = len({utterance.speaker for utterance in labeled.utterances})
        bins = reliability(labeled.confidences, labeled.correct, BINS)
        wrong = confusions(found)
        return render(
            "classification.html.j2",
            title=self.title,
            live=self.live,
            facts=[
                counted(found.total, "recording"), counted(speaker_count, "speaker"),
                counted(len(labeled.labels), "label"), f"{core.cell}, {core.direction}, {core.layers} x {core.hidden}",
                f"{self.settings.model.pooling} over time",
            ],
            metrics=metric_table(self.labeled, self.names),
            set={
                "name": "recordings", "listed": self._table(shown), "count": found.total, "scored": True,
                "utterances": articles,
            },
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
            settings=dump_settings(self.settings),
        )  # fmt: skip

    def detail(self, key: str) -> str:
        """One recording as HTML. Raises KeyError for an unknown key."""
        numbers = {utterance.utt_id: number for number, utterance in enumerate(self.labeled[0].utterances)}
        return render_part("utterance", self._recording(numbers[key]))

    def label_scores(self, name: str) -> Iterator[tuple[str, float]]:
        """utt_id and ln P of its label - ln P of the most probable one."""
        labeled = self.labeled[0]
        ids = (utterance.utt_id for utterance in labeled.utterances)
        yield from zip(ids, _label_scores(labeled).tolist(), strict=True)

    def _recording(self, number: int) -> dict[str, Any]:
        """One recording: its true and its most probable labels, its spectrogram and sound if it can be read."""
        labeled = self.labeled[0]
        utterance, true, log_probs = labeled.utterances[number], int(labeled.true[number]), labeled.log_probs[number]
        top: list[int] = np.argsort(-log_probs, kind="stable")[:TOP_LABELS].tolist()
        shown = {
            "key": utterance.utt_id,
            "name": utterance.utt_id,
            "sides": ("true", "predicted"),
            "facts": [f"speaker {utterance.speaker}"],
            "systems": [
                _system(name if len(self.names) > 1 else "", one, number)
                for name, one in zip(self.names, self.labeled, strict=True)
            ],
            "labels": [
                (labeled.labels[n], float(np.exp(log_probs[n])), n == true)
                for n in (top if true in top else [*top, true])
            ],
            "notes": [],
            "problem": "",
        }
        try:
            recording = Recording(read_utterance(utterance), self.settings.features.sample_rate)
        except DataError as problem:
            return shown | {"problem": str(problem)}
        return shown | {
            "picture": spectrogram(recording),
            "sound": sound_uri(recording, encode_flac, "audio/flac"),
            "duration_s": recording.duration_s,
        }

    def _table(self, shown: Sequence[int]) -> tuple[list[str], list[list[Cell]]]:
        """The heading and a row for each recording: the most confident errors first, the surest correct ones last."""
        labeled, others = self.labeled[0], self.labeled[1:]
        head = ["recording", "speaker", "true", "predicted", *("other" for _ in others), "confidence", "label score"]
        scores, confidences = _label_scores(labeled), labeled.confidences
        wrong = most_confident_errors(labeled, len(scores))
        right = np.flatnonzero(labeled.correct)
        order = [*wrong, *right[np.argsort(confidences[right], kind="stable")].tolist()]
        rows = []
        for number in order[:MAX_ROWS]:
            utterance = labeled.utterances[number]
            predictions = [one.labels[int(one.predicted[number])] for one in (labeled, *others)]
            rows.append([
                Cell(utterance.utt_id, key=utterance.utt_id if self.live or number in shown else ""),
                Cell(utterance.speaker),
                Cell(utterance.text or ""),
                *(Cell(label, strong=label != utterance.text) for label in predictions),
                Cell(f"{confidences[number]:.3f}", float(confidences[number])),
                Cell(f"{scores[number]:.2f}", float(scores[number])),
            ])  # fmt: skip
        return head, rows


def _system(name: str, labeled: LabeledSet, number: int) -> dict[str, Any]:
    true, predicted = labeled.utterances[number].text or "", labeled.labels[int(labeled.predicted[number])]
    op, confidence = "C" if true == predicted else "S", labeled.confidences[number]
    description = f"{true}: {'correct' if op == 'C' else f'classified as {predicted}'}, confidence {confidence:.2f}"
    return {
        "name": name,
        "facts": [f"confidence {confidence:.3f}"],
        "words": [(op, true, predicted, None, description)],
    }


def _label_scores(labeled: LabeledSet) -> Array:
    """(N,) ln P of each label - ln P of the most probable one: 0 if they are one, far below for a doubtful label."""
    log_probs = labeled.log_probs.astype(np.float64)
    return np.asarray(log_probs[np.arange(len(labeled.true)), labeled.true] - log_probs.max(axis=1))


def metric_table(labeled: Sequence[LabeledSet], names: Sequence[str]) -> tuple[list[str], list[list[Cell]]]:
    """The heading and a row for each classifier; two have the difference of the second from the first."""
    head = ["model", "accuracy", "95 % interval", "correct", "average recall", "mean confidence", "ECE", "NLL"]
    rows, values = [], []
    for name, one in zip(names, labeled, strict=True):
        found = one.confusions
        low, high = wilson_interval(found.correct, found.total)
        ece = expected_calibration_error(one.confidences, one.correct, BINS)
        recall, confidence = found.unweighted_average_recall, float(one.confidences.mean())
        values.append((100 * found.accuracy, math.nan, found.correct, 100 * recall, 100 * confidence, ece, one.nll))
        rows.append([
            Cell(name),
            Cell(percent(found.accuracy), found.accuracy, strong=True),
            Cell(f"{100 * low:.2f} to {100 * high:.2f}", low),
            Cell(f"{found.correct} / {found.total}", found.correct),
            Cell(percent(recall), recall, title="unweighted: each label counts the same"),
            Cell(percent(confidence), confidence),
            Cell(f"{ece:.3f}", ece, title=f"expected calibration error, {BINS} bins; 0 is best"),
            Cell(f"{one.nll:.3f}", one.nll, title="nats per recording: mean of -ln P of the true label"),
        ])  # fmt: skip
    if len(values) == 2:
        changes = (after - before for before, after in zip(*values, strict=True))
        shown = (Cell("" if math.isnan(change) else f"{change:+.4g}", change) for change in changes)
        rows.append([Cell("difference"), *shown])
    return head, rows


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


def classes(found: Confusions) -> list[list[Cell]]:
    """Label, recordings, recall, precision and F1; the lowest recall first, labels without a recording last."""
    rows = []
    for label, total in zip(found.labels, found.counts.sum(axis=1).tolist(), strict=True):
        recall, precision = (rates.get(label, math.nan) for rates in (found.recalls, found.precisions))
        f1 = 2 * recall * precision / (recall + precision) if recall + precision else recall + precision
        rates = [_rate(recall), _rate(precision), Cell(DASH if math.isnan(f1) else f"{f1:.3f}", f1)]
        rows.append((2.0 if math.isnan(recall) else recall, label, [Cell(label), Cell(str(total), total), *rates]))
    return [cells for _, _, cells in sorted(rows, key=lambda row: row[:2])]


def _rate(value: float) -> Cell:
    return Cell(percent(value), value, None if math.isnan(value) else value)


def confusions(found: Confusions) -> list[tuple[str, str, int]]:
    """True label, predicted label and count of each kind of error, the most frequent first."""
    wrong = [
        (found.labels[true], found.labels[predicted], int(found.counts[true, predicted]))
        for true, predicted in np.argwhere(found.counts).tolist()
        if predicted != true
    ]
    return sorted(wrong, key=lambda item: (-item[2], *item[:2]))


def speakers(labeled: LabeledSet) -> list[list[Cell]]:
    """Name, accuracy, correct and all recordings, the lowest accuracy first; none where there is one speaker."""
    names = [utterance.speaker for utterance in labeled.utterances]
    totals, right = Counter(names), Counter(np.array(names)[labeled.correct].tolist())
    worst_first = sorted(totals, key=lambda name: (right[name] / totals[name], name)) if len(totals) > 1 else []
    return [
        [Cell(name), _rate(right[name] / totals[name]), Cell(f"{right[name]} / {totals[name]}", totals[name])]
        for name in worst_first
    ]


def most_confident_errors(labeled: LabeledSet, count: int) -> list[int]:
    """The numbers of the recordings with the most probable wrong labels, ties in the order of the data."""
    wrong = np.flatnonzero(~labeled.correct)
    most_confident_first: list[int] = wrong[np.argsort(-labeled.confidences[wrong], kind="stable")].tolist()
    return most_confident_first[:count]
