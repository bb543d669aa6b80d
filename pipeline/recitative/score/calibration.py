"""Calibration of confidences: its measures, a calibrator, and the quality of word confidences and word times.

Of the words with confidence 0.8, a calibrated recognizer has 8 of 10 correct. N words, F features, B bins.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from recitative.errors import DataError
from recitative.reading import checked, read_json_lines
from recitative.score.results import Measurement, ResultRow, rows_of
from recitative.score.wer import Pair, align
from recitative.stage import Array
from recitative.text.tokens import Word

L2 = 0.1  # prior on weights, per standard deviation of the feature: about 1 / sqrt(L2) = 3 or less
NEWTON_STEPS = 100  # about ten suffice


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


def logit(confidence: Array, limit: float = 10.0) -> Array:
    """log(p / (1 - p)), clipped to -limit..limit: a confidence as a feature of ``Calibrator.fit``."""
    with np.errstate(divide="ignore"):
        odds: Array = np.log(confidence) - np.log1p(-np.asarray(confidence))
    return odds.clip(-limit, limit)


@dataclass(frozen=True)
class Calibrator:
    """Logistic regression: p(correct) = 1 / (1 + exp(-(bias + sum over features of weight * feature)))."""

    features: tuple[str, ...]  # names of the columns
    weights: tuple[float, ...]
    bias: float

    @classmethod
    def fit(cls, features: Array, correct: Array, names: Sequence[str], *, l2: float = L2) -> Calibrator:
        """Fit to words with known correctness, by Newton's method.

        features: (N, F), such as ``logit`` of the confidence and the length, as in Kaldi's steps/conf; correct: (N,)
        bool; names: of the F columns. Minimizes the cross entropy, summed over words, + l2 / 2 * sum of squared weights
        of features scaled to unit variance. Targets are those of Platt 1999, (right + 1) / (right + 2) for correct
        words and 1 / (wrong + 2) for wrong ones, as if one more word of each kind had been seen. So the weights are
        finite even if a threshold separates correct from wrong words, and if all words are correct, or all wrong, every
        probability is that constant.
        Raises DataError for no words, non-finite features, and mismatched shapes.
        """
        features = _matrix(features, names)
        correct = _flags(correct, len(features))
        mean, scale = features.mean(0), features.std(0)
        scale = np.where(scale > 1e-12 * (1 + abs(mean)), scale, np.inf)  # a constant feature has weight 0
        standard = np.column_stack([(features - mean) / scale, np.ones(len(features))])  # (N, F + 1)
        penalty = np.array([l2] * len(names) + [0.0])
        right, wrong = int(correct.sum()), int((~correct).sum())
        targets = np.where(correct, (right + 1) / (right + 2), 1 / (wrong + 2))
        solution = _newton(standard, targets, penalty)
        weights = solution[:-1] / scale
        return cls(tuple(names), tuple(weights.tolist()), float(solution[-1] - weights @ mean))

    def apply(self, features: Array) -> npt.NDArray[np.float64]:
        """Features (N, F) -> probabilities (N,) that the words are correct. Raises DataError for another F."""
        features = _matrix(features, self.features)
        return _sigmoid(features @ np.array(self.weights) + self.bias)

    def to_dict(self) -> dict[str, Any]:
        """As JSON data, such as in a model's metadata."""
        return {"features": list(self.features), "weights": list(self.weights), "bias": self.bias}

    @classmethod
    def from_dict(cls, entries: Mapping[str, Any], where: str) -> Calibrator:
        """The inverse of ``to_dict``. Raises DataError located at ``where`` for other data."""
        try:
            names, weights = tuple(entries["features"]), tuple(map(float, entries["weights"]))
            bias = float(entries["bias"])
            sound = len(names) == len(weights) and all(map(math.isfinite, (*weights, bias)))
        except (KeyError, TypeError, ValueError):
            sound = False
        if not sound:
            raise DataError(where, "has no calibrator", "features, as many weights, and a bias", "fit it again")
        return cls(names, weights, bias)


def _newton(x: Array, targets: Array, penalty: Array) -> Array:
    """The minimum (F + 1,) of cross entropy + penalty / 2 * weights ** 2, finite for targets (N,) within 0 and 1.

    Newton's step is halved until the loss decreases, since far from the minimum it may overshoot.
    """
    weights = np.zeros(x.shape[1])
    loss = _loss(x, targets, penalty, weights)
    for _ in range(NEWTON_STEPS):
        p = _sigmoid(x @ weights)
        gradient = x.T @ (p - targets) + penalty * weights
        hessian = (x.T * (p * (1 - p))) @ x + np.diag(penalty)
        step = np.linalg.lstsq(hessian, gradient, rcond=None)[0]  # singular for l2 = 0 and a repeated feature
        while (lower := _loss(x, targets, penalty, weights - step)) > loss:
            step = step / 2
        if abs(step).max() < 1e-10:
            break
        weights, loss = weights - step, lower
    return weights


def _loss(x: Array, targets: Array, penalty: Array, weights: Array) -> float:
    z = x @ weights
    return float((np.logaddexp(0, z) - targets * z).sum() + (penalty * weights**2).sum() / 2)


def _sigmoid(z: Array) -> npt.NDArray[np.float64]:
    """1 / (1 + exp(-z)), without overflow."""
    result: npt.NDArray[np.float64] = (1 + np.tanh(z / 2)) / 2
    return result


def _checked(confidence: Array, correct: Array) -> tuple[Array, Array]:
    confidence = np.asarray(confidence, np.float64)
    correct = _flags(correct, len(confidence))
    outside = ~((confidence >= 0) & (confidence <= 1))  # NaN too
    if outside.any():
        raise DataError("confidences", f"{confidence[outside][0]:g} is out of range", "0 to 1", "")
    return confidence, correct


def _flags(correct: Array, n: int) -> Array:
    """Correctness of ``n`` words as bool, checked."""
    if n == 0:
        raise DataError("confidences", "have no words", "at least one", "score hypotheses that have words")
    if len(correct) != n:
        found = f"{n} words, but {len(correct)} marks of right or wrong"
        raise DataError("confidences", found, "one for each word", "")
    return np.asarray(correct, bool)


def _matrix(features: Array, names: Sequence[str]) -> Array:
    """(N, F) as float64, with a column for each name, checked."""
    features = np.asarray(features, np.float64)
    if features.ndim != 2 or features.shape[1] != len(names):
        raise DataError("features", f"shape {features.shape}", f"a column each for {', '.join(names)}", "")
    bad = ~np.isfinite(features).all(0)
    if bad.any():
        raise DataError("features", f"'{names[int(bad.argmax())]}' has NaN or infinity", "finite numbers", "")
    return features


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
            Measurement("ECE", round(self.ece, 4), f"{self.words} words"),
            Measurement("NCE", round(self.nce, 4), f"{self.words} words"),
        ]
        if self.time_error_ms is not None:
            measured.append(Measurement("word times, ms", round(self.time_error_ms, 1), f"{self.timed} words"))
        return rows_of(measured, origin)

    def summary(self) -> str:
        """Lines for the terminal."""
        lines = [f"confidence: ECE {self.ece:.4f}, NCE {self.nce:.3f}, {self.right} of {self.words} words right"]
        if self.time_error_ms is not None:
            lines.append(f"word times: median error {self.time_error_ms:.0f} ms over {self.timed} words, both ends")
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
