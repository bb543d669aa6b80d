"""Scores of classifiers, anomaly detectors and keyword spotters, with their 95 % confidence intervals; and calibration:
how well confidences say what share is correct, of labels and of words.

Classifiers have accuracy, recall, precision and a confusion matrix, anomaly detectors the area under the ROC curve, and
keyword spotters misses and false alarms per hour. A detection that overlaps an occurrence of its keyword, within
``TOLERANCE_S``, finds it. Every other detection is a false alarm, also a second one of the same occurrence. Hours are
those of all audio. Of the words with confidence 0.8, a calibrated recognizer has 8 of 10 correct.

N words, F features, B bins.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recitative.errors import DataError, counted
from recitative.reading import checked, read_json_lines
from recitative.score.results import Measurement, ResultRow, rows_of
from recitative.score.wer import Pair, align
from recitative.stage import Array
from recitative.text.tokens import Word

NORMAL_95 = 1.959963984540054  # standard deviations that contain 95 % of a normal distribution
TOLERANCE_S = 0.1  # the first and last sounds of a word overlap with its neighbors

Span = tuple[float, float]
"""Start and end in seconds."""


@dataclass(frozen=True)
class Confusions:
    """Confusion matrix. counts (K, K) int64: rows are true labels, columns predicted ones."""

    labels: tuple[str, ...]
    counts: Array

    @classmethod
    def of(cls, labels: Sequence[str], pairs: Iterable[tuple[int, int]]) -> Confusions:
        """Count pairs of (true, predicted) label numbers."""
        counts = np.zeros((len(labels), len(labels)), np.int64)
        for true, predicted in pairs:
            counts[true, predicted] += 1
        return cls(tuple(labels), counts)

    @property
    def total(self) -> int:
        return int(self.counts.sum())

    @property
    def correct(self) -> int:
        return int(np.trace(self.counts))

    @property
    def accuracy(self) -> float:
        """Requires at least one recording."""
        return self.correct / self.total

    @property
    def recalls(self) -> dict[str, float]:
        """Label -> share of its recordings that were predicted so, for labels that occur."""
        rows = zip(self.labels, np.diag(self.counts).tolist(), self.counts.sum(axis=1).tolist(), strict=True)
        return {label: correct / total for label, correct, total in rows if total}

    @property
    def precisions(self) -> dict[str, float]:
        """Label -> share of its predictions that are correct, for labels that were predicted."""
        columns = zip(self.labels, np.diag(self.counts).tolist(), self.counts.sum(axis=0).tolist(), strict=True)
        return {label: correct / total for label, correct, total in columns if total}

    @property
    def unweighted_average_recall(self) -> float:
        """The mean of the recalls: rare and common classes have equal weight (Schuller et al. 2009)."""
        return sum(self.recalls.values()) / len(self.recalls)

    def measured(self) -> list[Measurement]:
        """Measurements for a recipe's results, in percent."""
        return [
            Measurement.of_share("accuracy", self.correct, self.total),
            Measurement("% unweighted average recall", round(100 * self.unweighted_average_recall, 4),
                     counted(len(self.recalls), 'class', "classes")),
        ]  # fmt: skip

    def table(self) -> str:
        """Confusions and recalls as text: a line for each true label, a column for each predicted one."""
        head = ["true \\ given", *self.labels, "recall"]
        recalls = [f"{self.recalls[label]:.1%}" if label in self.recalls else "-" for label in self.labels]
        columns = zip(self.labels, self.counts.tolist(), recalls, strict=True)
        rows = [head, *([label, *map(str, row), recall] for label, row, recall in columns)]
        first, *others = [max(len(row[column]) for row in rows) for column in range(len(head))]
        return "\n".join(
            "  ".join([row[0].ljust(first), *(cell.rjust(width) for cell, width in zip(row[1:], others, strict=True))])
            for row in rows
        )


def wilson_interval(correct: int, total: int) -> tuple[float, float]:
    """The 95 % confidence interval of a proportion (Wilson 1927); unlike the normal approximation it is within 0 to 1,
    and not empty at either end.

        (p + z^2 / 2n  -+  z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)
    """
    p, z, n = correct / total, NORMAL_95, total
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)


def area_under_curve(normal: Sequence[float], anomalous: Sequence[float]) -> float:
    """AUC: the probability that an anomalous item scores above a normal one, ties counting half (Mann & Whitney 1947).

    Neither may be empty. 1: perfect separation; 0.5: none.
    """
    above = np.subtract.outer(np.asarray(anomalous), np.asarray(normal))
    return float(((above > 0) + 0.5 * (above == 0)).mean())


def area_error(area: float, normal: int, anomalous: int) -> float:
    """The standard error of an area under the curve (Hanley & McNeil 1982), from the numbers of both kinds."""
    both_above = area / (2 - area) - area**2
    both_below = 2 * area**2 / (1 + area) - area**2
    variance = (area * (1 - area) + (anomalous - 1) * both_above + (normal - 1) * both_below) / (normal * anomalous)
    return math.sqrt(max(variance, 0.0))


def area_measured(normal: Sequence[float], anomalous: Sequence[float]) -> Measurement:
    """The measurement for a recipe's results."""
    area = area_under_curve(normal, anomalous)
    half = NORMAL_95 * area_error(area, len(normal), len(anomalous))
    counts = f"{len(anomalous)} anomalous, {len(normal)} normal; 95 %: +- {half:.3f}"
    return Measurement("AUC", round(area, 6), counts)


@dataclass(frozen=True)
class DetectionCounts:
    """Counts of one keyword, or the sum of several, at one threshold.

    hours: of audio, summed over keywords, so that false alarms per hour are those of one keyword
    """

    occurrences: int
    found: int
    false_alarms: int
    hours: float

    @property
    def missed(self) -> int:
        return self.occurrences - self.found

    @property
    def miss_rate(self) -> float:
        """0..1; NaN without occurrences."""
        return self.missed / self.occurrences if self.occurrences else math.nan

    @property
    def per_hour(self) -> float:
        """False alarms per hour."""
        return self.false_alarms / self.hours

    @classmethod
    def together(cls, parts: Sequence[DetectionCounts]) -> DetectionCounts:
        return cls(
            sum(part.occurrences for part in parts),
            sum(part.found for part in parts),
            sum(part.false_alarms for part in parts),
            sum(part.hours for part in parts),
        )

    def measured(self) -> list[Measurement]:
        """Measurements for a recipe's results."""
        low, high = (bound / self.hours for bound in poisson_interval(self.false_alarms))
        counts = f"{self.false_alarms} in {self.hours:.3g} h, 95 %: {low:.2g} to {high:.2g}"
        alarms = Measurement("false alarms per hour and keyword", round(self.per_hour, 4), counts)
        return [Measurement.of_share("missed", self.missed, self.occurrences), alarms] if self.occurrences else [alarms]

    def as_object(self) -> dict[str, Any]:
        """As JSON data, with 95 % intervals."""
        missed = wilson_interval(self.missed, self.occurrences) if self.occurrences else None
        return {
            "occurrences": self.occurrences,
            "missed": self.missed,
            "miss_rate": self.miss_rate if self.occurrences else None,
            "miss_rate_interval": missed,
            "false_alarms": self.false_alarms,
            "hours": self.hours,
            "false_alarms_per_hour": self.per_hour,
            "false_alarms_per_hour_interval": [bound / self.hours for bound in poisson_interval(self.false_alarms)],
        }


def count_found(occurrences: Sequence[Span], hits: Iterable[Span]) -> int:
    """The number of a recording's occurrences that are found by the detections, in the order of the detections."""
    open_ones = list(occurrences)
    for start_s, end_s in hits:
        for span in open_ones:
            if start_s < span[1] + TOLERANCE_S and span[0] - TOLERANCE_S < end_s:
                open_ones.remove(span)
                break
    return len(occurrences) - len(open_ones)


LEVELS = tuple(1 / (1 + math.exp(-odds / 8)) for odds in range(-24, 73))
"""Candidate thresholds: steps of an eighth in log odds, from 0.05 to 0.9999."""


def choose_level(at_levels: Sequence[DetectionCounts], most_per_hour: float) -> int | None:
    """The index of the threshold in ``LEVELS`` for a target rate of false alarms, given the counts at each.

    The allowed number of false alarms is rounded: in 0.7 hours, one per hour is one. Among the levels at and above
    which it is not exceeded, those with the fewest misses are chosen, and of these the middle one, for the largest
    margin on both sides. None if even the highest level has too many.
    """
    first = len(at_levels)
    while first and at_levels[first - 1].false_alarms <= math.floor(most_per_hour * at_levels[first - 1].hours + 0.5):
        first -= 1
    allowed = range(first, len(at_levels))
    if not allowed:
        return None
    most_found = max(at_levels[level].found for level in allowed)
    best = [level for level in allowed if at_levels[level].found == most_found]
    return (best[0] + best[-1]) // 2


def poisson_interval(count: int) -> Span:
    """The exact 95 % confidence interval of the mean of a Poisson distribution, given a count (Garwood 1936)."""
    low = _root(lambda mean: 1 - _poisson_cdf(count - 1, mean) - 0.025, count) if count else 0.0
    return low, _root(lambda mean: 0.025 - _poisson_cdf(count, mean), count)


def _poisson_cdf(count: int, mean: float) -> float:
    return sum(math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(count + 1))


def _root(rising: Callable[[float], float], count: int) -> float:
    """The root, by bisection."""
    low, high = 1e-9, 2.0 * count + 20.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if rising(middle) > 0 else (middle, high)
    return low


# Calibration of confidences


def hypothesis_correct(alignment: Iterable[Pair]) -> list[bool]:
    """Whether each word of the hypothesis, in order, is correct: neither inserted nor substituted.

    alignment: of reference and hypothesis, by ``score.wer.align``. Deleted words are not in the hypothesis.
    """
    return [pair.op == "C" for pair in alignment if pair.op != "D"]


@dataclass(frozen=True)
class ReliabilityBin:
    """The words with a confidence in (low, high]; the first bin includes 0."""

    low: float
    high: float
    count: int
    mean_confidence: float  # NaN without words
    accuracy: float  # fraction of correct words; NaN without words


def reliability(confidence: Array, correct: Array, bins: int = 10) -> list[ReliabilityBin]:
    """The data of a reliability diagram, with ``bins`` of equal width.

    confidence: (N,) in 0..1; correct: (N,) bool. Raises DataError for no words and for values out of range.
    """
    if bins < 1:
        raise ValueError(f"bins={bins}: must be at least 1")
    confidence, correct = _checked(confidence, correct)
    edges = np.arange(bins + 1) / bins
    places = np.maximum(np.searchsorted(edges, confidence) - 1, 0)  # (N,)
    counts = np.bincount(places, minlength=bins)
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN
        means = np.bincount(places, confidence, bins) / counts
        accuracies = np.bincount(places, correct, bins) / counts
    columns = (edges[:-1], edges[1:], counts, means, accuracies)
    return [ReliabilityBin(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]


def expected_calibration_error(confidence: Array, correct: Array, bins: int = 10) -> float:
    """ECE = sum over bins of count / N * |accuracy - mean confidence| (Guo et al. 2017, equation 3); 0..1, 0 is best.

    Arguments and errors as ``reliability``.
    """
    filled = [row for row in reliability(confidence, correct, bins) if row.count]
    gaps = sum(row.count * abs(row.accuracy - row.mean_confidence) for row in filled)
    return gaps / sum(row.count for row in filled)


def normalized_cross_entropy(confidence: Array, correct: Array, *, floor: float = 1e-7) -> float:
    """NIST's normalized cross entropy, as reported by Kaldi's recipes:

        NCE = (H - C) / H,  H = entropy of the fraction of correct words,  C = cross entropy of the confidences

    At most 1; 0 if every confidence equals that fraction; below 0 if they are worse. NaN if all words are correct, or
    all wrong, since H is 0. Confidences are clipped to [floor, 1 - floor]: otherwise one wrong word of confidence 1
    would give minus infinity. Errors as ``reliability``.
    """
    confidence, correct = _checked(confidence, correct)
    right = float(correct.mean())
    if right in (0.0, 1.0):
        return math.nan
    entropy = -right * math.log(right) - (1 - right) * math.log(1 - right)
    bounded = confidence.clip(floor, 1 - floor)
    cross_entropy = -float(np.log(np.where(correct, bounded, 1 - bounded)).mean())
    return (entropy - cross_entropy) / entropy


def _checked(confidence: Array, correct: Array) -> tuple[Array, Array]:
    confidence = np.asarray(confidence, np.float64)
    correct = correctness(correct, len(confidence))
    outside = ~((confidence >= 0) & (confidence <= 1))  # NaN too
    if outside.any():
        raise DataError("confidences", f"{confidence[outside][0]:g} is out of range", "0 to 1", "")
    return confidence, correct


def correctness(correct: Array, n: int) -> Array:
    """Correctness of ``n`` words as bool, checked."""
    if n == 0:
        raise DataError("confidences", "have no words", "at least one", "score hypotheses that have words")
    if len(correct) != n:
        found = f"{counted(n, 'word')}, but {counted(len(correct), 'mark')} of right or wrong"
        raise DataError("confidences", found, "one for each word", "")
    return np.asarray(correct, bool)


@dataclass(frozen=True)
class _Line:
    utt_id: str
    words: list[Word]


@dataclass(frozen=True)
class WordQuality:
    """words: number of recognized words; right: of correct ones; ece: 0..1; nce: at most 1; timed: number of correct
    words with an alignment; time_error_ms: median error over both ends of those, None without an alignment."""

    words: int
    right: int
    ece: float
    nce: float
    table: str  # of reliability, as text
    timed: int = 0
    time_error_ms: float | None = None

    def rows(self, origin: ResultRow) -> list[ResultRow]:
        """Result rows; all other fields are those of ``origin``."""
        measured = [
            Measurement("ECE", round(self.ece, 4), counted(self.words, "word")),
            Measurement("NCE", round(self.nce, 4), counted(self.words, "word")),
        ]
        if self.time_error_ms is not None:
            measured.append(Measurement("word times, ms", round(self.time_error_ms, 1), counted(self.timed, "word")))
        return rows_of(measured, origin)

    def summary(self) -> str:
        """Lines for the terminal."""
        lines = [f"confidence: ECE {self.ece:.4f}, NCE {self.nce:.3f}, {self.right} of {self.words} words right"]
        if self.time_error_ms is not None:
            lines.append(
                f"word times: median error {self.time_error_ms:.0f} ms over {counted(self.timed, 'word')}, both ends"
            )
        return "\n".join(lines)


def read_timed_words(path: Path) -> dict[str, list[Word]]:
    """Read ``words.jsonl`` of decoding, or ``alignment.jsonl``. Raises DataError that names a malformed line."""
    found: dict[str, list[Word]] = {}
    for where, value in read_json_lines(path, "words.jsonl of 'recitative decode'", "correct the path"):
        line = checked(_Line, value, where, "a line of words.jsonl", "")
        if not all(0 <= word.confidence <= 1 and math.isfinite(word.start_s + word.end_s) for word in line.words):
            raise DataError(where, "has an invalid time or confidence", "seconds, and 0 to 1", "")
        found[line.utt_id] = line.words
    return found


def measure_words(
    refs: Mapping[str, str],
    found: Mapping[str, Sequence[Word]],
    aligned: Mapping[str, Sequence[Word]] | None = None,
) -> WordQuality:
    """refs: utt_id -> text; found: recognized words; aligned: words of the reference, from ``recitative align``.

    Raises DataError if no word was recognized.
    """
    confidences: list[float] = []
    correct: list[bool] = []
    errors_s: list[float] = []
    for utt_id, words in found.items():
        alignment = align(refs.get(utt_id, "").split(), [word.word for word in words])
        confidences += [word.confidence for word in words]
        correct += hypothesis_correct(alignment)
        if aligned and utt_id in aligned:
            for true, word in _correct_pairs([pair.op for pair in alignment], aligned[utt_id], words):
                errors_s += [abs(true.start_s - word.start_s), abs(true.end_s - word.end_s)]
    if not correct:
        raise DataError("hypotheses", "have no words", "at least one", "")
    values, flags = np.array(confidences), np.array(correct)
    time_error_ms = 1000 * float(np.median(errors_s)) if errors_s else None
    return WordQuality(
        len(correct),
        sum(correct),
        expected_calibration_error(values, flags),
        normalized_cross_entropy(values, flags),
        _reliability_table(values, flags),
        len(errors_s) // 2,
        time_error_ms,
    )


def _correct_pairs(ops: Sequence[str], true: Sequence[Word], found: Sequence[Word]) -> list[tuple[Word, Word]]:
    """The aligned words of reference and hypothesis that are equal."""
    pairs: list[tuple[Word, Word]] = []
    i = j = 0
    for op in ops:
        if op == "C" and i < len(true):
            pairs.append((true[i], found[j]))
        i += op != "I"
        j += op != "D"
    return pairs


def _reliability_table(confidences: Array, correct: Array) -> str:
    """The reliability diagram as text."""
    lines = ["confidence    words   mean  right"]
    lines += [
        f"{row.low:.1f} to {row.high:.1f} {row.count:>8} {row.mean_confidence:>6.3f} {row.accuracy:>6.3f}"
        for row in reliability(confidences, correct)
        if row.count
    ]
    return "\n".join(lines) + "\n"
