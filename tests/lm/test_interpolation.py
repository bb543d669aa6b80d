"""Mixtures of models against the sum that defines them, and weights against a search of all."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recitative.errors import UsageError
from recitative.lm.interpolation import best_weights, interpolate
from recitative.lm.kneser_ney import estimate
from recitative.lm.ngram import NgramModel
from recitative.lm.perplexity import log_probs_of, measure
from recitative.lm.table import NgramTable

ONE = ["a b a c", "b a", "c c a b", "a b a b a c a", "b"]
OTHER = ["c b d", "d d c", "a d", "b"]


def prob(table: NgramTable, gram: tuple[str, ...]) -> float:
    """By the part itself: a history's strangers are <unk>, and a stranger to be predicted is impossible."""
    if gram[-1] not in table.ids:
        return 0.0
    ids = [table.ids.get(word, table.ids["<unk>"]) for word in gram[-len(table.orders) :]]
    return math.exp(table.log_probs(np.array([ids]))[0])


def grams_of(table: NgramTable) -> set[tuple[str, ...]]:
    return {tuple(table.words[number] for number in ids) for grams in table.grams for ids in grams}


@pytest.mark.parametrize("orders", [(2, 2), (3, 2), (1, 4)])
def test_a_mixture_lists_what_one_of_the_parts_lists_with_the_weighted_sum(orders: tuple[int, int]) -> None:
    parts = [estimate(ONE, orders[0]).table, estimate(OTHER, orders[1]).table]
    mixed = interpolate(parts, [0.7, 0.3])
    assert grams_of(mixed) == grams_of(parts[0]) | grams_of(parts[1])
    for gram in grams_of(mixed) - {("<s>",)}:
        expected = 0.7 * prob(parts[0], gram) + 0.3 * prob(parts[1], gram)
        assert prob(mixed, gram) == pytest.approx(expected, rel=1e-9)


@settings(deadline=None, max_examples=40)
@given(st.floats(0.01, 0.99), st.lists(st.sampled_from(["a", "b", "c", "d", "stranger"]), max_size=5))
def test_mixed_probabilities_sum_to_one_whatever_the_parts_know(weight: float, history: list[str]) -> None:
    model = NgramModel(interpolate([estimate(ONE, 3).table, estimate(OTHER, 2).table], [weight, 1 - weight]))
    state = model.start()
    for word in history:
        _, state = model.score(state, word)
    total = sum(math.exp(model.score(state, word)[0]) for word in ("a", "b", "c", "d", "<unk>"))
    assert total + math.exp(model.finish(state)) == pytest.approx(1, abs=1e-9)


def test_a_mixture_of_a_model_with_itself_is_the_model() -> None:
    table = estimate(ONE, 3).table
    mixed = interpolate([table, table], [0.25, 0.75])
    assert mixed.words == table.words
    for order, other in zip(mixed.orders, table.orders, strict=True):
        assert order.log_prob == pytest.approx(other.log_prob)
        assert order.log_backoff == pytest.approx(other.log_backoff)


def test_the_weights_are_those_that_a_search_of_all_finds() -> None:
    models = [NgramModel(estimate(lines, 2, extra_words=["a", "b", "c", "d"]).table) for lines in (ONE, OTHER, ["d"])]
    held_out = ["a b", "c b", "d c a", "a stranger"]
    known = [[*(word != "stranger" for word in line.split()), True] for line in held_out]
    probs = np.exp(
        [list(itertools.chain(*(log_probs_of(model, line.split()) for line in held_out))) for model in models]
    )
    probs = probs[:, np.array(list(itertools.chain(*known)))]
    grid = [(i / 50, j / 50, 1 - (i + j) / 50) for i in range(51) for j in range(51 - i)]
    best = max(grid, key=lambda weights: np.log(np.maximum(weights @ probs, 1e-300)).sum())
    assert best_weights(models, held_out) == pytest.approx(best, abs=0.02)


def test_the_weights_sum_to_one_and_prefer_the_model_of_the_same_text() -> None:
    models = [NgramModel(estimate(lines, 2).table) for lines in (ONE, OTHER)]
    for held_out, preferred in ((ONE, 0), (OTHER, 1)):
        weights = best_weights(models, held_out)
        assert sum(weights) == pytest.approx(1)
        assert weights[preferred] > 0.8


def test_a_mixture_with_the_best_weights_is_no_worse_than_either_part() -> None:
    tables = [estimate(lines, 1, extra_words=["a", "b", "c", "d"]).table for lines in (ONE, OTHER)]
    held_out = ["a d", "b c", "d a c"]
    models = [NgramModel(table) for table in tables]
    mixed = NgramModel(interpolate(tables, best_weights(models, held_out)))
    perplexity = measure(mixed, held_out).with_unknown
    assert perplexity <= min(measure(model, held_out).with_unknown for model in models) + 1e-6


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0], "weights 1: 1 for 2 models; give one each"),
        ([0.5, 0.6], "weights 0.5,0.6 sum to 1.1; above 0 and with the sum 1"),
        ([0.0, 1.0], "weights 0,1 sum to 1; above 0"),
        ([math.nan, 1.0], "weights nan,1 sum to nan"),
    ],
)
def test_impossible_weights_are_bad_usage(weights: list[float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        interpolate([estimate(ONE, 2).table] * 2, weights)
