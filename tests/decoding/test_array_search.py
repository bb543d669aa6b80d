"""The search in arrays against the search over objects: equal hypotheses, scores, words, frames; and its streams."""

import math

import numpy as np
import pytest

from recitative.decoding.array_search import ArraySearch
from recitative.decoding.beam import BeamSearch, Hypothesis
from recitative.decoding.hotwords import HotWord, HotWords
from recitative.decoding.lexicon_tree import LexiconTree
from recitative.decoding.prefix import SearchSpace
from recitative.lm.estimate import estimate
from recitative.lm.grammar import Grammar
from recitative.lm.ngram import NgramModel
from recitative.lm.query import UNKNOWN
from recitative.text.lexicon import Lexicon
from recitative.text.tokens import TokenTable

LETTERS = TokenTable(("<blank>", " ", "a", "b", "c"))
PHONES = TokenTable(("<blank>", "AA", "B", "K", "T"))
PIECES = TokenTable.of_pieces({" a": -1.0, " b": -1.5, "a": -2.0, "b": -2.5, "ab": -3.0, " ": -4.0})
WORDS = tuple(f"w{number}" for number in range(12))
SENTENCES = Grammar("w1 (w2|w3) [w4]\nw5 w6")
FRAMES = 30


class Bigrams:
    """A language model that is no n-gram model of ours; its states are words."""

    def start(self):
        return "<s>"

    def score(self, state, word):
        return {("<s>", "w1"): -0.5, ("w1", "w2"): -0.3}.get((state, word), -5.0), word

    def finish(self, state):
        return -0.5 if state == "w2" else -1.0

    def knows(self, word):
        return word not in ("w10", "w11")


def log_probs_of(tokens: TokenTable, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    logits = 3.0 * rng.standard_normal((FRAMES, len(tokens)))
    logits[rng.random(FRAMES) < 0.3, 0] += 9  # frames of nothing but blank
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


def lexicon_of(tokens: TokenTable, seed: int) -> Lexicon:
    """Short words: many sound alike or are the beginnings of others, and some have two pronunciations."""
    rng = np.random.default_rng(seed)
    symbols = [symbol for symbol in tokens.symbols[1:] if symbol != " "]
    ways = [{tuple(rng.choice(symbols, rng.integers(1, 5)).tolist()) for _ in range(rng.integers(1, 3))} for _ in WORDS]
    return Lexicon({word: tuple(sorted(some)) for word, some in zip(WORDS, ways, strict=True)})


def searches(seed: int) -> tuple[BeamSearch, ArraySearch, np.ndarray]:
    """One problem after another: tokens, language model, hot words, weights and beams change with the seed."""
    rng = np.random.default_rng(seed)
    tokens = (LETTERS, PHONES, PIECES)[seed % 3]
    lexicon = lexicon_of(tokens, seed)
    lines = [" ".join(rng.choice(WORDS[:10], rng.integers(1, 6))) for _ in range(30)]
    trigrams, bigrams = (NgramModel.of(estimate([*lines, f"w1 {UNKNOWN}"], order).table) for order in (3, 2))
    lm = (None, trigrams, Bigrams(), bigrams, SENTENCES)[seed % 5]
    if lm is SENTENCES:
        lexicon = lexicon.only(SENTENCES.words)
    hot_words = None
    if seed % 4 == 0:
        phrases = ("w2",) if lm is SENTENCES else ("w1 w2", "w3")
        hot_words = HotWords([HotWord(phrase, 2.0) for phrase in phrases], tokens, lexicon)
        lexicon = lexicon.with_entries(hot_words.lexicon)
    scores = {
        "lm": lm,
        "hot_words": hot_words,
        "lm_weight": 1.0 if lm is SENTENCES else 0.7,
        "word_bonus": float(rng.choice([0.0, 0.5, -1.0])),
        "unknown_score": -4.0,
    }
    width = {
        "beam": int(rng.choice([1, 4, 16, 200])),
        "token_beam": float(rng.choice([4.0, 8.0, math.inf])),
        "score_beam": float(rng.choice([6.0, 12.0, 700.0])),
    }
    plain = BeamSearch(SearchSpace(tokens, lexicon=lexicon, **scores), **width)
    return plain, ArraySearch(tokens, lexicon, **scores, **width), log_probs_of(tokens, seed)


def told(hypothesis: Hypothesis) -> tuple[object, ...]:
    return hypothesis.text, hypothesis.labels, hypothesis.words, hypothesis.whole


def numbers(hypothesis: Hypothesis) -> tuple[float, ...]:
    return hypothesis.score, hypothesis.acoustic, hypothesis.extra, hypothesis.posterior


@pytest.mark.parametrize("block", range(6))
def test_it_finds_what_the_search_over_objects_finds(block: int) -> None:
    for seed in range(20 * block, 20 * block + 20):
        plain, arrays, log_probs = searches(seed)
        expected, found = plain.step(log_probs, plain.start()), arrays.step(log_probs, arrays.start())
        pairs = [(plain.best(expected), arrays.best(found))]
        pairs += zip(plain.finish(expected, 1000), arrays.finish(found, 1000), strict=True)
        for one, other in pairs:
            assert told(one) == told(other), f"seed {seed}"
            assert numbers(one) == pytest.approx(numbers(other), abs=1e-9), f"seed {seed}"


@pytest.mark.parametrize("seed", range(12))
def test_any_cutting_gives_the_very_same_state(seed: int) -> None:
    _, search, log_probs = searches(seed)
    whole, state = search.step(log_probs, search.start()), search.start()
    cuts = sorted(np.random.default_rng(seed).integers(0, FRAMES, 5).tolist())
    for start, end in zip([0, *cuts], [*cuts, FRAMES], strict=True):
        kept = state
        state = search.step(log_probs[start:end], kept)
        assert (search.step(log_probs[start:end], kept).rows == state.rows).all()  # a step leaves its state as it was
        search.best(state)
    assert (state.rows == whole.rows).all()
    assert (state.log_scale, state.num_frames) == (whole.log_scale, whole.num_frames)
    assert search.finish(state, 1000) == search.finish(whole, 1000)


def test_a_stream_may_go_on_in_two_ways() -> None:
    _, search, log_probs = searches(1)
    common = search.step(log_probs[:10], search.start())
    first = search.finish(search.step(log_probs[10:20], common))
    search.finish(search.step(log_probs[20:], common))
    assert search.finish(search.step(log_probs[10:20], common)) == first


def test_a_long_recording_loses_no_precision() -> None:
    plain, search, _ = searches(6)
    log_probs = np.concatenate([log_probs_of(LETTERS, seed) for seed in range(40)])
    expected = plain.finish(plain.step(log_probs, plain.start()))[0]
    found = search.finish(search.step(log_probs, search.start()))[0]
    assert found.text == expected.text
    assert found.score == pytest.approx(expected.score, abs=1e-6)
    assert found.score < -700  # a plain product of probabilities would be 0


def test_a_tree_of_many_labels_finds_children_without_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    lexicon = lexicon_of(LETTERS, 3)
    with_table = LexiconTree(lexicon, LETTERS)
    monkeypatch.setattr("recitative.decoding.lexicon_tree.LARGEST_TABLE", 0)
    without = LexiconTree(lexicon, LETTERS)
    nodes, labels = (axis.ravel() for axis in np.mgrid[0 : with_table.nodes + 1, 0 : len(LETTERS)])
    assert (with_table.child(nodes, labels) == without.child(nodes, labels)).all()
    assert (without.child(nodes, labels) >= 0).sum() == with_table.nodes - 1 + 2  # and the space, after a word or none
