"""Interpolated modified Kneser-Ney smoothing (Chen and Goodman, TR-10-98, Harvard 1998, section 3 and appendix A).

    P(w | h) = (a(h w) - D(a(h w))) / a(h) + g(h) P(w | h without its first word)
    a(h) = sum of a(h w) over w,   g(h) = (sum of D(a(h w)) over w) / a(h)

with the adjusted counts a of ``lm.counts`` and, in every order, one discount D each for the counts 1, 2 and >= 3.
Below the unigrams stands one probability for all words that can come: the vocabulary with ``<unk>`` and ``</s>``. So
a word of the vocabulary that is not in the text has the probability g() / V, and ``<unk>`` has the same.

The table lists P for the n-grams of the text; the backoff of h is g(h). What is left out by a minimal count gives all
of its count to g(h), so that sums stay one; discounts are measured before that (as in KenLM's lmplz --prune).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from recitative.errors import UsageError
from recitative.lm.counts import Counts, Text, count
from recitative.lm.model import BEGIN
from recitative.lm.table import NEVER, Floats, Ints, NgramTable, Order

FALLBACK = (0.5, 1.0, 1.5)
"""Discounts where a text is too small to measure them, those of KenLM's lmplz --discount_fallback."""


@dataclass(frozen=True)
class Discounts:
    """What is taken off the counts 1, 2 and >= 3 of one order."""

    values: tuple[float, float, float]
    measured: bool  # False: they are FALLBACK

    def of(self, adjusted: Ints) -> Floats:
        """Adjusted counts (G,) -> discounts (G,)."""
        return np.array([0.0, *self.values])[np.minimum(adjusted, 3)]


@dataclass(frozen=True, eq=False)
class Estimate:
    """A model and how it came about."""

    table: NgramTable
    discounts: tuple[Discounts, ...]  # order by order


def estimate(
    lines: Iterable[str], order: int, *, extra_words: Iterable[str] = (), min_counts: Sequence[int] = ()
) -> Estimate:
    """The model of some sentences, one a line, words between blanks.

    extra_words: words that the model knows too, though the text may not; min_counts: for each order, how often an
    n-gram must be in the text to be listed, 1 for unigrams and never falling. Raises UsageError for other numbers.
    """
    check_counts(order, min_counts)
    text = Text.encode(lines, extra_words)
    counts = count(text, order)
    discounts = tuple(measure_discounts(one.adjusted) for one in counts)
    keeps = [one.raw >= least for one, least in zip(counts, [0, *(min_counts or [1] * order)[1:]], strict=True)]
    probs, backoffs = [np.full(1, 1 / (len(text.words) - 1))], []  # below the unigrams; <s> never comes
    for one, discount, keep in zip(counts, discounts, keeps, strict=True):
        taken = np.where(keep, discount.of(one.adjusted), one.adjusted)
        listed, given = _interpolate(one, taken, probs[-1])
        probs.append(listed)
        backoffs.append(np.log(given))
    backoffs.append(np.zeros(len(probs[-1])))
    parts = zip(counts, probs[1:], backoffs[1:], strict=True)
    orders = [Order(one.context, one.word, np.log(listed), backoff) for one, listed, backoff in parts]
    orders[0].log_prob[text.words.index(BEGIN)] = NEVER
    return Estimate(NgramTable(text.words, tuple(orders)).select(keeps), discounts)


def check_counts(order: int, min_counts: Sequence[int]) -> None:
    """Raises UsageError for what ``estimate`` doesn't take."""
    if order < 1:
        raise UsageError(f"order {order}; at least 1")
    if min_counts and (len(min_counts) != order or min_counts[0] != 1 or sorted(min_counts) != list(min_counts)):
        found = ",".join(map(str, min_counts))
        raise UsageError(f"minimal counts {found}; one for each of {order} orders, 1 for the first, and never falling")


def measure_discounts(adjusted: Ints) -> Discounts:
    """From how many n-grams have the counts 1 to 4 (Chen and Goodman, equation 26).

    FALLBACK where one of these numbers is 0, or a discount isn't above 0 and below what it is taken from.
    """
    n1, n2, n3, n4 = np.bincount(np.minimum(adjusted, 5), minlength=6)[1:5].tolist()
    if not min(n1, n2, n3, n4):
        return Discounts(FALLBACK, False)
    y = n1 / (n1 + 2 * n2)
    values = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    sound = all(0 < value < number for number, value in enumerate(values, start=1))
    return Discounts(values, True) if sound else Discounts(FALLBACK, False)


def _interpolate(counts: Counts, taken: Floats, lower: Floats) -> tuple[Floats, Floats]:
    """P(w | h) of each n-gram (G,) and g(h) of each context, 1 for those that nothing follows.

    taken: what each n-gram gives up of its adjusted count; lower: P of the n-grams one shorter.
    """
    contexts = len(lower)
    totals = np.bincount(counts.context, counts.adjusted, contexts)
    followed = np.maximum(totals, 1)
    given = np.where(totals > 0, np.bincount(counts.context, taken, contexts) / followed, 1.0)
    kept = (counts.adjusted - taken) / followed[counts.context]
    return kept + given[counts.context] * lower[counts.suffix], given
