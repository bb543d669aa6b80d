"""The n-grams of a text and how often they are there, order by order, in sorted arrays like those of ``lm.table``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from recitative.lm.model import BEGIN, END
from recitative.lm.table import Ints, vocabulary


@dataclass(frozen=True, eq=False)
class Counts:
    """All n-grams of one length, (G,) each, sorted by context and word."""

    context: Ints  # row of the first n - 1 words in the order below; 0 for unigrams
    word: Ints  # id of the last word
    suffix: Ints  # row of the last n - 1 words in the order below; 0 for unigrams
    raw: Ints  # how often it is in the text
    adjusted: Ints  # what Kneser-Ney takes for it: see ``count``


@dataclass(frozen=True, eq=False)
class Text:
    """A text as one row of ids, every sentence between ``<s>`` and ``</s>``."""

    words: tuple[str, ...]  # the vocabulary, marks first
    stream: Ints  # (T,)

    @classmethod
    def encode(cls, lines: Iterable[str], extra_words: Iterable[str] = ()) -> Text:
        """Sentences of words between blanks; the vocabulary is theirs and ``extra_words``.

        ``<unk>`` in a sentence is the unknown word, ``<s>`` and ``</s>`` may not be there (``lm.sentences``).
        """
        first_ids: dict[str, int] = {}  # in the order in which the words are met
        met: list[int] = []
        for line in lines:
            met.extend([first_ids.setdefault(word, len(first_ids)) for word in (BEGIN, *line.split(), END)])
        words = vocabulary(first_ids.keys() | set(extra_words))
        ids = {word: number for number, word in enumerate(words)}
        return cls(words, np.array([ids[word] for word in first_ids], np.int64)[np.array(met, np.int64)])


def count(text: Text, order: int) -> list[Counts]:
    """Counts of the lengths 1 to ``order``. Unigrams are the whole vocabulary, row i for word i.

    Adjusted counts are the raw ones in the highest order. Below, an n-gram's is the number of different words before
    it, but the raw one if it begins with ``<s>``, which nothing comes before. ``<s>`` itself, which nothing predicts,
    counts 0.
    """
    begin, end, size = text.words.index(BEGIN), text.words.index(END), len(text.words)
    zeros = np.zeros(size, np.int64)
    raw = np.bincount(text.stream[text.stream != begin], minlength=size)
    counts = [Counts(zeros, np.arange(size), zeros, raw, raw)]
    starts = np.arange(len(text.stream))  # of the n-grams of this length
    row_at = text.stream  # (T,) the row of the n-gram that starts there
    for n in range(2, order + 1):
        starts = starts[text.stream[starts + n - 2] != end]  # no n-gram goes on into the next sentence
        keys, first, rows, raw = np.unique(
            row_at[starts] * size + text.stream[starts + n - 1],
            return_index=True, return_inverse=True, return_counts=True,
        )  # fmt: skip
        suffix = row_at[starts[first] + 1]
        counts[-1] = _with_continuations(counts[-1], suffix)
        counts.append(Counts(keys // size, keys % size, suffix, raw, raw))
        row_at = np.full(len(text.stream), -1)
        row_at[starts] = rows
    return counts


def _with_continuations(counts: Counts, suffixes: Ints) -> Counts:
    """Counts adjusted by the n-grams one longer, whose suffixes' rows are given."""
    before = np.bincount(suffixes, minlength=len(counts.word))
    return Counts(counts.context, counts.word, counts.suffix, counts.raw, np.where(before > 0, before, counts.raw))
