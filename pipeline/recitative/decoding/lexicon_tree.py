"""The words that a beam search may write: those of a lexicon, as a prefix tree in flat arrays, or any that the tokens
spell; and the scores that a language model gives them. All methods work on many hypotheses at once.

A hypothesis is at a *node*, which says how much of a word it has spelled. With each label it *moves* to other nodes,
and a word may end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

from recitative.decoding.hypotheses import SpelledWord
from recitative.lm.arpa import LanguageModel
from recitative.lm.ngram import NgramModel
from recitative.stage import Array, Mask
from recitative.text.tokens import Lexicon, TokenTable

GOES_ON = -1  # in place of a word of a lexicon: the word goes on
LARGEST_TABLE = 1 << 23  # entries, 42 MB, of a table of nodes and of eight labels each; above, bisection finds children
_COUNT = np.array([bin(byte).count("1") for byte in range(256)], np.uint8)


class Moves(NamedTuple):
    """The results (M,) of pairs of a hypothesis and a label (N,); a pair may have none, or several."""

    pair: Array  # the index of the pair
    node: Array
    word: Array
    ends: Mask  # whether a word ends


class OpenVocabulary:
    """Any words that the tokens spell. A node is the word so far, '' where none has begun; a word ends where another
    begins: with a space, or with a piece that has one in front."""

    node_type: type = object
    root = ""  # the node of an empty hypothesis
    ends_with_label = False  # whether the label with which a word ends is the word's own last one

    def __init__(self, tokens: TokenTable) -> None:
        self.space = tokens.space
        self._begins = np.array([symbol.startswith(" ") for symbol in tokens.symbols])
        self._letters = _objects([symbol.removeprefix(" ") for symbol in tokens.symbols])

    def moves(self, nodes: Array, last_labels: Array, labels: Array) -> Moves:
        """The moves of hypotheses at nodes (N,), whose last labels are given, by one label each (N,)."""
        begins, letters = self._begins[labels], self._letters[labels]
        words = np.where(begins, nodes, "")
        return Moves(np.arange(len(labels)), np.where(begins, letters, nodes + letters), words, words.astype(np.bool_))

    def is_whole(self, nodes: Array) -> Mask:
        """True where a hypothesis at a node (N,) may end."""
        return np.ones(len(nodes), np.bool_)

    def open_words(self, nodes: Array) -> Array:
        """The words (N,) object, or '', that end if the hypotheses at these nodes end."""
        return nodes

    def word_keys(self, words: Array) -> Array:
        """Numbers (N,) uint64 that differ between the words that one label may end."""
        return np.zeros(len(words), np.uint64)

    def texts(self, words: Array) -> Sequence[str]:
        """Words as text."""
        found: list[str] = words.tolist()
        return found

    def spelled(self, labels: Sequence[int], words: Sequence[int], frames: Sequence[int]) -> tuple[SpelledWord, ...]:
        """The words of a hypothesis, from its labels, the word that each ended, and the frame in which each began."""
        found, begin, text = [], 0, ""
        for i, label in enumerate([*labels, None]):
            if label is None or self._begins[label]:
                if text:
                    found.append(SpelledWord(text, begin, i, frames[begin], frames[i - 1]))
                text = "" if label is None else self._letters[label]
                begin = i if text else i + 1
            else:
                text += self._letters[label]
        return tuple(found)


class LexiconTree:
    """The words of a lexicon. Node 0 is the root of their prefix tree; a word ends with its last label.

    Nodes are numbered breadth first, so the 200,000 nodes of 60,000 words are built level by level, with a few NumPy
    calls each.

    words: by index
    after: the node after a whole word: the root, or a gap that waits for the space between words
    """

    node_type: type = np.int32
    root = 0
    ends_with_label = True

    def __init__(self, lexicon: Lexicon, tokens: TokenTable) -> None:
        self.words = tuple(lexicon.entries)
        self.space = tokens.space
        self._labels = len(tokens)
        spelled = [symbols for ways in lexicon.entries.values() for symbols in ways]
        owner = np.repeat(np.arange(len(self.words)), [len(ways) for ways in lexicon.entries.values()])
        lengths = np.array([len(symbols) for symbols in spelled], np.int64)
        labels = np.fromiter(map(tokens.ids.__getitem__, chain.from_iterable(spelled)), np.int32, lengths.sum())
        begins = np.cumsum(lengths) - lengths

        ends = np.zeros(len(spelled), np.int64)  # the node at which each pronunciation ends
        keys, self._levels = [], [(0, 1)]
        for depth in range(lengths.max(initial=0)):
            longer = np.flatnonzero(lengths > depth)
            reached = ends[longer] * self._labels + labels[begins[longer] + depth]
            made, which = np.unique(reached, return_inverse=True)
            begin = self._levels[-1][1]
            ends[longer] = begin + which
            keys.append(made)
            self._levels.append((begin, begin + len(made)))
        self._keys = np.concatenate([*keys, np.zeros(0, np.int64)])
        self.nodes = 1 + len(self._keys)
        self._parents = np.append(-1, self._keys // self._labels)
        self._add_moves(ends, owner)
        self._add_table()

    def _add_moves(self, ends: Array, owner: Array) -> None:
        has_children = np.zeros(self.nodes, np.bool_)
        has_children[self._parents[1:]] = True
        has_children[0] = True
        going_on = np.flatnonzero(has_children)
        nodes, moves = np.append(ends, going_on), np.append(owner, np.full(len(going_on), GOES_ON))
        self._moves = moves[np.argsort(nodes, kind="stable")].astype(np.int32)
        self._first_move = np.append(0, np.cumsum(np.bincount(nodes, minlength=self.nodes + 1)))

    def _add_table(self) -> None:
        """For each node and each eight labels, a byte with a bit for each label that leads to a child, and the first of
        these children; the children of a node are numbered by label."""
        self.after = 0 if self.space is None else self.nodes
        self._table: tuple[Array, Array] | None = None
        self._bytes = -(-self._labels // 8)
        if (self.nodes + 1) * self._bytes > LARGEST_TABLE:
            return
        slots = self._parents[1:] * self._bytes + self._keys % self._labels // 8
        bits = np.zeros((self.nodes + 1) * self._bytes, np.uint8)
        np.bitwise_or.at(bits, slots, (1 << self._keys % self._labels % 8).astype(np.uint8))
        first = (1 + np.cumsum(_COUNT[bits]) - _COUNT[bits]).astype(np.int32)
        self._table = bits, first

    def moves(self, nodes: Array, last_labels: Array, labels: Array) -> Moves:
        children = self.child(nodes, labels)
        if self.space is not None:  # one space between words
            children[(labels == self.space) & (last_labels == self.space)] = -1
        pairs = (children >= 0).nonzero()[0]
        begin = self._first_move[children[pairs]]
        count = self._first_move[children[pairs] + 1] - begin
        pair = pairs.repeat(count)
        words = self._moves[np.arange(len(pair)) + (begin - np.cumsum(count) + count).repeat(count)]
        ends = words >= 0
        return Moves(pair, np.where(ends, self.after, children[pair]), words, ends)

    def is_whole(self, nodes: Array) -> Mask:
        return np.asarray((nodes == 0) | (nodes == self.after))

    def open_words(self, nodes: Array) -> Array:
        return np.full(len(nodes), "", object)

    def word_keys(self, words: Array) -> Array:
        return np.asarray((words + 2).astype(np.uint64))

    def texts(self, words: Array) -> Sequence[str]:
        return [self.words[word] for word in words.tolist()]

    def spelled(self, labels: Sequence[int], words: Sequence[int], frames: Sequence[int]) -> tuple[SpelledWord, ...]:
        found, begin = [], 0
        for i, word in enumerate(words):
            if word >= 0:
                found.append(SpelledWord(self.words[word], begin, i + 1, frames[begin], frames[i]))
            if word >= 0 or labels[i] == self.space:
                begin = i + 1
        return tuple(found)

    def child(self, nodes: Array, labels: Array) -> Array:
        """The nodes (N,) that labels lead to from nodes (N,); -1 where no word continues with the label."""
        if self._table is None:
            wanted = nodes * np.int64(self._labels) + labels
            places = np.minimum(self._keys.searchsorted(wanted), len(self._keys) - 1)
            children = np.where(self._keys[places] == wanted, places + 1, -1)
        else:
            bits, first = self._table
            slots, bit = nodes * self._bytes + (labels >> 3), 1 << (labels & 7)
            found = bits[slots]
            children = np.where(found & bit, first[slots] + _COUNT[found & (bit - 1)], -1)
        if self.space is not None:  # leads from the gap and from the root to the root
            children = np.where(labels == self.space, np.where(self.is_whole(nodes), 0, -1), children)
        return children

    def look_ahead(self, first_scores: Array) -> Array:
        """(nodes + 1,) the best score (words,) of any word at or below a node; 0 for the root, and for the gap."""
        best = np.full(self.nodes + 1, -math.inf)
        node_of_move = np.repeat(np.arange(self.nodes + 1), np.diff(self._first_move))
        words = self._moves >= 0
        np.maximum.at(best, node_of_move[words], first_scores[self._moves[words]])
        for begin, end in self._levels[:0:-1]:
            np.maximum.at(best, self._parents[begin:end], best[begin:end])
        best[0] = best[-1] = 0.0
        return best


SearchSpace = OpenVocabulary | LexiconTree


def new_search_space(lexicon: Lexicon | None, tokens: TokenTable) -> SearchSpace:
    """The words of a lexicon; without one, those of a token table of words or phones, else any words."""
    if not lexicon and tokens.unit == "word":
        lexicon = Lexicon.of_spelling([symbol[1:] for symbol in tokens.symbols[1:]], tokens)
    if not lexicon and tokens.unit == "phone":
        lexicon = Lexicon({symbol: ((symbol,),) for symbol in tokens.symbols[1:]})
    return LexiconTree(lexicon, tokens) if lexicon else OpenVocabulary(tokens)


class WordScores:
    """The scores of a language model for many hypotheses at once; of this class, those without one.

    States are an array, of a type that suits the model.
    """

    def start(self) -> Array:
        """The state (1,) after ``<s>``."""
        return np.zeros(1, np.int8)

    def bound(self, words: Array) -> Array | float:
        """An upper bound of the weighted ln P of words (N,), whatever the state."""
        return 0.0

    def step(self, states: Array, words: Array) -> tuple[Array, Array]:
        """States (N,), words (N,) -> weighted ln P (N,), the next states (N,)."""
        return np.zeros(len(words)), states

    def finish(self, states: Array) -> Array:
        """Weighted ln P(</s> | state) (N,)."""
        return np.zeros(len(states))


class NgramScores(WordScores):
    """An n-gram model and the words of a lexicon: all states in a few look-ups."""

    def __init__(self, lm: NgramModel, words: tuple[str, ...], weight: float, unknown_score: float) -> None:
        self._lm, self._weight = lm, weight
        ids = lm.word_ids(words)
        self._ids = np.where(ids >= 0, ids, lm.unknown)
        self._unknown = np.where(ids >= 0, np.nan, weight * unknown_score)
        self._bounds = np.where(ids >= 0, weight * lm.bounds[self._ids], self._unknown)

    def start(self) -> Array:
        return np.array([self._lm.start()], np.int32)

    def bound(self, words: Array) -> Array:
        return np.asarray(self._bounds[words])

    def step(self, states: Array, words: Array) -> tuple[Array, Array]:
        # Half of the queries of a frame are duplicates, and sorted ones are looked up faster.
        queries, which = np.unique(states.astype(np.int64) * len(self._ids) + words, return_inverse=True)
        states, words = np.divmod(queries, len(self._ids))
        log_probs, following = self._lm.step(states.astype(np.int32), self._ids[words])
        unknown = self._unknown[words]
        return np.where(np.isnan(unknown), self._weight * log_probs, unknown)[which], following[which]

    def finish(self, states: Array) -> Array:
        return self._weight * self._lm.finish_all(states)


class ObjectScores(WordScores):
    """Any language model and any words: one query a word, states as objects."""

    def __init__(
        self, lm: LanguageModel, texts: Callable[[Array], Sequence[str]], weight: float, unknown_score: float
    ) -> None:
        self._lm, self._texts, self._weight, self._unknown = lm, texts, weight, weight * unknown_score

    def start(self) -> Array:
        return _objects([self._lm.start()])

    def bound(self, words: Array) -> float:
        return max(0.0, self._unknown)

    def step(self, states: Array, words: Array) -> tuple[Array, Array]:
        gains, following = np.zeros(len(words)), []
        for i, (state, word) in enumerate(zip(states.tolist(), self._texts(words), strict=True)):
            log_prob, after = self._lm.score(state, word)
            gains[i] = self._weight * log_prob if self._lm.knows(word) else self._unknown
            following.append(after)
        return gains, _objects(following)

    def finish(self, states: Array) -> Array:
        return self._weight * np.array([self._lm.finish(state) for state in states.tolist()])


def word_scores(lm: LanguageModel | None, space: SearchSpace, weight: float, unknown_score: float) -> WordScores:
    """Weighted scores of the words of a search space; a word that the model does not know has ``unknown_score``."""
    if lm is None:
        return WordScores()
    if isinstance(lm, NgramModel) and isinstance(space, LexiconTree):
        return NgramScores(lm, space.words, weight, unknown_score)
    return ObjectScores(lm, space.texts, weight, unknown_score)


def _objects(values: Sequence[object]) -> Array:
    array = np.empty(len(values), object)
    for i, value in enumerate(values):  # all at once, tuples would become a matrix
        array[i] = value
    return array
