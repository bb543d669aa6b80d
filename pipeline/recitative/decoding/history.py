"""What the hypotheses of a beam in arrays were made of: labels, words and frames, in records that they share.

A row of the beam has the number of its record, and that of the record at which its last word ended. A record knows
those before it, so that a stream's history is a tree. It grows by one ``Born`` a frame; nothing in it ever changes.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import NamedTuple

import numpy as np

from recitative.stage import Array


class Born(NamedTuple):
    """The rows that a frame added to the beam: of each its parent's record, its last label, and the word it ended.

    said: the record at which the last word before that label ended; 0 = none did
    """

    before: Born | None
    first: int  # the record of the first of them
    frame: int
    parent: Array
    label: Array
    word: Array
    said: Array


Step = tuple[int, int, int]  # a label, the word that it ended or a negative number, the frame


def path_of(born: Born, record: int) -> list[Step]:
    """What a row was made of, by its record."""
    steps = []
    while record > 0:
        while record < born.first:
            assert born.before
            born = born.before
        at = record - born.first
        steps.append((int(born.label[at]), int(born.word[at]), born.frame))
        record = int(born.parent[at])
    return steps[::-1]


def paths_of(born: Born) -> Callable[[int], list[Step]]:
    """The same for many rows: all records are read at once."""
    chain: list[Born] = []
    here: Born | None = born
    while here:
        chain.append(here)
        here = here.before
    chain.reverse()
    columns = (np.concatenate([getattr(one, name) for one in chain]) for name in ("parent", "label", "word"))
    parent, label, word = (column.tolist() for column in columns)
    frame = np.repeat([one.frame for one in chain], [len(one.parent) for one in chain]).tolist()

    def path(record: int) -> list[Step]:
        steps = []
        while record > 0:
            steps.append((label[record], word[record], frame[record]))
            record = parent[record]
        return steps[::-1]

    return path


def agreed_words(born: Born, said: Array) -> list[int]:
    """How many words, from the first on, each row has in common with the first row.

    said: (R,) the records at which their last words ended
    """
    ends, which = np.unique(said, return_inverse=True)
    words: dict[int, tuple[int, int]] = {}  # of each record at which one ended, and the record of the word before
    waiting = [-end for end in ends.tolist() if end]
    heapify(waiting)
    while waiting:
        record = -heappop(waiting)
        if record in words:
            continue
        while record < born.first:
            assert born.before
            born = born.before
        word, before = int(born.word[record - born.first]), int(born.said[record - born.first])
        words[record] = word, before
        if before:
            heappush(waiting, -before)
    best, here = [], int(said[0])
    while here:
        word, here = words[here]
        best.append(word)
    best.reverse()
    length, common = {0: 0}, {0: 0}
    for record in sorted(words):
        word, before = words[record]
        n = length[before]
        length[record] = n + 1
        common[record] = common[before] + (common[before] == n and best[n : n + 1] == [word])
    return [common[end] for end in ends[which].tolist()]
