"""Backoff n-gram models: the table of n-grams, and perplexity; ``lm.ngram`` is what a decoder queries.

    P(w | h) = p(h w) if the n-gram is listed, else b(h) P(w | h without its first word)

with b(h) = 1 where h is not listed (Katz, IEEE Trans. ASSP 35(3), 1987, in the form of ARPA files).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt

from recitative.stage import Mask

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

UNKNOWN = "<unk>"  # any word that is not in the vocabulary
BEGIN = "<s>"  # start of a sentence; never predicted
END = "</s>"
MARKS = (UNKNOWN, BEGIN, END)

LN_10 = float(np.log(10.0))
NEVER = -99 * LN_10  # ln P(<s>), which is never needed: SRILM's log10 of zero
_NO_KEY = np.iinfo(np.int64).max
_NO_MASS = 1e-12  # probability below which a sum differs from one by rounding only

State = Hashable
"""What a model remembers of the words so far; equal states have equal futures."""


class LanguageModel(Protocol):
    """P(words) as a state machine, n-gram or recurrent; natural logarithms."""

    def start(self) -> State:
        """The state after ``<s>``."""
        ...

    def score(self, state: State, word: str) -> tuple[float, State]:
        """ln P(word | state), and the next state. Marks (``<s>``, ``</s>``, ``<unk>``) count as unknown words."""
        ...

    def finish(self, state: State) -> float:
        """ln P(</s> | state)."""
        ...

    def knows(self, word: str) -> bool:
        """False: ``score`` returns the probability of ``<unk>``, or a floor that the model documents."""
        ...


@dataclass(frozen=True, eq=False)
class Order:
    """All n-grams of one length, (G,) each."""

    context: Ints  # row of the first n - 1 words in the order below; 0 for unigrams
    word: Ints  # id of the last word
    log_prob: Floats  # ln P(word | context)
    log_backoff: Floats  # ln b(n-gram); 0 in the highest order

    def __len__(self) -> int:
        return len(self.word)


@dataclass(frozen=True, eq=False)
class NgramTable:
    """The n-grams of a model as sorted arrays; estimation, pruning, mixing and ARPA files use this form.

    ``words[i]`` is the word with id i, marks included; ``orders[n - 1]`` holds the n-grams of length n. An n-gram
    refers to its context by the context's row in the order below, so the number ``context * V + word`` identifies it;
    rows are sorted by that number and found by bisection. Every word is a unigram, in row i, and the context of every
    listed n-gram is listed too.
    """

    words: tuple[str, ...]
    orders: tuple[Order, ...]

    @cached_property
    def ids(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.words)}

    @cached_property
    def grams(self) -> tuple[Ints, ...]:
        """For each order, the word ids (G, n)."""
        found = [self.orders[0].word[:, None]]
        for order in self.orders[1:]:
            found.append(np.column_stack([found[-1][order.context], order.word]))
        return tuple(found)

    @cached_property
    def _keys(self) -> tuple[Ints, ...]:
        """Sorted, with a sentinel at the end, so that the place where a search ends is always valid."""
        return tuple(np.append(order.context * len(self.words) + order.word, _NO_KEY) for order in self.orders)

    def find(self, grams: Ints) -> Ints:
        """Ids (N, n) -> rows (N,), -1 for n-grams that are not listed."""
        rows = grams[:, 0]
        for column, keys in zip(grams.T[1:], self._keys[1:], strict=False):
            wanted = np.where(rows >= 0, rows * len(self.words) + column, -1)
            places = np.searchsorted(keys, wanted)
            rows = np.where(keys[places] == wanted, places, -1)
        return rows

    def log_probs(self, grams: Ints) -> Floats:
        """Ids (N, n) -> ln P(last word | those before it) (N,); n is at most the order of the model."""
        n = grams.shape[1]
        rows = self.find(grams)
        result = np.append(self.orders[n - 1].log_prob, 0.0)[rows]  # row -1 is the appended one: not listed
        missing = np.flatnonzero(rows < 0)
        if len(missing):
            contexts = self.find(grams[missing, :-1])
            backoffs = np.append(self.orders[n - 2].log_backoff, 0.0)[contexts]
            result[missing] = backoffs + self.log_probs(grams[missing, 1:])
        return result

    def select(self, keeps: Sequence[Mask]) -> NgramTable:
        """The rows where ``keeps``, a mask (G,) for each order, is true; n-grams whose context is removed go too.

        Backoffs are not changed. Unigrams are all kept, whatever their mask says.
        """
        orders = [self.orders[0]]
        kept = np.ones(len(self.words), np.bool_)
        for order, keep in zip(self.orders[1:], keeps[1:], strict=True):
            new_rows = np.cumsum(kept) - 1
            kept = keep & kept[order.context]
            orders.append(
                Order(new_rows[order.context[kept]], order.word[kept], order.log_prob[kept], order.log_backoff[kept])
            )
        return NgramTable(self.words, tuple(orders))

    def with_backoffs(self) -> NgramTable:
        """The same probabilities, with the backoffs that make the sum over every context one (``left_over``)."""
        table = NgramTable(self.words, self.orders[:1])
        for number, order in enumerate(self.orders[1:], start=1):
            table = NgramTable(self.words, (*table.orders, order))
            explicit, lower = table.left_over(number + 1)
            sound = (explicit > _NO_MASS) | (lower > _NO_MASS)  # otherwise every word is listed: nothing backs off
            ratio = np.maximum(explicit, _NO_MASS) / np.maximum(lower, _NO_MASS)
            below = replace(table.orders[-2], log_backoff=np.where(sound, np.log(ratio), 0.0))
            table = NgramTable(self.words, (*table.orders[:-2], below, order))
        highest = replace(table.orders[-1], log_backoff=np.zeros(len(table.orders[-1])))
        return NgramTable(self.words, (*table.orders[:-1], highest))

    def left_over(self, n: int) -> tuple[Floats, Floats]:
        """1 - sum of P(w | h) and 1 - sum of P(w | h without its first word), over the w listed after h.

        Both (G,) over the contexts h, the (n - 1)-grams. Their ratio is the backoff of h.
        """
        order, contexts = self.orders[n - 1], len(self.orders[n - 2])
        shorter = self.log_probs(self.grams[n - 1][:, 1:])
        sums = (np.bincount(order.context, np.exp(logs), contexts) for logs in (order.log_prob, shorter))
        listed, backed_off = (np.asarray(1.0 - each, np.float64) for each in sums)
        return listed, backed_off


@dataclass(frozen=True)
class Perplexity:
    """exp(- sum of ln P / symbols), over all words and the ``</s>`` of every sentence.

    Unknown words are counted in ``with_unknown``, at the probability that the model gives to ``<unk>``, and left out of
    ``without_unknown``, where they only remain in the histories (KenLM's perplexity "including" and "excluding OOVs";
    the second is SRILM's ppl). The fields are sums, so results of several texts can be added.
    """

    log_prob: float = 0.0  # sum of ln P of all words and sentence ends
    unknown_log_prob: float = 0.0  # the part of it that belongs to unknown words
    words: int = 0  # including unknown ones
    unknown: int = 0
    sentences: int = 0

    @property
    def with_unknown(self) -> float:
        """Perplexity of everything; 1 for an empty text."""
        return _perplexity(self.log_prob, self.words + self.sentences)

    @property
    def without_unknown(self) -> float:
        """Perplexity of the known words and the sentence ends."""
        return _perplexity(self.log_prob - self.unknown_log_prob, self.words - self.unknown + self.sentences)

    def __add__(self, other: Perplexity) -> Perplexity:
        return Perplexity(
            self.log_prob + other.log_prob,
            self.unknown_log_prob + other.unknown_log_prob,
            self.words + other.words,
            self.unknown + other.unknown,
            self.sentences + other.sentences,
        )

    def line(self) -> str:
        """``perplexity 18.32 (17.90 without unknown words), 593 words, 104 sentences, 3 unknown, ln P -2026.13``"""
        without = f" ({self.without_unknown:.2f} without unknown words)" if self.unknown else ""
        counts = f"{self.words} words, {self.sentences} sentences, {self.unknown} unknown"
        return f"perplexity {self.with_unknown:.2f}{without}, {counts}, ln P {self.log_prob:.2f}"


def measure(model: LanguageModel, lines: Iterable[str]) -> Perplexity:
    """Perplexity of sentences, one a line, words separated by blanks."""
    return sum((measure_sentence(model, line) for line in lines), Perplexity())


def measure_sentence(model: LanguageModel, line: str) -> Perplexity:
    words = line.split()
    log_probs = log_probs_of(model, words)
    unknown = [log_prob for word, log_prob in zip(words, log_probs, strict=False) if not model.knows(word)]
    return Perplexity(math.fsum(log_probs), math.fsum(unknown), len(words), len(unknown), 1)


def log_probs_of(model: LanguageModel, words: Iterable[str]) -> list[float]:
    """ln P of each word of a sentence and, last, of its end."""
    state = model.start()
    log_probs: list[float] = []
    for word in words:
        log_prob, state = model.score(state, word)
        log_probs.append(log_prob)
    return [*log_probs, model.finish(state)]


def _perplexity(log_prob: float, symbols: int) -> float:
    return math.exp(-log_prob / symbols) if symbols else 1.0
