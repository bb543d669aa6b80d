"""Linear interpolation of n-gram models, and the weights that suit a text best (Jelinek and Mercer, 1980).

    P(w | h) = sum over i of weight_i P_i(w | h)

The mixture is one backoff model again, as of SRILM's ngram -mix-lm: it lists whatever one of the parts lists, with the
probability above, and its backoffs are computed anew. So it is that sum for what it lists, and near it elsewhere.

A part reads words that it doesn't know as ``<unk>`` where they are history. Where they are to be predicted it gives
them 0 if another part knows them: ``<unk>`` of the mixture is what no part knows. So sums stay one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from recitative.errors import UsageError
from recitative.lm.model import UNKNOWN, LanguageModel
from recitative.lm.perplexity import log_probs_of
from recitative.lm.table import Floats, Ints, NgramTable, Order, vocabulary

ROUNDING = 1e-6  # that weights may be off one by: people write 0.333333
_GAIN_WORTH_A_STEP = 1e-9  # nats a word


def interpolate(tables: Sequence[NgramTable], weights: Sequence[float]) -> NgramTable:
    """One model of several, of the order of the highest. Raises UsageError unless ``weights`` pass check_weights."""
    check_weights(weights, len(tables))
    union = _union(tables)
    orders = []
    for order, grams in zip(union.orders, union.grams, strict=True):
        mixed = np.zeros(len(order))
        for table, weight in zip(tables, weights, strict=True):
            mixed += weight / sum(weights) * _probs(table, grams, union.words)
        orders.append(Order(order.context, order.word, np.log(mixed), order.log_backoff))
    return NgramTable(union.words, tuple(orders)).with_backoffs()


def best_weights(models: Sequence[LanguageModel], lines: Iterable[str]) -> tuple[float, ...]:
    """The weights, one for each model, that make some sentences likeliest; by expectation maximisation.

    Words that no model knows have no say. The likelihood has one maximum only, so where one begins doesn't matter.
    """
    probs = np.concatenate([_sentence_probs(models, line) for line in lines])  # (T, models)
    weights, before = np.full(len(models), 1 / len(models)), -np.inf
    while (log_prob := np.log(probs @ weights).mean()) > before + _GAIN_WORTH_A_STEP:
        before = log_prob
        weights = (weights * probs / (probs @ weights)[:, None]).mean(axis=0)
    return tuple(weights.tolist())


def check_weights(weights: Sequence[float], models: int) -> None:
    """Raises UsageError unless there is one weight for each model, all are above 0, and they sum to one."""
    shown = ",".join(f"{weight:g}" for weight in weights)
    if len(weights) != models:
        raise UsageError(f"weights {shown}: {len(weights)} for {models} models; give one each")
    if not all(weight > 0 for weight in weights) or not abs(sum(weights) - 1) <= ROUNDING:
        raise UsageError(f"weights {shown} sum to {sum(weights):g}; above 0 and with the sum 1")


def _union(tables: Sequence[NgramTable]) -> NgramTable:
    """Every n-gram that one of the tables lists, with no probabilities yet."""
    words = vocabulary({word for table in tables for word in table.words})
    ids = {word: number for number, word in enumerate(words)}
    new_ids = [np.array([ids[word] for word in table.words]) for table in tables]
    rows = new_ids  # of every table's n-grams in the union, for the order done last
    orders = [_blank(np.arange(len(words)), len(words))]
    for n in range(2, max(len(table.orders) for table in tables) + 1):
        keys = []
        for table, new, new_rows in zip(tables, new_ids, rows, strict=True):
            own = table.orders[n - 1] if n <= len(table.orders) else _blank(np.zeros(0, np.int64), 1)
            keys.append(new_rows[own.context] * len(words) + new[own.word])
        union = np.unique(np.concatenate(keys))
        rows = [np.searchsorted(union, own) for own in keys]
        orders.append(_blank(union, len(words)))
    return NgramTable(words, tuple(orders))


def _blank(keys: Ints, size: int) -> Order:
    return Order(keys // size, keys % size, np.zeros(len(keys)), np.zeros(len(keys)))


def _probs(table: NgramTable, grams: Ints, words: tuple[str, ...]) -> Floats:
    """P of n-grams (N, n) in ids of ``words``, the last word given those before it; 0 for a last word not known."""
    own_ids = np.array([table.ids.get(word, table.ids[UNKNOWN]) for word in words])
    known = np.array([word in table.ids for word in words])
    own = own_ids[grams[:, -len(table.orders) :]]
    return np.where(known[grams[:, -1]], np.exp(table.log_probs(own)), 0.0)


def _sentence_probs(models: Sequence[LanguageModel], line: str) -> Floats:
    """P of the words and the end of a sentence in every model, without words that none knows: (up to L + 1, models)."""
    words = line.split()
    probs = np.exp([log_probs_of(model, words) for model in models]).T
    known = np.array([[*(model.knows(word) for word in words), True] for model in models]).T
    return np.where(known, probs, 0.0)[known.any(axis=1)]
