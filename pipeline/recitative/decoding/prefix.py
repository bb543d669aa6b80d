"""The search space of a beam search: prefixes, and how each grows by one label.

A prefix is a label sequence with the words it spells. It grows in a ``SearchSpace``, which combines the lexicon, the
language model and the hot words to a score, in natural logarithms:

    extra = lm_weight * ln P(words) + word_bonus * len(words) + lookahead + hot words

where the look-ahead is the score of the most probable word that can still follow, at the start of a sentence, so that
rare words are dropped early, not at their last letter (language model look-ahead, Ortmanns et al. 1996).

Prefixes are immutable and created once: growing a prefix by the same label again returns the same objects, so that
equal hypotheses are merged.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import NamedTuple

from recitative.decoding.hotwords import HotWords
from recitative.lm.query import LanguageModel
from recitative.text.lexicon import Lexicon
from recitative.text.tokens import TokenTable


class Spelled(NamedTuple):
    """The words of a prefix as a linked list, last one first, that prefixes share."""

    before: Spelled | None
    word: str
    begin: int  # [begin, end): its labels within the prefix
    end: int


class Prefix:
    """A label sequence and its words; ``extra`` is its score without the acoustic part."""

    __slots__ = ("bias", "children", "context", "extra", "label", "length", "parent", "spot", "words")

    def __init__(
        self,
        parent: Prefix | None,
        label: int,
        spot: Spot,
        words: Spelled | None,
        context: Hashable,
        bias: int,
        extra: float,
    ) -> None:
        self.parent = parent
        self.label = label
        self.length: int = parent.length + 1 if parent else 0
        self.spot = spot
        self.words = words
        self.context = context
        self.bias = bias
        self.extra = extra
        self.children: dict[int, tuple[tuple[Prefix, float], ...]] = {}

    def labels(self) -> list[int]:
        """All labels, in order."""
        found: list[int] = []
        prefix: Prefix = self
        while prefix.parent:
            found.append(prefix.label)
            prefix = prefix.parent
        return found[::-1]


@dataclass(eq=False)
class LexiconNode:
    """A node of the lexicon's prefix tree: the words that end here, and the child of each label.

    gain: the look-ahead minus that of the parent; factor: e^gain
    """

    children: dict[int, LexiconNode] = field(default_factory=dict)
    words: tuple[str, ...] = ()
    lookahead: float = 0.0
    gain: float = 0.0
    factor: float = 1.0


Spot = LexiconNode | str  # the position within a word: a node of the lexicon's tree, or the letters of the word so far

_GAP = LexiconNode()  # after a word of a lexicon, before the space


class SearchSpace:
    """The possible prefixes for a token table, and their scores.

    lexicon:   only its words are allowed; None: any characters or pieces (or words, or phones, of such a table)
    lm:        scores words, weighted by ``lm_weight``; unknown words score ``unknown_score``
    hot_words: favored phrases; their words must be in the lexicon, see ``HotWords.lexicon``
    """

    def __init__(
        self,
        tokens: TokenTable,
        *,
        lexicon: Lexicon | None = None,
        lm: LanguageModel | None = None,
        hot_words: HotWords | None = None,
        lm_weight: float = 0.0,
        word_bonus: float = 0.0,
        unknown_score: float = -10.0,
    ) -> None:
        self.tokens = tokens
        self.lm = lm
        self.lm_weight = lm_weight
        self.word_bonus = word_bonus
        self.unknown_score = unknown_score
        self._bias = hot_words.automaton if hot_words else None
        self._space = tokens.space
        self._begins_word = [symbol.startswith(" ") for symbol in tokens.symbols]
        if lexicon is None and tokens.unit == "word":
            lexicon = Lexicon.of_spelling([symbol[1:] for symbol in tokens.symbols[1:]], tokens)
        if lexicon is None and tokens.unit == "phone":
            lexicon = Lexicon({symbol: ((symbol,),) for symbol in tokens.symbols[1:]})
        self._root: LexiconNode | None = None
        if lexicon is not None:
            self._root = self._tree(lexicon)
        self.largest_gain = max(word_bonus, 0.0) + (self._bias.largest_gain if self._bias else 0.0)

    def start(self) -> Prefix:
        """The empty prefix."""
        context = self.lm.start() if self.lm else None
        bias = self._bias.start if self._bias else 0
        extra = self._root.lookahead if self._root else 0.0
        return Prefix(None, 0, self._root or "", None, context, bias, extra)

    def grow(self, prefix: Prefix, label: int) -> tuple[tuple[Prefix, float], ...]:
        """The prefixes that extend ``prefix`` by a label, each with the factor e^(gain in extra).

        None if no word continues with it, several if a word may or may not end here.
        """
        found = prefix.children.get(label)
        if found is None:
            found = prefix.children[label] = self._within_word(prefix, label) or self._grown(prefix, label)
        return found

    def _within_word(self, prefix: Prefix, label: int) -> tuple[tuple[Prefix, float], ...]:
        """A fast ``_grown`` for the common case within a word of the lexicon; otherwise empty."""
        spot = prefix.spot
        if self._bias or isinstance(spot, str):
            return ()
        node = spot.children.get(label)
        if node is None or node.words:
            return ()
        extra = prefix.extra + node.gain
        child = Prefix(prefix, label, node, prefix.words, prefix.context, 0, extra)
        return ((child, node.factor),)

    def _grown(self, prefix: Prefix, label: int) -> tuple[tuple[Prefix, float], ...]:
        found: list[tuple[Prefix, float]] = []
        for spot, word in self._moves(prefix, label):
            child = self._child(prefix, label, spot, word)
            if child:
                found.append((child, math.exp(child.extra - prefix.extra)))
        return tuple(found)

    def finish(self, prefix: Prefix) -> tuple[Spelled | None, float] | None:
        """The words and ``extra`` if the recording ends here; None within a word, or a sentence of a grammar."""
        spot = prefix.spot
        words, context, extra, bias = prefix.words, prefix.context, prefix.extra - _lookahead(spot), prefix.bias
        if isinstance(spot, str) and spot:
            gain, context, bias = self._complete(context, bias, spot)
            words, extra = self.with_open_word(prefix), extra + gain
        elif isinstance(spot, LexiconNode) and spot is not self._root and spot is not _GAP:
            return None
        if self.lm:
            extra += self.lm_weight * self.lm.finish(context)
        if self._bias:
            extra += self._bias.finish(bias)
        return (words, extra) if extra > -math.inf else None

    def with_open_word(self, prefix: Prefix) -> Spelled | None:
        """The words of a prefix, including an incomplete one that is spelled without a lexicon."""
        spot = prefix.spot
        if not isinstance(spot, str) or not spot:
            return prefix.words
        begin = prefix
        while begin.parent and not self._begins_word[begin.label]:
            begin = begin.parent
        holds_letters = begin.parent is not None and self.tokens.symbols[begin.label] != " "
        return Spelled(prefix.words, spot, begin.length - holds_letters, prefix.length)

    def _moves(self, prefix: Prefix, label: int) -> list[tuple[Spot, str]]:
        """The results of a label: the new position, and the word that it completes or ''."""
        spot = prefix.spot
        if isinstance(spot, str):
            symbol = self.tokens.symbols[label]
            return [(symbol[1:], spot)] if self._begins_word[label] else [(spot + symbol, "")]
        root = self._root
        assert root is not None, "a spot in the lexicon has a root"
        if label == self._space:
            begins = spot is root and prefix.label != self._space
            return [(root, "")] if spot is _GAP or begins else []
        node = spot.children.get(label)
        if node is None:
            return []
        after = _GAP if self._space is not None else root
        moves: list[tuple[Spot, str]] = [(after, word) for word in node.words]
        return [*moves, (node, "")] if node.children else moves

    def _child(self, prefix: Prefix, label: int, spot: Spot, word: str) -> Prefix | None:
        """None if the language model, such as a grammar, forbids it."""
        words, context, bias = prefix.words, prefix.context, prefix.bias
        extra = prefix.extra - _lookahead(prefix.spot) + _lookahead(spot)
        is_open = isinstance(prefix.spot, str)
        if word and is_open:  # without a lexicon, a word ends where another begins
            gain, context, bias = self._complete(context, bias, word)
            extra += gain
            words = self.with_open_word(prefix)
        if self._bias and label != self._space:
            gain, bias = self._bias.step(bias, label)
            extra += gain
        if word and not is_open:  # a word of the lexicon ends with its last label
            gain, context, bias = self._complete(context, bias, word)
            extra += gain
            words = Spelled(words, word, self._word_begin(prefix), prefix.length + 1)
        return Prefix(prefix, label, spot, words, context, bias, extra) if extra > -math.inf else None

    def _word_begin(self, prefix: Prefix) -> int:
        """The index of the first label of the current word of the lexicon."""
        begin = prefix
        while begin.parent and begin.spot is not self._root:
            begin = begin.parent
        return begin.length

    def _complete(self, context: Hashable, bias: int, word: str) -> tuple[float, Hashable, int]:
        """The score of a word, and the states after it."""
        gain = self.word_bonus
        if self.lm:
            log_prob, context = self.lm.score(context, word)
            gain += self.lm_weight * (log_prob if self.lm.knows(word) else self.unknown_score)
        if self._bias:
            more, bias = self._bias.end_word(bias)
            gain += more
        return gain, context, bias

    def _tree(self, lexicon: Lexicon) -> LexiconNode:
        root = LexiconNode()
        for word in lexicon.entries:
            for labels in lexicon.pronunciations(word, self.tokens):
                node = root
                for label in labels:
                    node = node.children.setdefault(label, LexiconNode())
                node.words = (*node.words, word)
        if self.lm and self.lm_weight:
            self._look_ahead(root, self.lm.start())
        return root

    def _look_ahead(self, root: LexiconNode, context: Hashable) -> None:
        """Set the best score of any word at or below each node, from the leaves up; 0 at the root."""
        order = [root]
        for node in order:
            order.extend(node.children.values())
        for node in reversed(order[1:]):
            below = [child.lookahead for child in node.children.values()]
            node.lookahead = max([self._first_score(context, word) for word in node.words] + below)
        for node in order:
            for child in node.children.values():
                child.gain = child.lookahead - node.lookahead
                child.factor = math.exp(child.gain)

    def _first_score(self, context: Hashable, word: str) -> float:
        assert self.lm is not None
        if not self.lm.knows(word):
            return self.lm_weight * self.unknown_score
        score = self.lm.score(context, word)[0]
        return self.lm_weight * score if score > -math.inf else 0.0  # a grammar may allow it later


def spelled_words(words: Spelled | None) -> list[Spelled]:
    """The words in order of speech."""
    found: list[Spelled] = []
    while words:
        found.append(words)
        words = words.before
    return found[::-1]


def _lookahead(spot: Spot) -> float:
    return 0.0 if isinstance(spot, str) else spot.lookahead
