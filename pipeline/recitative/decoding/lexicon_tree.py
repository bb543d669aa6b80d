"""A lexicon as a prefix tree in flat arrays, and what language says of its words, for many hypotheses at once.

Node 0 is the root. Nodes are numbered breadth first, so the 200,000 nodes of 60,000 words are built level by level with
a few NumPy calls each. A *move* is what a hypothesis may do at a node that a label has led it to: end one of the words
whose pronunciation ends here, or go on within a longer word.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain
from typing import Protocol

import numpy as np

from recitative.lm.ngram import NgramModel
from recitative.lm.query import LanguageModel
from recitative.stage import Array
from recitative.text.lexicon import Lexicon
from recitative.text.tokens import TokenTable

GOES_ON = -1  # in place of a word: the move within a longer one
LARGEST_TABLE = 1 << 23  # entries of a table of (node, label), 32 MB; above, children are found by bisection


class WordScores(Protocol):
    """A language model as the search asks it; states are an array of whatever suits the model.

    bounds: (words,) what no weighted ln P of the word is above
    """

    bounds: Array

    def start(self) -> Array:
        """The state (1,) after ``<s>``."""
        ...

    def step(self, states: Array, words: Array) -> tuple[Array, Array]:
        """States (N,), indices of words (N,) -> weighted ln P (N,), the next states (N,)."""
        ...

    def finish(self, states: Array) -> Array:
        """Weighted ln P(</s> | state) (N,)."""
        ...


class NoScores:
    """Without a language model."""

    def __init__(self, words: Sequence[str]) -> None:
        self.bounds = np.zeros(len(words))

    def start(self) -> Array:
        return np.zeros(1, np.int8)

    def step(self, states: Array, words: Array) -> tuple[Array, Array]:
        return np.zeros(len(words)), states

    def finish(self, states: Array) -> Array:
        return np.zeros(len(states))


class NgramScores:
    """An n-gram model: all states in a few look-ups."""

    def __init__(self, lm: NgramModel, words: Sequence[str], weight: float, unknown_score: float) -> None:
        self._lm, self._weight = lm, weight
        ids = lm.word_ids(tuple(words))
        self._ids = np.where(ids >= 0, ids, lm.unknown)
        self._unknown = np.where(ids >= 0, np.nan, weight * unknown_score)
        self.bounds = np.where(ids >= 0, weight * lm.bounds[self._ids], self._unknown)

    def start(self) -> Array:
        return np.array([self._lm.start()], np.int32)

    def step(self, states: Array, words: Array) -> tuple[Array, Array]:
        # Half of the questions of a frame are asked twice, and sorted ones are looked up faster.
        asked, which = np.unique(states.astype(np.int64) * len(self._ids) + words, return_inverse=True)
        states, words = np.divmod(asked, len(self._ids))
        log_probs, following = self._lm.step(states.astype(np.int32), self._ids[words])
        unknown = self._unknown[words]
        return np.where(np.isnan(unknown), self._weight * log_probs, unknown)[which], following[which]

    def finish(self, states: Array) -> Array:
        return self._weight * self._lm.finish_all(states)


class ObjectScores:
    """Any other language model: one question a word, states as objects."""

    def __init__(self, lm: LanguageModel, words: Sequence[str], weight: float, unknown_score: float) -> None:
        self._lm, self._weight, self._words = lm, weight, words
        self._unknown = [None if lm.knows(word) else weight * unknown_score for word in words]
        self.bounds = np.array([0.0 if unknown is None else unknown for unknown in self._unknown])

    def start(self) -> Array:
        return _objects([self._lm.start()])

    def step(self, states: Array, words: Array) -> tuple[Array, Array]:
        gains, following = np.zeros(len(words)), []
        for i, (state, word) in enumerate(zip(states.tolist(), words.tolist(), strict=True)):
            log_prob, after = self._lm.score(state, self._words[word])
            unknown = self._unknown[word]
            gains[i] = self._weight * log_prob if unknown is None else unknown
            following.append(after)
        return gains, _objects(following)

    def finish(self, states: Array) -> Array:
        return self._weight * np.array([self._lm.finish(state) for state in states.tolist()])


def word_scores(lm: LanguageModel | None, words: Sequence[str], weight: float, unknown_score: float) -> WordScores:
    if lm is None:
        return NoScores(words)
    kind = NgramScores if isinstance(lm, NgramModel) else ObjectScores
    return kind(lm, words, weight, unknown_score)  # type: ignore[arg-type]


class LexiconTree:
    """See the module.

    words:      by index
    after:      the node that a whole word leads to: the root, or a gap that waits for the space between words
    first_move: (nodes + 1,) where the moves of each node begin, and end
    moves:      the index of a word, or GOES_ON
    lookahead:  (nodes,) the best ``first_scores`` of any word at or below a node; 0 for the root
    """

    def __init__(self, lexicon: Lexicon, tokens: TokenTable) -> None:
        self.words = tuple(lexicon.entries)
        self.space = tokens.space
        self._labels = len(tokens)
        spelled = [symbols for ways in lexicon.entries.values() for symbols in ways]
        owner = np.repeat(np.arange(len(self.words)), [len(ways) for ways in lexicon.entries.values()])
        lengths = np.array([len(symbols) for symbols in spelled])
        labels = np.zeros((len(spelled), lengths.max(initial=0)), np.int32)
        labels[np.arange(labels.shape[1]) < lengths[:, None]] = [*map(tokens.ids.__getitem__, chain(*spelled))]

        ends = np.zeros(len(spelled), np.int64)  # the node at which each pronunciation ends
        keys, self._levels = [], [(0, 1)]
        for depth in range(labels.shape[1]):
            longer = np.flatnonzero(lengths > depth)
            made, which = np.unique(ends[longer] * self._labels + labels[longer, depth], return_inverse=True)
            begin = self._levels[-1][1]
            ends[longer] = begin + which
            keys.append(made)
            self._levels.append((begin, begin + len(made)))
        self._keys = np.concatenate([*keys, np.zeros(0, np.int64)])
        self.nodes = 1 + len(self._keys)
        self._parents = np.append(-1, self._keys // self._labels)
        self._add_moves(ends, owner)
        self._add_space()

    def _add_moves(self, ends: Array, owner: Array) -> None:
        has_children = np.zeros(self.nodes, np.bool_)
        has_children[self._parents[1:]] = True
        has_children[0] = True
        going_on = np.flatnonzero(has_children)
        nodes, moves = np.append(ends, going_on), np.append(owner, np.full(len(going_on), GOES_ON))
        self.moves = moves[np.argsort(nodes, kind="stable")].astype(np.int32)
        self.first_move = np.append(0, np.cumsum(np.bincount(nodes, minlength=self.nodes + 1)))

    def _add_space(self) -> None:
        """Edges of the space, from the gap after a word and from the root, and the table of all edges."""
        self.after, children = 0, np.arange(1, self.nodes)
        if self.space is not None:
            self.after = self.nodes
            self._keys = np.append(self._keys, [self.space, self.after * self._labels + self.space])
            children = np.append(children, [0, 0])
        order = np.argsort(self._keys)
        self._keys, self._children = self._keys[order], children[order].astype(np.int32)
        self._table: Array | None = None
        if (size := (self.nodes + 1) * self._labels) <= LARGEST_TABLE:
            self._table = np.full(size, -1, np.int32)
            self._table[self._keys] = self._children

    def child(self, nodes: Array, labels: Array) -> Array:
        """Where labels (N,) lead from nodes (N,); -1 where no word goes on so."""
        wanted = nodes * self._labels + labels
        if self._table is not None:
            return np.asarray(self._table[wanted])
        places = np.minimum(self._keys.searchsorted(wanted), len(self._keys) - 1)
        return np.where(self._keys[places] == wanted, self._children[places], -1)

    def look_ahead(self, first_scores: Array) -> Array:
        """(nodes + 1,) the best score (words,) of any word at or below a node; 0 for the root, and for the gap."""
        best = np.full(self.nodes + 1, -math.inf)
        node_of_move = np.repeat(np.arange(self.nodes + 1), np.diff(self.first_move))
        words = self.moves >= 0
        np.maximum.at(best, node_of_move[words], first_scores[self.moves[words]])
        for begin, end in self._levels[:0:-1]:
            np.maximum.at(best, self._parents[begin:end], best[begin:end])
        best[0] = best[-1] = 0.0
        return best


def _objects(values: Sequence[object]) -> Array:
    array = np.empty(len(values), object)
    for i, value in enumerate(values):  # all at once, tuples would become a matrix
        array[i] = value
    return array
