"""Beam search over sentence pieces: with and without a lexicon, against brute force."""

import math

import numpy as np
import pytest

from oracles.prefix_search import all_labellings
from recitative.ctc.beam import BeamSearch
from recitative.ctc.hotwords import HotWord, HotWords
from recitative.ctc.prefix import SearchSpace
from recitative.text.lexicon import Lexicon
from recitative.text.tokens import TokenTable

PIECES = TokenTable.of_pieces({" ": -3.0, "a": -2.0, "b": -2.5, " a": -2.2, " ab": -4.0})
SPACE, A, B, _A, _AB = range(1, 6)


LOG_PROBS = {"a": -0.5, "ab": -1.5, "ba": -2.0}


class Unigrams:
    """P(word), and an end."""

    def start(self):
        return 0

    def score(self, state, word):
        return LOG_PROBS.get(word, -9.0), state + 1

    def finish(self, state):
        return -0.25 * state

    def knows(self, word):
        return word in LOG_PROBS


def random_log_probs(frames, seed):
    logits = 2.0 * np.random.default_rng(seed).standard_normal((frames, len(PIECES)))
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


def search(log_probs, space):
    beam = BeamSearch(space, beam=10**6, token_beam=math.inf, score_beam=700.0)
    return {hypothesis.text: hypothesis for hypothesis in beam.finish(beam.step(log_probs, beam.start()), count=10**6)}


def extra_of(words):
    lm, total = Unigrams(), 0.0
    for word in words:
        total += 0.3 + 0.5 * (lm.score(0, word)[0] if lm.knows(word) else -4.0)
    return total + 0.5 * lm.finish(len(words))


def brute_force(log_probs):
    """Words -> ln of the sum over all labellings that spell them, and what the language model says."""
    totals = {}
    for labels, score in all_labellings(log_probs).items():
        totals.setdefault(" ".join(PIECES.decode(labels).split()), []).append(score)
    return {text: np.logaddexp.reduce(scores) + extra_of(text.split()) for text, scores in totals.items()}


@pytest.mark.parametrize("seed", range(3))
def test_without_a_lexicon_every_text_gets_the_sum_over_all_ways_to_cut_it(seed):
    log_probs = random_log_probs(4, seed)
    space = SearchSpace(PIECES, lm=Unigrams(), lm_weight=0.5, word_bonus=0.3, unknown_score=-4.0)
    found = search(log_probs, space)
    expected = brute_force(log_probs)
    assert found.keys() == expected.keys()
    for text, hypothesis in found.items():
        assert hypothesis.score == pytest.approx(expected[text], abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_a_lexicon_writes_its_words_in_their_best_pieces(seed):
    log_probs = random_log_probs(5, seed)
    lexicon = Lexicon.of_spelling(["a", "ab", "ba"], PIECES)
    found = search(log_probs, SearchSpace(PIECES, lexicon=lexicon, lm=Unigrams(), lm_weight=0.5, word_bonus=0.3))
    labellings = all_labellings(log_probs)
    assert {len(text.split()) for text in found} >= {0, 1, 2}
    for text, hypothesis in found.items():
        assert set(text.split()) <= {"a", "ab", "ba"}
        labels = tuple(PIECES.encode(text))
        assert hypothesis.labels == labels
        assert hypothesis.score == pytest.approx(labellings[labels] + extra_of(text.split()), abs=1e-9)


def spoken(path):
    probs = np.full((len(path), len(PIECES)), 1e-5)
    probs[np.arange(len(path)), path] = 1.0 - 1e-5 * (len(PIECES) - 1)
    return np.log(probs)


def test_words_are_told_with_their_labels_and_the_frames_on_which_those_begin():
    beam = BeamSearch(SearchSpace(PIECES), beam=8)
    state = beam.step(spoken([0, _A, _A, B, 0, SPACE, B, A, 0, _AB]), beam.start())
    for best in (beam.best(state), beam.finish(state)[0]):
        assert best.text == "ab ba ab"
        spans = [(w.begin, w.end, w.first_frame, w.last_frame) for w in best.words]
        assert spans == [(0, 2, 1, 3), (3, 5, 6, 7), (5, 6, 9, 9)], "a space alone belongs to no word"


@pytest.mark.parametrize("words", [None, ["a", "bb"]])
def test_a_hot_word_earns_its_weight_once_it_is_whole(words):
    lexicon = Lexicon.of_spelling(words, PIECES) if words else None
    hot = HotWords([HotWord("ba a", 2.0)], PIECES, lexicon)
    space = SearchSpace(PIECES, lexicon=lexicon.with_entries(hot.lexicon) if lexicon else None, hot_words=hot)
    beam = BeamSearch(space, beam=10**4, token_beam=math.inf, score_beam=700.0)
    best = beam.finish(beam.step(spoken([SPACE, B, A, 0, _A]), beam.start()))[0]
    assert best.text == "ba a"
    assert best.extra == pytest.approx(4.0)
    found = {h.text: h for h in beam.finish(beam.step(spoken([SPACE, B, A]), beam.start()), count=10**4)}
    assert found["ba"].extra == pytest.approx(0.0), "a phrase that breaks off gives everything back"
