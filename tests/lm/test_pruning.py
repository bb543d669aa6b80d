"""Entropy pruning against the relative entropy of whole distributions, one n-gram taken out at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recitative.errors import UsageError
from recitative.lm.arpa import arpa_text
from recitative.lm.kneser_ney import estimate
from recitative.lm.ngram import NgramModel
from recitative.lm.perplexity import measure
from recitative.lm.pruning import history_log_probs, prune, relative_entropies
from recitative.lm.table import NgramTable

TEXT = ["a b a c", "b a", "c c a b", "a b a b a c a", "b", "a c b", "a b c"]


def distribution(table: NgramTable, history: np.ndarray) -> np.ndarray:
    """P of every word but <s> after a history."""
    words = [number for number, word in enumerate(table.words) if word != "<s>"]
    return np.exp(table.log_probs(np.array([[*history, word] for word in words])))


def without(table: NgramTable, n: int, row: int) -> NgramTable:
    """The model of the same order without one n-gram and what continues it."""
    keeps = [np.ones(len(order), np.bool_) for order in table.orders]
    keeps[n - 1][row] = False
    return table.select(keeps).with_backoffs()


@pytest.mark.parametrize(("order", "n"), [(2, 2), (3, 3), (4, 4)])
def test_the_loss_of_an_n_gram_is_the_relative_entropy_of_the_two_models(order: int, n: int) -> None:
    table = estimate(TEXT, order).table
    histories = history_log_probs(table)[n - 2]
    entropies = relative_entropies(table, n, histories)
    for row, context in enumerate(table.orders[n - 1].context):
        history = table.grams[n - 2][context]
        before, after = distribution(table, history), distribution(without(table, n, row), history)
        expected = math.exp(histories[context]) * np.sum(before * np.log(before / after))
        assert entropies[row] == pytest.approx(expected, abs=1e-12)


def test_a_history_has_the_probability_of_its_words_one_after_another() -> None:
    table = estimate(TEXT, 3).table
    model = NgramModel(table)
    row = int(table.find(np.array([[table.ids[word] for word in ("<s>", "a", "b")]]))[0])
    first, state = model.score(model.start(), "a")
    assert history_log_probs(table)[2][row] == pytest.approx(first + model.score(state, "b")[0])


def test_a_threshold_of_zero_changes_nothing() -> None:
    table = estimate(TEXT, 3).table
    assert arpa_text(prune(table, 0.0)) == arpa_text(table)


def test_a_threshold_beyond_everything_leaves_the_unigrams() -> None:
    table = prune(estimate(TEXT, 3).table, math.inf)
    assert [len(order) for order in table.orders] == [6, 0, 0]
    assert (table.orders[0].log_backoff == 0).all()


@settings(deadline=None, max_examples=40)
@given(st.floats(1e-6, 1.0), st.lists(st.sampled_from(["a", "b", "c", "stranger"]), max_size=5))
def test_pruned_probabilities_sum_to_one(threshold: float, history: list[str]) -> None:
    table = prune(estimate(TEXT, 4).table, threshold)
    model = NgramModel(table)
    state = model.start()
    for word in history:
        _, state = model.score(state, word)
    total = sum(math.exp(model.score(state, word)[0]) for word in ("a", "b", "c", "<unk>"))
    assert total + math.exp(model.finish(state)) == pytest.approx(1, abs=1e-9)


def test_more_pruning_leaves_fewer_n_grams_with_unchanged_probabilities() -> None:
    table = estimate(TEXT, 4).table
    sizes = []
    for threshold in (0.0, 0.001, 0.01, 0.1):
        pruned = prune(table, threshold)
        sizes.append(sum(map(len, pruned.orders)))
        for order, grams in zip(pruned.orders[1:], pruned.grams[1:], strict=True):
            assert order.log_prob == pytest.approx(table.log_probs(grams))
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > sizes[1] > sizes[-1]


def test_little_pruning_costs_little() -> None:
    table = estimate(TEXT * 3, 3).table
    pruned = prune(table, 0.001)
    before, after = (measure(NgramModel(model), TEXT).with_unknown for model in (table, pruned))
    assert sum(map(len, pruned.orders)) < sum(map(len, table.orders))
    assert after == pytest.approx(before, rel=0.02)


@pytest.mark.parametrize("threshold", [-1e-8, math.nan])
def test_a_threshold_below_zero_is_bad_usage(threshold: float) -> None:
    with pytest.raises(UsageError, match=r"pruning threshold .*; 0 or more, such as 1e-8"):
        prune(estimate(TEXT, 2).table, threshold)
