"""The automaton of an n-gram model against the definition of backoff, and perplexity of a model computed by hand."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recitative.errors import DataError
from recitative.lm.arpa import LanguageModel, NgramTable, Order, Perplexity, State, log_probs_of, measure
from recitative.lm.estimate import estimate, interpolate, prune
from recitative.lm.ngram import NgramModel, parse_lm

TEXT = ["a b a c", "b a", "c c a b", "a b a b a c a", "b", "a c b <unk>", "a b c"]
Listed = dict[tuple[str, ...], tuple[float, float]]  # n-gram -> ln P, ln backoff


def listed(table: NgramTable) -> Listed:
    found: Listed = {}
    for order, grams in zip(table.orders, table.grams, strict=True):
        for ids, *numbers in zip(grams, order.log_prob, order.log_backoff, strict=True):
            found[tuple(table.words[number] for number in ids)] = (float(numbers[0]), float(numbers[1]))
    return found


def log_prob_by_definition(grams: Listed, history: tuple[str, ...], word: str) -> float:
    if (*history, word) in grams:
        return grams[*history, word][0]
    backoff = grams[history][1] if history in grams else 0.0
    return backoff + log_prob_by_definition(grams, history[1:], word)


def sentence_by_definition(table: NgramTable, words: list[str]) -> list[float]:
    grams, order = listed(table), len(table.orders)
    known = ["<s>", *(word if (word,) in grams else "<unk>" for word in words), "</s>"]
    return [
        log_prob_by_definition(grams, tuple(known[max(0, end - order + 1) : end]), known[end])
        for end in range(1, len(known))
    ]


def walk(model: LanguageModel, words: list[str]) -> tuple[list[float], State]:
    state, log_probs = model.start(), []
    for word in words:
        log_prob, state = model.score(state, word)
        log_probs.append(log_prob)
    return log_probs, state


def tables() -> dict[str, NgramTable]:
    """Whole ones, and such as have n-grams without their suffixes."""
    whole = {f"order {order}": estimate(TEXT, order).table for order in (1, 2, 3, 4)}
    return whole | {
        "pruned": prune(whole["order 4"], 0.02),
        "mixed": interpolate([whole["order 2"], estimate(["c b a d e"], 4).table], [0.5, 0.5]),
        "sparse": whole["order 4"].select([np.arange(len(order)) % 5 != 1 for order in whole["order 4"].orders]),
        "empty order": estimate(["a", "b"], 5).table,
    }


@pytest.mark.parametrize("name", tables())
def test_scores_are_those_of_the_definition(name: str) -> None:
    table, rng = tables()[name], random.Random(0)
    model = NgramModel.of(table)
    for _ in range(200):
        words = rng.choices(["a", "b", "c", "d", "nobody"], k=rng.randrange(8))
        log_probs, state = walk(model, words)
        assert [*log_probs, model.finish(state)] == pytest.approx(sentence_by_definition(table, words), abs=1e-12)


@pytest.mark.parametrize("name", ["order 3", "pruned", "sparse"])
def test_the_table_finds_the_same_for_many_n_grams_at_once(name: str) -> None:
    table = tables()[name]
    for n in range(1, len(table.orders) + 1):
        grams = np.array(list(itertools.product(range(len(table.words)), repeat=min(n, 3))))
        words = [tuple(table.words[number] for number in ids) for ids in grams]
        expected = [log_prob_by_definition(listed(table), gram[:-1], gram[-1]) for gram in words]
        assert table.log_probs(grams) == pytest.approx(expected, abs=1e-12)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=8), st.sampled_from(["order 3", "pruned", "sparse"]))
def test_after_every_history_the_probabilities_of_all_words_sum_to_one(words: list[str], name: str) -> None:
    table = tables()[name].with_backoffs()
    model = NgramModel.of(table)
    _, state = walk(model, words)
    total = sum(math.exp(model.score(state, word)[0]) for word in (*table.words[3:], "<unk>"))
    assert total + math.exp(model.finish(state)) == pytest.approx(1, abs=1e-9)


def small_table() -> NgramTable:
    """Words <unk> <s> </s> a b; bigrams 'a b' and '<s> a'; only 'a' and '<s>' say anything about what follows."""
    unigrams = Order(np.zeros(5, np.int64), np.arange(5), np.log(np.full(5, 0.25)), np.log([1, 0.5, 1, 0.5, 1]))
    bigrams = Order(np.array([1, 3]), np.array([3, 4]), np.log([0.625, 0.625]), np.zeros(2))
    return NgramTable(("<unk>", "<s>", "</s>", "a", "b"), (unigrams, bigrams))


def test_a_state_is_no_more_than_what_the_future_depends_on() -> None:
    model = NgramModel.of(small_table())
    after = {
        " ".join(words): walk(model, list(words))[1] for n in range(4) for words in itertools.product("abx", repeat=n)
    }
    assert len(set(after.values())) == 3  # <s>, a, and nothing
    assert after["b"] == after["x"] == after["a b"] == after["b x"] != after["a"] == after["b a"] != after[""]


def test_a_context_that_only_has_a_backoff_is_a_state_too() -> None:
    table = small_table()
    unigrams = table.orders[0]
    backoffs = unigrams.log_backoff.copy()
    backoffs[4] = math.log(0.9)  # 'b' begins no bigram
    changed = NgramTable(
        table.words, (Order(unigrams.context, unigrams.word, unigrams.log_prob, backoffs), table.orders[1])
    )
    model = NgramModel.of(changed)
    _, state = walk(model, ["b"])
    assert model.score(state, "a")[0] == pytest.approx(math.log(0.9 * 0.25))


def test_marks_are_no_words() -> None:
    model = NgramModel.of(estimate(TEXT, 2).table)
    assert [word for word in ("a", "<s>", "</s>", "<unk>", "nobody") if model.knows(word)] == ["a"]
    scores = {model.score(model.start(), word) for word in ("<s>", "</s>", "<unk>", "nobody")}
    assert len(scores) == 1


class Toy:
    """Knows 'a': 1/2 after <s>, 1/4 after a word. Unknown words have 1/100, the end has 1/8."""

    def start(self) -> State:
        return "start"

    def score(self, state: State, word: str) -> tuple[float, State]:
        known = 1 / 2 if state == "start" else 1 / 4
        return math.log(known if word == "a" else 1 / 100), "word"

    def finish(self, state: State) -> float:
        return math.log(1 / 8)

    def knows(self, word: str) -> bool:
        return word == "a"


def test_a_sentence_is_its_words_and_its_end() -> None:
    assert np.exp(log_probs_of(Toy(), ["a", "x", "a"])) == pytest.approx([1 / 2, 1 / 100, 1 / 4, 1 / 8])
    assert np.exp(log_probs_of(Toy(), [])) == pytest.approx([1 / 8])


def test_the_counts_and_both_perplexities() -> None:
    found = measure(Toy(), ["a x", "a", "a a"])
    assert (found.words, found.unknown, found.sentences) == (5, 1, 3)
    known = 1 / 2 * 1 / 8 * 1 / 2 * 1 / 8 * 1 / 2 * 1 / 4 * 1 / 8
    assert found.log_prob == pytest.approx(math.log(known / 100))
    assert found.with_unknown == pytest.approx((known / 100) ** (-1 / 8))
    assert found.without_unknown == pytest.approx(known ** (-1 / 7))


def test_the_line_says_what_was_counted() -> None:
    assert measure(Toy(), ["a"]).line() == "perplexity 4.00, 1 word, 1 sentence, 0 unknown, ln P -2.77"
    assert measure(Toy(), ["x a"]).line() == (
        "perplexity 14.74 (5.66 without unknown words), 2 words, 1 sentence, 1 unknown, ln P -8.07"
    )


def test_no_text_surprises_nobody() -> None:
    assert measure(Toy(), []) == Perplexity()
    assert Perplexity().with_unknown == 1.0


@given(st.lists(st.lists(st.sampled_from("ax"), max_size=4).map(" ".join), max_size=6), st.integers(0, 6))
def test_sums_of_parts_are_those_of_the_whole(lines: list[str], cut: int) -> None:
    whole, parts = measure(Toy(), lines), measure(Toy(), lines[:cut]) + measure(Toy(), lines[cut:])
    assert (parts.words, parts.unknown, parts.sentences) == (whole.words, whole.unknown, whole.sentences)
    assert parts.log_prob == pytest.approx(whole.log_prob)
    assert parts.unknown_log_prob == pytest.approx(whole.unknown_log_prob)


@pytest.mark.parametrize("name", tables())
def test_many_states_at_once_get_what_each_gets_alone(name: str) -> None:
    model, rng = NgramModel.of(tables()[name]), random.Random(1)
    words = ("a", "b", "c", "d", "nobody")
    ids = np.where((known := model.word_ids(words)) >= 0, known, model.unknown)
    states = np.array([walk(model, rng.choices(words, k=rng.randrange(6)))[1] for _ in range(60)])
    asked = np.array([rng.randrange(len(words)) for _ in states])
    log_probs, after = model.step(states, ids[asked])
    alone = [model.score(int(state), words[word]) for state, word in zip(states, asked, strict=True)]
    assert log_probs == pytest.approx([log_prob for log_prob, _ in alone], abs=1e-12)
    assert after.tolist() == [state for _, state in alone]
    assert model.finish_all(states) == pytest.approx([model.finish(int(state)) for state in states], abs=1e-12)


@pytest.mark.parametrize("size", [4, 36, 1 << 18])
def test_a_packed_model_may_be_unpacked_in_blocks_of_any_size(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recitative.lm.ngram._Blocks.size", size)
    for name, table in tables().items():
        model = NgramModel.of(table)
        packed = parse_lm(model.to_text(), "packed")
        assert packed.to_text() == model.to_text()
        for field in ("keys", "first", "suffix"):
            assert (getattr(packed, field) == getattr(model, field)).all(), name
        for field in ("log_prob", "log_backoff"):
            assert (getattr(packed, field) == getattr(model, field).astype(np.float32)).all(), name
        assert (packed._state == model._state).all()


@pytest.mark.parametrize("name", tables())
def test_words_that_are_added_are_unigrams_and_change_no_other_score(name: str) -> None:
    table, rng = tables()[name], random.Random(2)
    model = NgramModel.of(table).with_words(("new", "old"), -1.5)
    unigrams = table.orders[0]
    more = Order(
        np.zeros(len(unigrams) + 2, np.int64),
        np.arange(len(unigrams) + 2),
        np.append(unigrams.log_prob, [-1.5, -1.5]),
        np.append(unigrams.log_backoff, [0.0, 0.0]),
    )
    by_definition = NgramTable((*table.words, "new", "old"), (more, *table.orders[1:]))
    assert model.knows("new")
    states, asked, alone = [], [], []
    for _ in range(200):
        words = rng.choices(["a", "b", "c", "d", "new", "old", "nobody"], k=rng.randrange(8))
        log_probs, state = walk(model, words)
        assert [*log_probs, model.finish(state)] == pytest.approx(sentence_by_definition(by_definition, words))
        states.append(state)
        asked.append(rng.choice(["a", "new"]))
        alone.append(model.score(state, asked[-1]))
    log_probs, after = model.step(np.array(states), model.word_ids(tuple(asked)))
    assert log_probs == pytest.approx([log_prob for log_prob, _ in alone], abs=1e-12)
    assert after.tolist() == [state for _, state in alone]
    again = parse_lm(model.to_text(), "packed")
    assert again.to_text() == model.to_text()
    assert walk(again, ["a", "new", "b"])[0] == pytest.approx(walk(model, ["a", "new", "b"])[0], rel=1e-6)


def test_more_words_than_two_bytes_can_count_may_be_added() -> None:
    model = NgramModel.of(estimate(TEXT, 3).table)
    many = tuple(f"w{number}" for number in range(1 << 16))
    more = parse_lm(model.with_words(many, -20.0).to_text(), "packed")
    assert more.score(more.start(), many[-1])[0] < -20.0 + 1e-6
    assert walk(more, ["a", "b", "a", "c"])[0] == pytest.approx(walk(model, ["a", "b", "a", "c"])[0], rel=1e-6)


def test_quantized_it_is_smaller_and_nearly_the_same() -> None:
    rng = random.Random(2)
    lines = [" ".join(rng.choices(WORDS, range(len(WORDS), 0, -1), k=9)) for _ in range(3000)]
    model = NgramModel.of(estimate(lines, 3).table)
    coarse = parse_lm(model.quantized().to_text(), "packed")
    for begin, end in itertools.pairwise(np.cumsum((1, *model.sizes))[1:]):
        assert len(np.unique(model.log_prob[begin:end])) > 256 >= len(np.unique(coarse.log_prob[begin:end]))
    assert ((coarse.log_backoff == 0) == (model.log_backoff == 0)).all()  # so states stay the same
    assert len(coarse.to_text()) < 0.6 * len(model.to_text())
    exact, near = (measure(each, lines[:200]).with_unknown for each in (model, coarse))
    assert near == pytest.approx(exact, rel=0.005)


WORDS = [f"w{number}" for number in range(200)]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-9],
        lambda text: text.replace("model 1", "model 2", 1),
        lambda text: text.replace('"sizes": [6', '"sizes": [7'),
        lambda text: text.replace('"<f4"', '"<f8"', 1),
        lambda text: text.replace('"<f4"', '"' + "9" * 5000 + '"', 1),
        lambda text: text.replace("A", "B"),
        lambda text: text.split("\n", 1)[0] + "\n{}\n\n",
        lambda text: text.rstrip("\n") + "AAAA\n",
        lambda text: text.replace('"sizes": [', '"sizes": [1, '),
        lambda text: text[: text.index("\n")],
    ],
)
def test_a_damaged_packed_model_is_refused(damage: Callable[[str], str]) -> None:
    text = NgramModel.of(estimate(TEXT, 3).table).to_text()
    assert damage(text) != text
    with pytest.raises(DataError, match=r"own: .*'recitative lm compress'"):
        NgramModel.parse(damage(text), "own")
