"""Punctuation and case of the words of a recognizer: labels, the model that restores them, and its scores. NumPy only.

A label is the mark after a word and the word's case. The network's input for a word is the sum of four vectors: that of
the word, or of all rare words, and those of its beginning and its endings.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import Field

from recitative.config import ForwardRecurrentSettings, Section, TextTrainSettings, TrainingData
from recitative.errors import DataError, counted
from recitative.model.kind import LENGTHS, VOCABULARY, ModelKind, ModelMetadata, Signature
from recitative.reading import read_text
from recitative.stage import Array, Ids, Padded, Stage
from recitative.text.normalize import HYPHENS, normalize
from recitative.text.tokens import Vocabulary


class PunctuationTextSettings(Section):
    min_count: int = Field(50, ge=1)  # rarer words are represented by their beginnings and ends alone
    batch_words: int = Field(2000, ge=1)
    epoch_batches: int = Field(0, ge=0)  # batches of an epoch, drawn anew for each; 0 = the whole text
    shorten: float = Field(0.4, ge=0, le=1)  # probability that a passage ends with any of its sentences,
    cut: float = Field(0.1, ge=0, le=1)  # and that it ends anywhere


class PunctuationCoreSettings(ForwardRecurrentSettings):
    """The recurrent core, forward only, with another default."""

    hidden: int = Field(128, ge=1)


class PunctuationNetworkSettings(Section):
    embedding: int = Field(64, ge=1)  # embedding width of words, and of their beginnings and ends
    buckets: int = Field(4096, ge=1)  # entries of the table of beginnings and ends, which are found by a checksum
    dropout: float = Field(0.1, ge=0, lt=1)  # of whole entries in training
    lookahead_words: int = Field(4, ge=0)  # words that are read before a word is decided
    width: int = Field(96, ge=1)  # of the layer between the core and the output layer
    recurrent: PunctuationCoreSettings = PunctuationCoreSettings()


class PunctuationTrainSettings(TextTrainSettings):
    """Training settings with other defaults."""

    epochs: int = Field(3, ge=1)
    learning_rate: float = Field(5e-3, gt=0)  # peak
    warmup_steps: int = Field(50, ge=0)
    patience: int = Field(0, ge=0)


class PunctuationSettings(Section):
    """Settings of a model that restores punctuation and case."""

    kind: Literal["punctuation"] = "punctuation"  # identifies the kind of model
    text: PunctuationTextSettings = PunctuationTextSettings()
    model: PunctuationNetworkSettings = PunctuationNetworkSettings()
    train: PunctuationTrainSettings = PunctuationTrainSettings()


class PunctuationData(TrainingData):
    train: Path  # written text, a passage of one or more sentences on each line
    dev: Path  # the same, to choose the best epoch


def describe(metadata: ModelMetadata) -> dict[str, str]:
    return {
        "kind": "punctuation model",
        "words": f"{len(metadata.extras['vocabulary'])}",
        "latency": f"{counted(metadata.settings.model.lookahead_words, 'word')} of look-ahead",
    }


def _graphs(_settings: PunctuationSettings, _extras: Mapping[str, Any]) -> Mapping[str, Signature]:
    inputs = {"tokens": ("int64", (None, None, FEATURES)), **LENGTHS, "last": ("bool", ())}
    log_probs = {"log_probs": ("float32", (None, None, len(LABELS))), "log_probs_lengths": ("int64", (None,))}
    return {"": Signature(inputs, log_probs)}


PUNCTUATION = ModelKind(
    name="punctuation",
    settings=PunctuationSettings,
    data=PunctuationData,
    build="recitative.punctuation.task:new_punctuation_model",
    task="recitative.punctuation.task:prepare",
    runner=lambda stage, settings, vocabulary: Punctuator(stage, vocabulary, settings.model.buckets),
    graphs=_graphs,
    describe=describe,
    extras={"vocabulary": VOCABULARY},
    int8="weights",
)


MARKS = ("", ",", ".", "?", "!")
SENTENCE_ENDS = (".", "?", "!")
LOWER, CAPITAL, UPPER = CASES = ("lower", "capital", "upper")
LABELS = tuple((mark, case) for mark in MARKS for case in CASES)

_TO_SPACES = str.maketrans(dict.fromkeys(HYPHENS, " "))
FEATURES = 4


class LabeledWord(NamedTuple):
    """word:   as a recognizer writes it
    mark:   one of MARKS, after the word
    case:   one of CASES
    begins: whether it is the first word of a sentence, which always has a capital
    """

    word: str
    mark: str
    case: str
    begins: bool = False

    @property
    def text(self) -> str:
        """The word with its mark and case."""
        case = CAPITAL if self.begins and self.case == LOWER else self.case
        written = {LOWER: self.word, CAPITAL: self.word[:1].upper() + self.word[1:], UPPER: self.word.upper()}[case]
        return written + self.mark


def labeled(words: Sequence[str], labels: Sequence[tuple[str, str]], begins: bool = True) -> list[LabeledWord]:
    """Words with these marks and cases. begins: whether the first begins a sentence."""
    starts = [begins, *(mark in SENTENCE_ENDS for mark, _ in labels)]
    return [LabeledWord(word, *label, start) for word, label, start in zip(words, labels, starts, strict=False)]


def read_lines(path: Path) -> list[str]:
    """The passages of a text file, one a line. Raises DataError for a file without words."""
    lines = [line for line in read_text(path, "written text").splitlines() if line.strip()]
    if not lines:
        raise DataError(str(path), "has no words", "written text, a passage on each line", "give another file")
    return lines


def read_written(text: str) -> list[LabeledWord]:
    """The labeled words of written text. Other signs than MARKS are ignored; hyphens divide words."""
    words: list[str] = []
    labels: list[tuple[str, str]] = []
    for token in text.translate(_TO_SPACES).split():
        word, mark, case = _read(token)
        if word:
            words.append(word)
            labels.append((mark, case))
        elif mark and labels and not labels[-1][0]:  # a mark after a space
            labels[-1] = (mark, labels[-1][1])
    return labeled(words, labels)


@cache
def _read(token: str) -> tuple[str, str, str]:
    """Word ('' if there are only signs), mark and case of a text without spaces."""
    word = normalize(token).replace(" ", "")
    letters = [sign for sign in token if sign.isalpha()]
    behind = token[token.rindex(letters[-1]) :] if letters else token
    mark = next((sign for sign in reversed(behind) if sign in MARKS), "")
    if len(letters) > 1 and all(sign.isupper() for sign in letters):
        return word, mark, UPPER
    return word, mark, CAPITAL if letters and letters[0].isupper() else LOWER


class Punctuator:
    """A loaded model. It is stateless."""

    def __init__(self, stage: Stage[Array], vocabulary: Vocabulary, buckets: int) -> None:
        """stage: features of words (N, T, FEATURES) -> ln P of LABELS (N, T, 15)."""
        self._stage, self._vocabulary, self._buckets = stage, vocabulary, buckets

    @property
    def lookahead(self) -> int:
        """The number of following words on which the mark and case of a word depend."""
        return self._stage.lookahead or 0

    def restore(self, words: Sequence[str], begins: bool = True) -> list[LabeledWord]:
        """Restore marks and case of consecutive words in lower case. begins: whether the first begins a sentence.

        The label of a word depends on all words before it and on ``lookahead`` words after it.
        """
        if not words:
            return []
        ids = word_features(words, self._vocabulary, self._buckets)
        x = Padded(ids[None], np.array([len(words)], np.int64))
        y, _ = self._stage.step(x, self._stage.initial_state(1), last=True)
        return labeled(words, best_labels(y.data[0]), begins)


def word_features(words: Sequence[str], vocabulary: Vocabulary, buckets: int) -> Ids:
    """The network's input for words: (T, FEATURES), each below ``len(vocabulary) + buckets``."""
    ids, unknown, first = vocabulary.table.ids, vocabulary.unknown, len(vocabulary)
    rows = []
    for word in words:
        parts = f"{word[:3]}-", f"-{word[-3:]}", f"-{word[-2:]}"
        hashed = (first + zlib.crc32(part.encode("utf-8")) % buckets for part in parts)
        rows.append((ids.get(f" {word}", unknown), *hashed))
    return np.array(rows, np.int64).reshape(-1, FEATURES)


def best_labels(log_probs: Array) -> list[tuple[str, str]]:
    """ln P of LABELS (T, 15) -> the most probable mark and, independently, the most probable case of each word."""
    probs = np.exp(log_probs).reshape(-1, len(MARKS), len(CASES))
    marks, cases = probs.sum(2).argmax(1), probs.sum(1).argmax(1)
    return [(MARKS[mark], CASES[case]) for mark, case in zip(marks.tolist(), cases.tolist(), strict=True)]


# Precision, recall and F1 of restored marks and capitals.

SCORED = {"comma": ",", "period": ".", "question": "?"}
CAPITAL = "capital"


@dataclass
class Score:
    """Counts of one mark in the written text, in the restored text, and in both."""

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


def score_passages(punctuator: Punctuator, passages: Iterable[Sequence[LabeledWord]]) -> Mapping[str, Score]:
    """Scores of marks, and of capitals at the starts of words, by name. Passages are independent."""
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
