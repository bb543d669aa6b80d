"""Entropy pruning: leave out the n-grams that change the model least (Stolcke, DARPA BNTUW 1998).

Without ``h w``, P(w | h) becomes a'(h) P(w | h'), with h' for h without its first word, and the backoff a(h) becomes
a'(h). The relative entropy between the model before and after is

    D = - P(h) { p(w|h) [ln p(w|h') + ln a'(h) - ln p(w|h)] + [ln a'(h) - ln a(h)] (1 - sum of p(v|h) over listed h v) }

and the perplexity grows by the factor e^D. An n-gram goes if that is less than 1 + threshold. Each is weighed as if it
were the only one to go; the longest first, and what is still the context of another stays, as in SRILM. P(h) is what
the model itself says, with P(<s>) = 1. For Kneser-Ney that is a rough guess (Chelba et al., Interspeech 2010): compare
the perplexities before and after.
"""

from __future__ import annotations

import numpy as np

from recitative.errors import UsageError
from recitative.lm.model import BEGIN
from recitative.lm.table import Floats, Mask, NgramTable


def prune(table: NgramTable, threshold: float) -> NgramTable:
    """The model without the n-grams whose loss raises the perplexity by less than the factor 1 + threshold.

    Sums stay one: the backoffs are computed anew. 0 changes nothing; 1e-9 to 1e-6 are usual. Unigrams stay. Raises
    UsageError for a negative threshold.
    """
    check_threshold(threshold)
    if threshold == 0:
        return table
    histories = history_log_probs(table)
    keeps: list[Mask] = []  # the longest first
    for n in range(len(table.orders), 1, -1):
        keep = np.expm1(relative_entropies(table, n, histories[n - 2])) >= threshold
        if keeps:
            keep[table.orders[n].context[keeps[-1]]] = True
        keeps.append(keep)
    unigrams = np.ones(len(table.words), np.bool_)
    return table.select([unigrams, *reversed(keeps)]).with_backoffs()


def check_threshold(threshold: float) -> None:
    """Raises UsageError for a negative number, and for none."""
    if not threshold >= 0:
        raise UsageError(f"pruning threshold {threshold:g}; 0 or more, such as 1e-8")


def relative_entropies(table: NgramTable, n: int, history_log_probs: Floats) -> Floats:
    """D in nats (G,) of each n-gram of length n > 1; ``history_log_probs``: ln P(h) of the (n - 1)-grams."""
    order = table.orders[n - 1]
    log_prob, context = order.log_prob, order.context
    shorter = table.log_probs(table.grams[n - 1][:, 1:])
    explicit, lower = (np.maximum(rest, 0.0)[context] for rest in table.left_over(n))
    new_backoff = np.log(explicit + np.exp(log_prob)) - np.log(lower + np.exp(shorter))
    growth = new_backoff - table.orders[n - 2].log_backoff[context]
    inner = np.exp(log_prob) * (shorter + new_backoff - log_prob) + growth * explicit
    entropies: Floats = -np.exp(history_log_probs[context]) * inner
    return entropies


def history_log_probs(table: NgramTable) -> list[Floats]:
    """ln P(h) of all n-grams, order by order, by the chain rule; ``<s>`` has 0."""
    unigrams = table.orders[0].log_prob.copy()
    unigrams[table.ids[BEGIN]] = 0.0
    found = [unigrams]
    for order in table.orders[1:]:
        found.append(found[-1][order.context] + order.log_prob)
    return found
