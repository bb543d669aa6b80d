"""Restoring punctuation and case to the words of a recognizer. NumPy only.

A word is read as the sum of four vectors: its own, or that of all rare words, and those of its beginning and ends.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from recitative.punctuation.labels import CASES, MARKS, LabelledWord, labelled
from recitative.stage import Array, Ids, Padded, Stage
from recitative.text.vocabulary import Vocabulary

FEATURES = 4


class Punctuator:
    """A loaded model. It keeps nothing of what it read."""

    def __init__(self, stage: Stage[Array], vocabulary: Vocabulary, buckets: int) -> None:
        """stage: features of words (N, T, FEATURES) -> ln P of LABELS (N, T, 15)."""
        self._stage, self._vocabulary, self._buckets = stage, vocabulary, buckets

    @property
    def lookahead(self) -> int:
        """The words behind a word that its mark and case depend on."""
        return self._stage.lookahead or 0

    def restore(self, words: Sequence[str], begins: bool = True) -> list[LabelledWord]:
        """Marks and case of consecutive words, in lower case. begins: whether the first begins a sentence.

        Those of a word depend on all words before it and on ``lookahead`` behind it.
        """
        if not words:
            return []
        ids = word_features(words, self._vocabulary, self._buckets)
        x = Padded(ids[None], np.array([len(words)], np.int64))
        y, _ = self._stage.step(x, self._stage.initial_state(1), last=True)
        return labelled(words, best_labels(y.data[0]), begins)


def word_features(words: Sequence[str], vocabulary: Vocabulary, buckets: int) -> Ids:
    """What the network reads of words: (T, FEATURES), each below ``len(vocabulary) + buckets``."""
    ids, unknown, first = vocabulary.table.ids, vocabulary.unknown, len(vocabulary)
    rows = [
        (ids.get(f" {word}", unknown), *(first + zlib.crc32(part.encode("utf-8")) % buckets for part in _parts(word)))
        for word in words
    ]
    return np.array(rows, np.int64).reshape(-1, FEATURES)


def _parts(word: str) -> tuple[str, str, str]:
    return f"{word[:3]}-", f"-{word[-3:]}", f"-{word[-2:]}"


def best_labels(log_probs: Array) -> list[tuple[str, str]]:
    """ln P of LABELS (T, 15) -> the most probable mark and the most probable case of each word, each by itself."""
    probs = np.exp(log_probs).reshape(-1, len(MARKS), len(CASES))
    marks, cases = probs.sum(2).argmax(1), probs.sum(1).argmax(1)
    return [(MARKS[mark], CASES[case]) for mark, case in zip(marks.tolist(), cases.tolist(), strict=True)]
