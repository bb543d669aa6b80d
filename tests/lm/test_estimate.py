"""Kneser-Ney, mixtures and pruning against their formulas, computed with dictionaries and over whole distributions."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recitative.errors import UsageError
from recitative.lm.arpa import NEVER, NgramTable, arpa_text, log_probs_of
from recitative.lm.estimate import (
    DEFAULT_DISCOUNTS,
    NgramSettings,
    Sentences,
    best_weights,
    estimate,
    history_log_probs,
    interpolate,
    prune,
    relative_entropies,
    train,
)
from recitative.lm.ngram import NgramModel

Gram = tuple[str, ...]
SENTENCES = st.lists(st.lists(st.sampled_from("abcd"), min_size=1, max_size=6).map(" ".join), min_size=1, max_size=8)


def random_text() -> list[str]:
    """Enough of it that every order's discounts can be measured: many words, few of them frequent."""
    rng = random.Random(0)
    words = [f"w{number}" for number in range(400)]
    frequencies = [1 / (1 + number) for number in range(400)]
    return [" ".join(rng.choices(words, frequencies, k=rng.randint(1, 9))) for _ in range(200)]


class Oracle:
    """The formulas, one probability at a time."""

    def __init__(self, lines: list[str], order: int, extra: tuple[str, ...] = (), least: tuple[int, ...] = ()) -> None:
        padded = [("<s>", *line.split(), "</s>") for line in lines]
        grams = [s[i : i + n] for s in padded for n in range(1, order + 1) for i in range(len(s) - n + 1)]
        self.raw = Counter(grams)
        self.order, self.least = order, least or (1,) * order
        before: dict[Gram, set[str]] = defaultdict(set)
        for gram in self.raw:
            if 1 < len(gram) <= order:
                before[gram[1:]].add(gram[0])
        self.adjusted = {
            gram: len(before[gram]) if len(gram) < order and gram[0] != "<s>" else count
            for gram, count in self.raw.items()
            if gram != ("<s>",)
        }
        self.words = sorted({word for sentence in padded for word in sentence} - {"<s>"} | {"<unk>", *extra})
        self.discounts = [self.measure(n) for n in range(1, order + 1)]

    def measure(self, n: int) -> tuple[float, ...]:
        how_many = Counter(count for gram, count in self.adjusted.items() if len(gram) == n)
        if not all(how_many[count] for count in (1, 2, 3, 4)):
            return DEFAULT_DISCOUNTS
        y = how_many[1] / (how_many[1] + 2 * how_many[2])
        values = tuple(c - (c + 1) * y * how_many[c + 1] / how_many[c] for c in (1, 2, 3))
        return values if all(0 < value < c for c, value in enumerate(values, start=1)) else DEFAULT_DISCOUNTS

    def taken(self, gram: Gram) -> float:
        """What an n-gram gives up: its discount, or everything if it is too rare to be listed."""
        if self.raw[gram] < self.least[len(gram) - 1]:
            return self.adjusted[gram]
        return self.discounts[len(gram) - 1][min(self.adjusted[gram], 3) - 1]

    def prob(self, history: Gram, word: str) -> float:
        lower = self.prob(history[1:], word) if history else 1 / len(self.words)
        followers = [(*history, after) for after in self.words if (*history, after) in self.adjusted]
        total = sum(self.adjusted[gram] for gram in followers)
        if not total:
            return lower
        own = (*history, word)
        kept = self.adjusted[own] - self.taken(own) if own in self.adjusted else 0
        return kept / total + sum(map(self.taken, followers)) / total * lower


def prob(model: NgramModel, history: Gram, word: str) -> float:
    """P(word | <s> history)."""
    state = model.start()
    for before in history:
        _, state = model.score(state, before)
    return math.exp(model.finish(state) if word == "</s>" else model.score(state, word)[0])


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize(
    "lines",
    [["a b a c", "b a", "c c a b", "a b a b a c a", "b", "a c b", "a b c"], ["a"], ["a a a a", "a"], ["<unk> a", "a"]],
)
def test_every_probability_is_that_of_the_formulas(lines: list[str], order: int) -> None:
    model, oracle = NgramModel.of(estimate(lines, order, extra_words=["never"]).table), Oracle(lines, order, ("never",))
    for length in range(4):
        for history in itertools.product(["a", "b", "c", "<unk>", "never"], repeat=length):
            known = (word if word in oracle.words else "<unk>" for word in history)
            context = ("<s>", *known)[-order + 1 :] if order > 1 else ()
            for word in oracle.words:
                expected = oracle.prob(context, word)
                assert prob(model, history, word) == pytest.approx(expected, rel=1e-9), (history, word)


@pytest.mark.parametrize("least", [(), (1, 1, 2), (1, 2, 3)])
def test_a_text_that_discounts_can_be_measured_on_gives_the_same_as_the_formulas(least: tuple[int, ...]) -> None:
    lines = random_text()
    made, oracle = estimate(lines, 3, min_counts=least), Oracle(lines, 3, least=least)
    assert all(discounts.measured for discounts in made.discounts)
    for found, expected in zip(made.discounts, oracle.discounts, strict=True):
        assert found.values == pytest.approx(expected, rel=1e-12)
    model, rng = NgramModel.of(made.table), random.Random(1)
    for _ in range(300):
        history, word = tuple(rng.choices(oracle.words, k=rng.randrange(4))), rng.choice(oracle.words)
        history = tuple("w0" if before == "</s>" else before for before in history)
        assert prob(model, history, word) == pytest.approx(oracle.prob(("<s>", *history)[-2:], word), rel=1e-9)


@settings(deadline=None, max_examples=80)
@given(SENTENCES, st.integers(1, 4), st.integers(1, 3), st.lists(st.sampled_from("abcde"), max_size=5))
def test_after_every_history_the_probabilities_sum_to_one(
    lines: list[str], order: int, least: int, history: list[str]
) -> None:
    table = estimate(lines, order, extra_words=["e"], min_counts=[1, *[least] * (order - 1)]).table
    model = NgramModel.of(table)
    total = sum(prob(model, tuple(history), word) for word in (*table.words[3:], "<unk>", "</s>"))
    assert total == pytest.approx(1, abs=1e-12)


def test_minimal_counts_leave_out_what_is_rarer() -> None:
    lines = ["a b c", "a b c", "a b d", "c"]
    table = estimate(lines, 3, min_counts=[1, 2, 2]).table
    grams = {" ".join(table.words[number] for number in ids) for order in table.grams[1:] for ids in order}
    assert grams == {"<s> a", "a b", "b c", "c </s>", "<s> a b", "a b c", "b c </s>"}
    assert len(table.orders[0]) == len({"a", "b", "c", "d", "<s>", "</s>", "<unk>"})


def test_nothing_predicts_the_beginning() -> None:
    table = estimate(["a b", "b"], 3).table
    assert table.orders[0].log_prob[table.ids["<s>"]] == NEVER


@pytest.mark.parametrize(
    ("order", "least", "message"),
    [
        (0, [], "order 0; at least 1"),
        (2, [1], "minimal counts 1; one for each of 2 orders, 1 for the first, and never decreasing"),
        (2, [2, 2], "minimal counts 2,2; "),
        (3, [1, 3, 2], "minimal counts 1,3,2; "),
    ],
)
def test_impossible_numbers_are_bad_usage(order: int, least: list[int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        estimate(["a"], order, min_counts=least)


ONE = ["a b a c", "b a", "c c a b", "a b a b a c a", "b"]
OTHER = ["c b d", "d d c", "a d", "b"]


def prob_in(table: NgramTable, gram: tuple[str, ...]) -> float:
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
        expected = 0.7 * prob_in(parts[0], gram) + 0.3 * prob_in(parts[1], gram)
        assert prob_in(mixed, gram) == pytest.approx(expected, rel=1e-9)


@settings(deadline=None, max_examples=40)
@given(st.floats(0.01, 0.99), st.lists(st.sampled_from(["a", "b", "c", "d", "stranger"]), max_size=5))
def test_mixed_probabilities_sum_to_one_whatever_the_parts_know(weight: float, history: list[str]) -> None:
    model = NgramModel.of(interpolate([estimate(ONE, 3).table, estimate(OTHER, 2).table], [weight, 1 - weight]))
    total = sum(prob(model, tuple(history), word) for word in ("a", "b", "c", "d", "<unk>", "</s>"))
    assert total == pytest.approx(1, abs=1e-9)


def test_a_mixture_of_a_model_with_itself_is_the_model() -> None:
    table = estimate(ONE, 3).table
    mixed = interpolate([table, table], [0.25, 0.75])
    assert mixed.words == table.words
    for order, other in zip(mixed.orders, table.orders, strict=True):
        assert order.log_prob == pytest.approx(other.log_prob)
        assert order.log_backoff == pytest.approx(other.log_backoff)


def test_the_weights_are_those_that_a_search_of_all_finds() -> None:
    models = [
        NgramModel.of(estimate(lines, 2, extra_words=["a", "b", "c", "d"]).table) for lines in (ONE, OTHER, ["d"])
    ]
    held_out = ["a b", "c b", "d c a", "a stranger"]
    known = [[*(word != "stranger" for word in line.split()), True] for line in held_out]
    probs = np.exp(
        [list(itertools.chain(*(log_probs_of(model, line.split()) for line in held_out))) for model in models]
    )
    probs = probs[:, np.array(list(itertools.chain(*known)))]
    grid = [(i / 50, j / 50, 1 - (i + j) / 50) for i in range(51) for j in range(51 - i)]
    best = max(grid, key=lambda weights: np.log(np.maximum(weights @ probs, 1e-300)).sum())
    assert best_weights([(models, held_out)]) == pytest.approx(best, abs=0.02)
    assert best_weights([(models, [line]) for line in held_out]) == pytest.approx(best, abs=0.02)


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
    found = estimate(TEXT, order)
    table, histories = found.table, found.frequencies[n - 2]
    entropies = relative_entropies(table, n, histories)
    for row, context in enumerate(table.orders[n - 1].context):
        history = table.grams[n - 2][context]
        before, after = distribution(table, history), distribution(without(table, n, row), history)
        expected = histories[context] * np.sum(before * np.log(before / after))
        assert entropies[row] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("least", [(1, 1, 1), (1, 2, 2)])
def test_the_frequency_of_a_history_is_its_share_of_the_text(least: tuple[int, ...]) -> None:
    text = random_text()
    found, raw = estimate(text, 3, min_counts=least), Oracle(text, 3).raw
    symbols = sum(count for gram, count in raw.items() if len(gram) == 1 and gram != ("<s>",))
    assert len(found.frequencies) == 2
    for grams, frequencies in zip(found.table.grams, found.frequencies, strict=False):
        named = [tuple(found.table.words[number] for number in gram) for gram in grams.tolist()]
        assert frequencies * symbols == pytest.approx([raw[gram] for gram in named])


def test_a_history_has_the_probability_of_its_words_one_after_another() -> None:
    table = estimate(TEXT, 3).table
    model = NgramModel.of(table)
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
    model = NgramModel.of(table)
    total = sum(prob(model, tuple(history), word) for word in ("a", "b", "c", "<unk>", "</s>"))
    assert total == pytest.approx(1, abs=1e-9)


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


def test_a_mixture_is_pruned_by_the_mixed_frequencies_of_its_texts() -> None:
    texts = [Sentences(name, tuple(lines), 0) for name, lines in (("one", TEXT), ("two", ["b a", "a"]))]
    words = set().union(*(text.words for text in texts))
    parts = [estimate(text.lines, 2, extra_words=words) for text in texts]
    mixed = interpolate([part.table for part in parts], (0.25, 0.75))
    frequencies = 0.25 * parts[0].frequencies[0] + 0.75 * parts[1].frequencies[0]
    threshold = float(np.median(np.expm1(relative_entropies(mixed, 2, frequencies))))
    found = train(texts, NgramSettings(order=2, prune=threshold, weights=(0.25, 0.75))).table
    assert arpa_text(found) == arpa_text(prune(mixed, threshold, [frequencies]))
    assert 0 < len(found.orders[1]) < len(mixed.orders[1])


@pytest.mark.parametrize("threshold", [-1e-8, math.nan])
def test_a_threshold_below_zero_is_bad_usage(threshold: float) -> None:
    with pytest.raises(UsageError, match=r"pruning threshold .*; 0 or more, such as 1e-8"):
        prune(estimate(TEXT, 2).table, threshold)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_a_model_gives_back_the_table_that_it_was_made_from(order: int) -> None:
    def listed(table: NgramTable) -> dict[Gram, tuple[float, float]]:
        return {
            tuple(table.words[number] for number in gram): (log_prob, log_backoff)
            for one, grams in zip(table.orders, table.grams, strict=True)
            for gram, log_prob, log_backoff in zip(grams.tolist(), one.log_prob, one.log_backoff, strict=True)
        }

    table = estimate(random_text(), order).table
    again = NgramModel.of(table).table()
    assert listed(again) == listed(table)
    assert all((np.diff(one.context * len(again.words) + one.word) > 0).all() for one in again.orders)
    assert NgramModel.of(again).to_text() == NgramModel.of(table).to_text()
