"""Precision, recall and F1 of restored marks and capitals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from recitative.punctuation.labels import LabelledWord
from recitative.punctuation.punctuator import Punctuator

SCORED = {"comma": ",", "period": ".", "question": "?"}
CAPITAL = "capital"


@dataclass
class Score:
    """Counts of what was written, restored, and both."""

    written: int = 0
    restored: int = 0
    right: int = 0

    def add(self, written: bool, restored: bool) -> None:
        self.written += written
        self.restored += restored
        self.right += written and restored

    @property
    def precision(self) -> float:
        return self.right / max(self.restored, 1)

    @property
    def recall(self) -> float:
        return self.right / max(self.written, 1)

    @property
    def f1(self) -> float:
        return 2 * self.right / max(self.written + self.restored, 1)


def score_passages(punctuator: Punctuator, passages: Iterable[Sequence[LabelledWord]]) -> Mapping[str, Score]:
    """Scores of marks, and of capital letters at the starts of words, by name. Each passage is read by itself."""
    scores = {name: Score() for name in (*SCORED, CAPITAL)}
    for passage in passages:
        restored = punctuator.restore([word.word for word in passage])
        for true, found in zip(passage, restored, strict=True):
            for name, mark in SCORED.items():
                scores[name].add(true.mark == mark, found.mark == mark)
            scores[CAPITAL].add(true.text[:1].isupper(), found.text[:1].isupper())
    return scores


def mean_f1(scores: Mapping[str, Score]) -> float:
    return sum(score.f1 for score in scores.values()) / len(scores)


def summary(scores: Mapping[str, Score]) -> str:
    """'F1 comma 70.1 %, ...'"""
    return "F1 " + ", ".join(f"{name} {score.f1:.1%}" for name, score in scores.items())
