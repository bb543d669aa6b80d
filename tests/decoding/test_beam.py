"""Prefix beam search against brute force and a plain one; lexicon, language model, streams, sentence pieces."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oracles.prefix_search import all_labellings, prefix_search
from recitative.decoding.beam import BeamSearch
from recitative.decoding.hotwords import HotWord, HotWords
from recitative.decoding.prefix import SearchSpace
from recitative.text.lexicon import Lexicon
from recitative.text.tokens import TokenTable

LETTERS = TokenTable(("<blank>", " ", "a", "b", "c"))
PHONES = TokenTable(("<blank>", "AA", "B", "K"))
EVERYTHING = {"beam": 10**6, "token_beam": math.inf, "score_beam": 700.0}


def random_log_probs(frames: int, tokens: int, seed: int, sharpness: float = 2.0) -> np.ndarray:
    logits = sharpness * np.random.default_rng(seed).standard_normal((frames, tokens))
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


def search(log_probs, tokens=LETTERS, *, space=None, **options):
    beam = BeamSearch(space or SearchSpace(tokens), **(EVERYTHING | options))
    return beam.finish(beam.step(log_probs, beam.start()), count=10**6)


class Bigrams:
    """P(word | word before) from a table; the rest is ``other``."""

    def __init__(self, table, other=-5.0):
        self.table, self.other = table, other

    def start(self):
        return "<s>"

    def score(self, state, word):
        return self.table.get((state, word), self.other), word

    def finish(self, state):
        return self.table.get((state, "</s>"), -1.0)

    def knows(self, word):
        return any(word in pair for pair in self.table)


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("tokens", [2, 3, 4, 5, 6])
def test_at_full_width_it_finds_the_best_labelling_that_brute_force_finds(frames: int, tokens: int) -> None:
    table = TokenTable(("<blank>", *"abcdefg"[: tokens - 1]))
    if tokens**frames > 20000:
        frames = 5
    for seed in range(3):
        log_probs = random_log_probs(frames, tokens, seed)
        scores = all_labellings(log_probs)
        best = search(log_probs, table)[0]
        assert best.labels == max(scores, key=scores.__getitem__)
        assert best.score == pytest.approx(max(scores.values()), abs=1e-9)


def test_every_labelling_gets_the_sum_over_all_its_paths() -> None:
    log_probs = random_log_probs(4, 3, 0)
    found = search(log_probs, TokenTable(("<blank>", "a", "b")))
    scores = all_labellings(log_probs)
    assert len(found) == len(scores)
    for hypothesis in found:
        assert hypothesis.acoustic == pytest.approx(scores[hypothesis.labels], abs=1e-9)
    assert sum(math.exp(hypothesis.acoustic) for hypothesis in found) == pytest.approx(1.0)
    assert sum(hypothesis.posterior for hypothesis in found) == pytest.approx(1.0)


@given(seed=st.integers(0, 10**6), frames=st.integers(1, 30), beam=st.integers(1, 20))
@settings(max_examples=60, deadline=None)
def test_at_any_width_it_agrees_with_the_plain_search(seed: int, frames: int, beam: int) -> None:
    log_probs = random_log_probs(frames, 5, seed, 3.0)
    table = TokenTable(("<blank>", *"abcd"))
    best_labels, best_score = prefix_search(log_probs, beam)[0]
    best = search(log_probs, table, beam=beam)[0]
    assert best.score == pytest.approx(best_score, abs=1e-6)
    assert best.labels == best_labels


@given(seed=st.integers(0, 10**6), cuts=st.lists(st.integers(0, 40), max_size=6))
@settings(max_examples=40, deadline=None)
def test_any_cutting_gives_the_very_same_state(seed: int, cuts: list[int]) -> None:
    log_probs = random_log_probs(40, 5, seed, 4.0)
    log_probs[seed % 40 :, 0] += 9.0  # frames of nothing but blank as well
    log_probs -= np.logaddexp.reduce(log_probs, axis=1, keepdims=True)
    lexicon = Lexicon.of_spelling(["a", "ab", "cab", "bb"], LETTERS)
    space = SearchSpace(LETTERS, lexicon=lexicon, lm=Bigrams({("<s>", "a"): -0.5}), lm_weight=0.7, word_bonus=0.3)
    beam = BeamSearch(space, beam=8, token_beam=8.0, score_beam=12.0)
    whole = beam.finish(beam.step(log_probs, beam.start()), count=8)
    state = beam.start()
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), 40], strict=True):
        kept = state
        state = beam.step(log_probs[start:end], state)
        assert beam.step(log_probs[start:end], kept) == state or math.isnan(state.log_scale)
        beam.best(state)
    assert beam.finish(state, count=8) == whole


def test_a_stream_may_go_on_in_two_ways() -> None:
    table = TokenTable(("<blank>", "a", "b"))
    beam = BeamSearch(SearchSpace(table))
    common = beam.step(random_log_probs(5, 3, 1), beam.start())
    one, other = random_log_probs(5, 3, 2), random_log_probs(5, 3, 3)
    first = beam.finish(beam.step(one, common))
    beam.finish(beam.step(other, common))
    assert beam.finish(beam.step(one, common)) == first


def test_words_are_told_with_their_labels_and_the_frames_on_which_those_begin() -> None:
    path = [0, 2, 2, 0, 3, 0, 1, 0, 0, 4, 0]  # "ab c"
    best = search(spoken(path, 5), beam=8)[0]
    assert best.text == "ab c"
    assert best.labels == (2, 3, 1, 4)
    assert [(w.word, w.begin, w.end) for w in best.words] == [("ab", 0, 2), ("c", 3, 4)]


def spoken(path, tokens: int, certainty: float = 0.9) -> np.ndarray:
    probs = np.full((len(path), tokens), (1 - certainty) / (tokens - 1))
    probs[np.arange(len(path)), path] = certainty
    return np.log(probs)


def test_with_a_lexicon_only_its_words_are_written() -> None:
    log_probs = spoken([2, 0, 4, 0, 1, 3], 5)  # "ac b"
    lexicon = Lexicon.of_spelling(["ab", "b", "a"], LETTERS)
    best = search(log_probs, space=SearchSpace(LETTERS, lexicon=lexicon), beam=50)[0]
    assert set(best.text.split()) <= {"ab", "b", "a"}
    assert best.text == "a b"  # one letter less is nearer than two others


def test_words_of_phones_need_no_space_between_them() -> None:
    lexicon = Lexicon({"bah": (("B", "AA"),), "bahk": (("B", "AA", "K"),), "k": (("K",),)})
    space = SearchSpace(PHONES, lexicon=lexicon)
    found = {h.text: h for h in search(spoken([2, 1, 0, 3, 2, 1], 4), space=space, beam=100)}
    assert found["bahk bah"].acoustic == pytest.approx(found["bah k bah"].acoustic)
    words = found["bah k bah"].words
    assert [(w.begin, w.end) for w in words] == [(0, 2), (2, 3), (3, 5)]


def test_the_language_model_chooses_between_words_that_sound_alike() -> None:
    lexicon = Lexicon({"bah": (("B", "AA"),), "baa": (("B", "AA"),), "k": (("K",),)})
    log_probs = spoken([3, 2, 1], 4)
    for favorite, other in (("bah", "baa"), ("baa", "bah")):
        lm = Bigrams({("<s>", "k"): -1.0, ("k", favorite): -0.5, ("k", other): -2.0})
        space = SearchSpace(PHONES, lexicon=lexicon, lm=lm, lm_weight=1.0)
        found = search(log_probs, space=space, beam=100)
        assert found[0].text == f"k {favorite}"
        second = next(h for h in found if h.text == f"k {other}")
        assert found[0].extra - second.extra == pytest.approx(1.5)


def test_extra_is_the_weighted_language_model_the_bonus_and_the_end() -> None:
    lm = Bigrams({("<s>", "a"): -0.5, ("a", "b"): -0.25, ("b", "</s>"): -0.125})
    space = SearchSpace(LETTERS, lm=lm, lm_weight=2.0, word_bonus=0.75, unknown_score=-7.0)
    found = {h.text: h.extra for h in search(spoken([2, 1, 3], 5), space=space, beam=1000)}
    assert found["a b"] == pytest.approx(2.0 * (-0.5 - 0.25 - 0.125) + 2 * 0.75)
    assert found["c b"] == pytest.approx(2.0 * (-7.0 - 5.0 - 0.125) + 2 * 0.75)


def test_look_ahead_changes_the_order_of_the_search_but_not_the_scores() -> None:
    lexicon = Lexicon.of_spelling(["ab", "ac", "b"], LETTERS)
    lm = Bigrams({("<s>", "ab"): -3.0, ("<s>", "ac"): -1.0, ("<s>", "b"): -2.0})
    space = SearchSpace(LETTERS, lexicon=lexicon, lm=lm, lm_weight=1.0)
    for hypothesis in search(spoken([2, 3], 5, 0.6), space=space, beam=1000):
        if len(hypothesis.words) == 1:
            word = hypothesis.words[0].word
            assert hypothesis.extra == pytest.approx(lm.score("<s>", word)[0] + lm.finish(word))


def test_a_recording_that_ends_within_a_word_keeps_the_words_before_and_says_so() -> None:
    lexicon = Lexicon({"bak": (("B", "AA", "K"),)})
    found = search(spoken([2, 1, 3, 0, 2, 1], 4, 0.999999), space=SearchSpace(PHONES, lexicon=lexicon), beam=1)
    assert [(h.text, h.whole) for h in found] == [("bak", False)]


def test_words_of_a_word_table_are_scored_at_once() -> None:
    table = TokenTable(("<blank>", " one", " two"))
    lm = Bigrams({("<s>", "one"): -0.5, ("one", "two"): -0.5})
    space = SearchSpace(table, lm=lm, lm_weight=1.0)
    best = search(spoken([1, 0, 2], 3), space=space, beam=20)[0]
    assert best.text == "one two"
    assert best.extra == pytest.approx(-2.0)


def test_silence_alone_is_an_empty_hypothesis() -> None:
    assert search(spoken([0, 0, 0], 5, 0.999), beam=4)[0].text == ""
    assert search(np.zeros((0, 5)), beam=4)[0].text == ""


def test_masses_survive_hours_without_a_pause() -> None:
    log_probs = np.log(np.full((20000, 3), 1 / 3))
    table = TokenTable(("<blank>", "a", "b"))
    beam = BeamSearch(SearchSpace(table), beam=4)
    state = beam.step(log_probs, beam.start())
    assert state.entries[0][1] + state.entries[0][2] > 0
    assert math.isfinite(beam.finish(state)[0].score)


def test_the_best_prefix_shows_the_letters_of_a_word_that_goes_on() -> None:
    beam = BeamSearch(SearchSpace(LETTERS))
    state = beam.step(spoken([2, 3, 1, 4], 5), beam.start())
    assert beam.best(state).text == "ab c"


PIECES = TokenTable.of_pieces({" ": -3.0, "a": -2.0, "b": -2.5, " a": -2.2, " ab": -4.0})
SPACE, A, B, _A, _AB = range(1, 6)
CERTAIN = 1.0 - 1e-5 * (len(PIECES) - 1)


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


def search_pieces(log_probs, space):
    return {hypothesis.text: hypothesis for hypothesis in search(log_probs, space=space)}


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
    log_probs = random_log_probs(4, len(PIECES), seed)
    space = SearchSpace(PIECES, lm=Unigrams(), lm_weight=0.5, word_bonus=0.3, unknown_score=-4.0)
    found = search_pieces(log_probs, space)
    expected = brute_force(log_probs)
    assert found.keys() == expected.keys()
    for text, hypothesis in found.items():
        assert hypothesis.score == pytest.approx(expected[text], abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_a_lexicon_writes_its_words_in_their_best_pieces(seed):
    log_probs = random_log_probs(5, len(PIECES), seed)
    lexicon = Lexicon.of_spelling(["a", "ab", "ba"], PIECES)
    found = search_pieces(log_probs, SearchSpace(PIECES, lexicon=lexicon, lm=Unigrams(), lm_weight=0.5, word_bonus=0.3))
    labellings = all_labellings(log_probs)
    assert {len(text.split()) for text in found} >= {0, 1, 2}
    for text, hypothesis in found.items():
        assert set(text.split()) <= {"a", "ab", "ba"}
        labels = tuple(PIECES.encode(text))
        assert hypothesis.labels == labels
        assert hypothesis.score == pytest.approx(labellings[labels] + extra_of(text.split()), abs=1e-9)


def test_words_of_pieces_have_their_labels_and_the_frames_on_which_those_begin():
    beam = BeamSearch(SearchSpace(PIECES), beam=8)
    state = beam.step(spoken([0, _A, _A, B, 0, SPACE, B, A, 0, _AB], len(PIECES), CERTAIN), beam.start())
    for best in (beam.best(state), beam.finish(state)[0]):
        assert best.text == "ab ba ab"
        spans = [(w.begin, w.end, w.first_frame, w.last_frame) for w in best.words]
        assert spans == [(0, 2, 1, 3), (3, 5, 6, 7), (5, 6, 9, 9)], "a space alone belongs to no word"


@pytest.mark.parametrize("words", [None, ["a", "bb"]])
def test_a_hot_word_earns_its_weight_once_it_is_whole(words):
    lexicon = Lexicon.of_spelling(words, PIECES) if words else None
    hot = HotWords([HotWord("ba a", 2.0)], PIECES, lexicon)
    space = SearchSpace(PIECES, lexicon=lexicon.with_entries(hot.lexicon) if lexicon else None, hot_words=hot)
    best = search(spoken([SPACE, B, A, 0, _A], len(PIECES), CERTAIN), space=space, beam=10**4)[0]
    assert best.text == "ba a"
    assert best.extra == pytest.approx(4.0)
    found = search_pieces(spoken([SPACE, B, A], len(PIECES), CERTAIN), space)
    assert found["ba"].extra == pytest.approx(0.0), "a phrase that breaks off gives everything back"
