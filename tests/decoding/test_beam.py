"""Beam search against brute force and a plain prefix search; lexicon, language model, hot words, streams, pieces."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oracles.prefix_search import PrefixSearch, all_labelings
from recitative.decoding.beam import BeamSearch
from recitative.decoding.hotwords import Grammar, HotWord, HotWords
from recitative.decoding.hypotheses import Hypothesis
from recitative.decoding.lexicon_tree import LexiconTree
from recitative.lm.arpa import UNKNOWN
from recitative.lm.estimate import estimate
from recitative.lm.ngram import NgramModel
from recitative.text.tokens import Lexicon, TokenTable

LETTERS = TokenTable(("<blank>", " ", "a", "b", "c"))
PHONES = TokenTable(("<blank>", "AA", "B", "K", "T"))
PIECES = TokenTable.of_pieces({" ": -3.0, "a": -2.0, "b": -2.5, " a": -2.2, " ab": -4.0})
SPACE, A, B, _A, _AB = range(1, 6)
CERTAIN = 1.0 - 1e-5 * (len(PIECES) - 1)
EVERYTHING = {"beam": 10**6, "token_beam": math.inf, "score_beam": 700.0}
WORDS = tuple(f"w{number}" for number in range(12))
SENTENCES = Grammar("w1 (w2|w3) [w4]\nw5 w6")


def random_log_probs(frames: int, tokens: int, seed: int, sharpness: float = 2.0, silence: float = 0.0) -> np.ndarray:
    """silence: the part of the frames that have nothing but the blank."""
    rng = np.random.default_rng(seed)
    logits = sharpness * rng.standard_normal((frames, tokens))
    logits[rng.random(frames) < silence, 0] += 9
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


def spoken(path: list[int], tokens: int, certainty: float = 0.9) -> np.ndarray:
    probs = np.full((len(path), tokens), (1 - certainty) / (tokens - 1))
    probs[np.arange(len(path)), path] = certainty
    return np.log(probs)


def search(log_probs, tokens=LETTERS, lexicon=None, **options) -> list[Hypothesis]:
    beam = BeamSearch(tokens, lexicon, **(EVERYTHING | options))
    return beam.finish(beam.step(log_probs, beam.start()), count=10**6)


class Bigrams:
    """P(word | word before) from a table; the rest is ``other``. Its states are words."""

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


def lexicon_of(tokens: TokenTable, seed: int) -> Lexicon:
    """Short words: many sound alike or are the beginnings of others, and some have two pronunciations."""
    rng = np.random.default_rng(seed)
    symbols = [symbol for symbol in tokens.symbols[1:] if symbol != " "]
    ways = [{tuple(rng.choice(symbols, rng.integers(1, 5)).tolist()) for _ in range(rng.integers(1, 3))} for _ in WORDS]
    return Lexicon({word: tuple(sorted(some)) for word, some in zip(WORDS, ways, strict=True)})


def random_problem(seed: int, lexical: bool) -> tuple[dict[str, object], np.ndarray]:
    """Tokens, lexicon, language model, hot words, weights and beams change with the seed."""
    rng = np.random.default_rng(seed)
    tokens = (LETTERS, PIECES, PHONES)[seed % (3 if lexical else 2)]
    lexicon = lexicon_of(tokens, seed) if lexical else None
    words = WORDS[:10] if lexical else ("a", "b", "ab", "ba")
    lines = [" ".join(rng.choice(words, rng.integers(1, 6))) for _ in range(30)]
    ngrams = NgramModel.of(estimate([*lines, f"{words[1]} {UNKNOWN}"], int(rng.integers(2, 4))).table)
    pair = (words[1], words[2])
    lm = (None, ngrams, Bigrams({("<s>", words[1]): -0.5, pair: -0.3, (words[3], "</s>"): -0.5}), ngrams, SENTENCES)[
        seed % (5 if lexical else 4)
    ]
    if lm is SENTENCES:
        lexicon = lexicon.only(SENTENCES.words)
    hot_words = None
    if seed % 4 == 0:
        phrases = ("w2",) if lm is SENTENCES else (" ".join(pair), words[3])
        hot_words = HotWords([HotWord(phrase, 2.0) for phrase in phrases], tokens, lexicon)
        lexicon = lexicon.with_entries(hot_words.lexicon) if lexicon else None
    options = {
        "tokens": tokens,
        "lexicon": lexicon,
        "lm": lm,
        "hot_words": hot_words,
        "lm_weight": 1.0 if lm is SENTENCES else 0.7,
        "word_bonus": float(rng.choice([0.0, 0.5, -1.0])),
        "unknown_score": -4.0,
        "beam": int(rng.choice([1, 4, 16, 100])),
        "token_beam": float(rng.choice([4.0, 8.0, math.inf])),
        "score_beam": float(rng.choice([6.0, 12.0, 700.0])),
    }
    return options, random_log_probs(24, len(tokens), seed, 3.0, 0.3)


@pytest.mark.parametrize("lexical", [True, False])
@pytest.mark.parametrize("block", range(4))
def test_it_finds_what_the_search_by_definition_finds(block: int, lexical: bool) -> None:
    for seed in range(20 * block, 20 * block + 20):
        options, log_probs = random_problem(seed, lexical)
        oracle, beam = PrefixSearch(**options), BeamSearch(**options)
        expected, state = oracle.run(log_probs), beam.step(log_probs, beam.start())
        whole = {}
        for steps, (in_blank, in_label, frames) in expected.items():
            acoustic, extra = math.log(in_blank + in_label) - oracle.extra(steps), oracle.finish(steps)
            if extra > -math.inf:
                words = (*oracle.words(steps), *filter(None, [oracle.open_text(steps)]))
                labels = tuple(label for label, _ in steps)
                whole.setdefault(words, []).append((acoustic + extra, labels, frames))
        found = {tuple(word.word for word in h.words): h for h in beam.finish(state, 1000) if h.whole}
        assert found.keys() == whole.keys(), f"seed {seed}"
        total = np.logaddexp.reduce([score for same in whole.values() for score, *_ in same] or [0.0])
        for words, same in whole.items():
            score, best = np.logaddexp.reduce([score for score, *_ in same]), max(same, key=lambda one: one[0])
            assert found[words].score == pytest.approx(score, abs=1e-9), f"seed {seed}"
            assert found[words].score == pytest.approx(found[words].acoustic + found[words].extra)
            assert found[words].posterior == pytest.approx(math.exp(score - total), abs=1e-9)
            assert found[words].labels == best[1]
            spans = [(best[2][w.begin], best[2][w.end - 1]) for w in found[words].words]
            assert [(w.first_frame, w.last_frame) for w in found[words].words] == spans


@pytest.mark.parametrize("lexical", [True, False])
@pytest.mark.parametrize("seed", range(12))
def test_the_best_of_a_stream_says_what_all_hypotheses_share(seed: int, lexical: bool) -> None:
    options, log_probs = random_problem(seed, lexical)
    oracle, beam = PrefixSearch(**options), BeamSearch(**options)
    rows = oracle.run(log_probs)
    best, closed = beam.best(beam.step(log_probs, beam.start())), [oracle.words(steps) for steps in rows]
    so_far = [[*oracle.words(steps), *filter(None, [oracle.open_text(steps)])] for steps in rows]
    assert best.text.split() == so_far[0]
    masses = [in_blank + in_label for in_blank, in_label, _ in rows.values()]
    assert best.stable == max(n for n in range(len(closed[0]) + 1) if all(c[:n] == closed[0][:n] for c in closed))
    for n, share in enumerate(best.shares, start=1):
        same = [mass for mass, words in zip(masses, so_far, strict=True) if words[:n] == so_far[0][:n]]
        assert share == pytest.approx(sum(same) / sum(masses))


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("tokens", [2, 3, 4, 5, 6])
def test_at_full_width_it_finds_the_best_labeling_that_brute_force_finds(frames: int, tokens: int) -> None:
    table = TokenTable(("<blank>", *"abcdefg"[: tokens - 1]))
    if tokens**frames > 20000:
        frames = 5
    for seed in range(3):
        log_probs = random_log_probs(frames, tokens, seed)
        scores = all_labelings(log_probs)
        best = search(log_probs, table)[0]
        assert best.labels == max(scores, key=scores.__getitem__)
        assert best.score == pytest.approx(max(scores.values()), abs=1e-9)


def test_every_labeling_gets_the_sum_over_all_its_paths() -> None:
    log_probs = random_log_probs(4, 3, 0)
    found = search(log_probs, TokenTable(("<blank>", "a", "b")))
    scores = all_labelings(log_probs)
    assert len(found) == len(scores)
    for hypothesis in found:
        assert hypothesis.acoustic == pytest.approx(scores[hypothesis.labels], abs=1e-9)
    assert sum(math.exp(hypothesis.acoustic) for hypothesis in found) == pytest.approx(1.0)
    assert sum(hypothesis.posterior for hypothesis in found) == pytest.approx(1.0)


@given(seed=st.integers(0, 23), lexical=st.booleans(), cuts=st.lists(st.integers(0, 24), max_size=6))
@settings(max_examples=50, deadline=None)
def test_any_cutting_gives_the_very_same_state(seed: int, lexical: bool, cuts: list[int]) -> None:
    options, log_probs = random_problem(seed, lexical)
    beam = BeamSearch(**options)
    whole, state = beam.step(log_probs, beam.start()), beam.start()
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), 24], strict=True):
        kept = state
        state = beam.step(log_probs[start:end], kept)
        assert (beam.step(log_probs[start:end], kept).rows == state.rows).all()  # a step leaves its state as it was
        beam.best(state)
    assert (state.rows == whole.rows).all()
    assert (state.log_scale, state.num_frames) == (whole.log_scale, whole.num_frames)
    assert beam.finish(state, 1000) == beam.finish(whole, 1000)


def test_a_history_keeps_its_own_columns_only() -> None:
    search = BeamSearch(LETTERS, beam=8)
    records = search.step(random_log_probs(9, len(LETTERS), 0), search.start()).records
    while records.before:
        assert all(column.base is None for column in (records.parent, records.label, records.word, records.last_word))
        records = records.before


def test_masses_survive_minutes_without_a_pause() -> None:
    log_probs = np.log(np.full((5000, 3), 1 / 3))
    beam = BeamSearch(TokenTable(("<blank>", "a", "b")), beam=4)
    assert -math.inf < beam.finish(beam.step(log_probs, beam.start()))[0].score < -700  # a plain product would be 0


def test_a_tree_of_many_labels_finds_children_without_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    lexicon = lexicon_of(LETTERS, 3)
    with_table = LexiconTree(lexicon, LETTERS)
    monkeypatch.setattr("recitative.decoding.lexicon_tree.LARGEST_TABLE", 0)
    without = LexiconTree(lexicon, LETTERS)
    nodes, labels = (axis.ravel() for axis in np.mgrid[0 : with_table.nodes + 1, 0 : len(LETTERS)])
    assert (with_table.child(nodes, labels) == without.child(nodes, labels)).all()
    assert (without.child(nodes, labels) >= 0).sum() == with_table.nodes - 1 + 2  # and the space, after a word or none


def test_with_a_lexicon_only_its_words_are_written() -> None:
    log_probs = spoken([2, 0, 4, 0, 1, 3], 5)  # "ac b"
    lexicon = Lexicon.of_spelling(["ab", "b", "a"], LETTERS)
    best = search(log_probs, lexicon=lexicon, beam=50)[0]
    assert set(best.text.split()) <= {"ab", "b", "a"}
    assert best.text == "a b"  # one letter less is nearer than two others


def test_words_of_phones_need_no_space_between_them() -> None:
    lexicon = Lexicon({"bah": (("B", "AA"),), "bahk": (("B", "AA", "K"),), "k": (("K",),)})
    found = {h.text: h for h in search(spoken([2, 1, 0, 3, 2, 1], 5), PHONES, lexicon, beam=100)}
    assert found["bahk bah"].acoustic == pytest.approx(found["bah k bah"].acoustic)
    words = found["bah k bah"].words
    assert [(w.begin, w.end) for w in words] == [(0, 2), (2, 3), (3, 5)]


def test_the_language_model_chooses_between_words_that_sound_alike() -> None:
    lexicon = Lexicon({"bah": (("B", "AA"),), "baa": (("B", "AA"),), "k": (("K",),)})
    log_probs = spoken([3, 2, 1], 5)
    for favorite, other in (("bah", "baa"), ("baa", "bah")):
        lm = Bigrams({("<s>", "k"): -1.0, ("k", favorite): -0.5, ("k", other): -2.0})
        found = search(log_probs, PHONES, lexicon, lm=lm, lm_weight=1.0, beam=100)
        assert found[0].text == f"k {favorite}"
        second = next(h for h in found if h.text == f"k {other}")
        assert found[0].extra - second.extra == pytest.approx(1.5)


def test_extra_is_the_weighted_language_model_the_bonus_and_the_end() -> None:
    lm = Bigrams({("<s>", "a"): -0.5, ("a", "b"): -0.25, ("b", "</s>"): -0.125})
    options = {"lm": lm, "lm_weight": 2.0, "word_bonus": 0.75, "unknown_score": -7.0, "beam": 1000}
    found = {h.text: h.extra for h in search(spoken([2, 1, 3], 5), **options)}
    assert found["a b"] == pytest.approx(2.0 * (-0.5 - 0.25 - 0.125) + 2 * 0.75)
    assert found["c b"] == pytest.approx(2.0 * (-7.0 - 5.0 - 0.125) + 2 * 0.75)


def test_look_ahead_changes_the_order_of_the_search_but_not_the_scores() -> None:
    lexicon = Lexicon.of_spelling(["ab", "ac", "b"], LETTERS)
    lm = Bigrams({("<s>", "ab"): -3.0, ("<s>", "ac"): -1.0, ("<s>", "b"): -2.0})
    for hypothesis in search(spoken([2, 3], 5, 0.6), lexicon=lexicon, lm=lm, lm_weight=1.0, beam=1000):
        if len(hypothesis.words) == 1:
            word = hypothesis.words[0].word
            assert hypothesis.extra == pytest.approx(lm.score("<s>", word)[0] + lm.finish(word))


def test_words_of_a_word_table_are_scored_at_once() -> None:
    table = TokenTable(("<blank>", " one", " two"))
    lm = Bigrams({("<s>", "one"): -0.5, ("one", "two"): -0.5})
    best = search(spoken([1, 0, 2], 3), table, lm=lm, lm_weight=1.0, beam=20)[0]
    assert best.text == "one two"
    assert best.extra == pytest.approx(-2.0)


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


def search_pieces(log_probs, **options):
    return {hypothesis.text: hypothesis for hypothesis in search(log_probs, PIECES, **options)}


def extra_of(words):
    lm, total = Unigrams(), 0.0
    for word in words:
        total += 0.3 + 0.5 * (lm.score(0, word)[0] if lm.knows(word) else -4.0)
    return total + 0.5 * lm.finish(len(words))


def brute_force(log_probs):
    """Words -> ln of the sum over all labelings that spell them, and what the language model says."""
    totals = {}
    for labels, score in all_labelings(log_probs).items():
        totals.setdefault(" ".join(PIECES.decode(labels).split()), []).append(score)
    return {text: np.logaddexp.reduce(scores) + extra_of(text.split()) for text, scores in totals.items()}


@pytest.mark.parametrize("seed", range(3))
def test_without_a_lexicon_every_text_gets_the_sum_over_all_ways_to_cut_it(seed):
    log_probs = random_log_probs(4, len(PIECES), seed)
    found = search_pieces(log_probs, lm=Unigrams(), lm_weight=0.5, word_bonus=0.3, unknown_score=-4.0)
    expected = brute_force(log_probs)
    assert found.keys() == expected.keys()
    for text, hypothesis in found.items():
        assert hypothesis.score == pytest.approx(expected[text], abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_a_lexicon_writes_its_words_in_their_best_pieces(seed):
    log_probs = random_log_probs(5, len(PIECES), seed)
    lexicon = Lexicon.of_spelling(["a", "ab", "ba"], PIECES)
    found = search_pieces(log_probs, lexicon=lexicon, lm=Unigrams(), lm_weight=0.5, word_bonus=0.3)
    labelings = all_labelings(log_probs)
    assert {len(text.split()) for text in found} >= {0, 1, 2}
    for text, hypothesis in found.items():
        assert set(text.split()) <= {"a", "ab", "ba"}
        labels = tuple(PIECES.encode(text))
        assert hypothesis.labels == labels
        assert hypothesis.score == pytest.approx(labelings[labels] + extra_of(text.split()), abs=1e-9)


def test_words_of_pieces_have_their_labels_and_the_frames_on_which_those_begin():
    beam = BeamSearch(PIECES, beam=8)
    state = beam.step(spoken([0, _A, _A, B, 0, SPACE, B, A, 0, _AB], len(PIECES), CERTAIN), beam.start())
    for best in (beam.best(state), beam.finish(state)[0]):
        assert best.text == "ab ba ab"
        spans = [(w.begin, w.end, w.first_frame, w.last_frame) for w in best.words]
        assert spans == [(0, 2, 1, 3), (3, 5, 6, 7), (5, 6, 9, 9)], "a space alone belongs to no word"


@pytest.mark.parametrize("words", [None, ["a", "bb"]])
def test_a_hot_word_earns_its_weight_once_it_is_whole(words):
    lexicon = Lexicon.of_spelling(words, PIECES) if words else None
    hot = HotWords([HotWord("ba a", 2.0)], PIECES, lexicon)
    options = {"lexicon": lexicon.with_entries(hot.lexicon) if lexicon else None, "hot_words": hot}
    best = search(spoken([SPACE, B, A, 0, _A], len(PIECES), CERTAIN), PIECES, beam=10**4, **options)[0]
    assert best.text == "ba a"
    assert best.extra == pytest.approx(4.0)
    found = search_pieces(spoken([SPACE, B, A], len(PIECES), CERTAIN), **options)
    assert found["ba"].extra == pytest.approx(0.0), "a phrase that breaks off gives everything back"
