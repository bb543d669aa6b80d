"""The n-grams of a backoff model as sorted arrays: what models are made, pruned, mixed and written in.

    P(w | h) = p(h w) if the n-gram is listed, else b(h) P(w | h without its first word)

with b(h) = 1 where h is not listed (Katz, IEEE Trans. ASSP 35(3), 1987, in the form of ARPA files). An n-gram is a row
of its order's arrays. It names its first n - 1 words, its context, by their row in the order below, so that a number
``context * V + word`` stands for the whole n-gram and is found by bisection. Rows are sorted by that number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from recitative.lm.model import BEGIN, END, UNKNOWN

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

LN_10 = float(np.log(10.0))
NEVER = -99 * LN_10  # ln P(<s>), which nobody asks for: SRILM's log10 for zero
MARKS = (UNKNOWN, BEGIN, END)
_NOBODY = np.iinfo(np.int64).max
_NOTHING_LEFT = 1e-12  # of a probability: below it, a sum to one differs from one by rounding only


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
    """words[i] is the word with id i, marks included; orders[n - 1] holds the n-grams of length n.

    Every word is a unigram, in row i, and the context of every listed n-gram is listed too.
    """

    words: tuple[str, ...]
    orders: tuple[Order, ...]

    @cached_property
    def ids(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.words)}

    @cached_property
    def grams(self) -> tuple[Ints, ...]:
        """Order by order, the words' ids (G, n)."""
        found = [self.orders[0].word[:, None]]
        for order in self.orders[1:]:
            found.append(np.column_stack([found[-1][order.context], order.word]))
        return tuple(found)

    @cached_property
    def _keys(self) -> tuple[Ints, ...]:
        """Sorted; the last one is nobody's, so that a search may always look at the place it ends at."""
        return tuple(np.append(order.context * len(self.words) + order.word, _NOBODY) for order in self.orders)

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
        result = np.append(self.orders[n - 1].log_prob, 0.0)[rows]  # row -1 is the last: not listed
        missing = np.flatnonzero(rows < 0)
        if len(missing):
            contexts = self.find(grams[missing, :-1])
            backoffs = np.append(self.orders[n - 2].log_backoff, 0.0)[contexts]
            result[missing] = backoffs + self.log_probs(grams[missing, 1:])
        return result

    def select(self, keeps: Sequence[Mask]) -> NgramTable:
        """The rows for which ``keeps``, a mask (G,) for each order, is true; those without their context go too.

        Backoffs stay as they are. Unigrams are all kept, whatever their mask says.
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
        """The same probabilities with the backoffs that make every context's sum to one, by ``left_over``."""
        table = NgramTable(self.words, self.orders[:1])
        for number, order in enumerate(self.orders[1:], start=1):
            table = NgramTable(self.words, (*table.orders, order))
            explicit, lower = table.left_over(number + 1)
            sound = (explicit > _NOTHING_LEFT) | (lower > _NOTHING_LEFT)  # else every word is listed: no one backs off
            ratio = np.maximum(explicit, _NOTHING_LEFT) / np.maximum(lower, _NOTHING_LEFT)
            below = replace(table.orders[-2], log_backoff=np.where(sound, np.log(ratio), 0.0))
            table = NgramTable(self.words, (*table.orders[:-2], below, order))
        highest = replace(table.orders[-1], log_backoff=np.zeros(len(table.orders[-1])))
        return NgramTable(self.words, (*table.orders[:-1], highest))

    def left_over(self, n: int) -> tuple[Floats, Floats]:
        """1 - sum of P(w | h) and 1 - sum of P(w | h without its first word), over the w listed after h.

        Both (G,) over the contexts h, which are the (n - 1)-grams. Their ratio is the backoff of h.
        """
        order, contexts = self.orders[n - 1], len(self.orders[n - 2])
        shorter = self.log_probs(self.grams[n - 1][:, 1:])
        sums = (np.bincount(order.context, np.exp(logs), contexts) for logs in (order.log_prob, shorter))
        listed, backed_off = (np.asarray(1.0 - each, np.float64) for each in sums)
        return listed, backed_off


def vocabulary(words: set[str]) -> tuple[str, ...]:
    """The words of a table: the marks first, then the others in code point order."""
    return (*MARKS, *sorted(words - set(MARKS)))
