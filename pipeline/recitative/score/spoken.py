"""Quality of word confidences and word times.

Confidences are compared with correctness, times with those of a forced alignment of the reference.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recitative.errors import DataError
from recitative.reading import checked, read_json_lines
from recitative.score.calibration import (
    expected_calibration_error,
    hypothesis_correct,
    normalized_cross_entropy,
    reliability,
)
from recitative.score.results import ResultRow
from recitative.score.wer import align


@dataclass(frozen=True)
class TimedWord:
    word: str
    start_s: float
    end_s: float
    confidence: float


@dataclass(frozen=True)
class _Line:
    utt_id: str
    words: list[TimedWord]


@dataclass(frozen=True)
class WordQuality:
    """words: recognized; right: correct ones; ece: 0..1; nce: at most 1; timed: correct words with an alignment;
    time_error_ms: median error over both ends of those, None without an alignment."""

    words: int
    right: int
    ece: float
    nce: float
    table: str  # of reliability, as text
    timed: int = 0
    time_error_ms: float | None = None

    def rows(self, origin: ResultRow) -> list[ResultRow]:
        """Result rows; all other fields are those of ``origin``."""
        rows = [
            dataclasses.replace(origin, metric="ECE", value=round(self.ece, 4), counts=f"{self.words} words"),
            dataclasses.replace(origin, metric="NCE", value=round(self.nce, 4), counts=f"{self.words} words"),
        ]
        if self.time_error_ms is not None:
            value = round(self.time_error_ms, 1)
            rows.append(dataclasses.replace(origin, metric="word times, ms", value=value, counts=f"{self.timed} words"))
        return rows

    def summary(self) -> str:
        """Lines for the terminal."""
        lines = [f"confidence: ECE {self.ece:.4f}, NCE {self.nce:.3f}, {self.right} of {self.words} words right"]
        if self.time_error_ms is not None:
            lines.append(f"word times: median error {self.time_error_ms:.0f} ms over {self.timed} words, both ends")
        return "\n".join(lines)


def read_timed_words(path: Path) -> dict[str, list[TimedWord]]:
    """Read ``words.jsonl`` of decoding, or ``alignment.jsonl``. Raises DataError that names a malformed line."""
    found: dict[str, list[TimedWord]] = {}
    for where, value in read_json_lines(path, "words.jsonl of 'recitative decode'", "correct the path"):
        line = checked(_Line, value, where, "a line of words.jsonl", "")
        if not all(0 <= word.confidence <= 1 and math.isfinite(word.start_s + word.end_s) for word in line.words):
            raise DataError(where, "has an invalid time or confidence", "seconds, and 0 to 1", "")
        found[line.utt_id] = line.words
    return found


def measure_words(
    refs: Mapping[str, str],
    found: Mapping[str, Sequence[TimedWord]],
    aligned: Mapping[str, Sequence[TimedWord]] | None = None,
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
            for true, heard in _right_pairs([pair.op for pair in alignment], aligned[utt_id], words):
                errors_s += [abs(true.start_s - heard.start_s), abs(true.end_s - heard.end_s)]
    if not correct:
        raise DataError("hypotheses", "have no words", "at least one", "")
    values, flags = np.array(confidences), np.array(correct)
    time_error_ms = 1000 * float(np.median(errors_s)) if errors_s else None
    return WordQuality(
        len(correct),
        sum(correct),
        expected_calibration_error(values, flags),
        normalized_cross_entropy(values, flags),
        _table(values, flags),
        len(errors_s) // 2,
        time_error_ms,
    )


def _right_pairs(
    ops: Sequence[str], true: Sequence[TimedWord], heard: Sequence[TimedWord]
) -> list[tuple[TimedWord, TimedWord]]:
    """The aligned words of reference and hypothesis that are equal."""
    pairs: list[tuple[TimedWord, TimedWord]] = []
    i = j = 0
    for op in ops:
        if op == "C" and i < len(true):
            pairs.append((true[i], heard[j]))
        i += op != "I"
        j += op != "D"
    return pairs


def _table(confidences: np.ndarray, correct: np.ndarray) -> str:
    """The reliability diagram as text."""
    lines = ["confidence    words   mean  right"]
    lines += [
        f"{row.low:.1f} to {row.high:.1f} {row.count:>8} {row.mean_confidence:>6.3f} {row.accuracy:>6.3f}"
        for row in reliability(confidences, correct)
        if row.count
    ]
    return "\n".join(lines) + "\n"
