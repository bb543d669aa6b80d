"""Perplexity, of a model that a person can calculate with."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recitative.lm.model import State
from recitative.lm.perplexity import Perplexity, log_probs_of, measure


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
    assert measure(Toy(), ["a"]).line() == "perplexity 4.00, 1 words, 1 sentences, 0 unknown, ln P -2.77"
    assert measure(Toy(), ["x a"]).line() == (
        "perplexity 14.74 (5.66 without unknown words), 2 words, 1 sentences, 1 unknown, ln P -8.07"
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
