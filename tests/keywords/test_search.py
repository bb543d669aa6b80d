"""Keyword search against a sum over all paths, however the stream is cut, in constant memory."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from recitative.keywords.search import Keyword, PhraseSearch, WordEdges

SPACE, A, B = 1, 2, 3
EVERYTHING = 1e-30  # a threshold
SPACED = WordEdges((SPACE,), before=True, silence_frames=2)


def frames(count, tokens, seed):
    return np.log(np.random.default_rng(seed).dirichlet(np.ones(tokens), count))


def runs_of(path):
    """(token, begin, end) of every run that is no blank."""
    runs, begin = [], 0
    for token, group in itertools.groupby(path):
        end = begin + len(list(group))
        runs += [(token, begin, end)] if token else []
        begin = end
    return runs


def begins_at_an_edge(path, runs, first, edges):
    """Whether run number ``first`` of a path stands behind a space, silence, or nothing."""
    begin = runs[first][1]
    silent = begin >= edges.silence_frames and not any(path[begin - edges.silence_frames : begin])
    return first == 0 or runs[first - 1][0] in edges.starts or silent


def phrase_at(path, labels, edges):
    """The end of the phrase if it is what the path has written last, as a word where words have edges; else None."""
    runs = runs_of(path)
    first = len(runs) - len(labels)
    if first < 0 or tuple(token for token, _, _ in runs[first:]) != labels:
        return None
    if edges and edges.before and not begins_at_an_edge(path, runs, first, edges):
        return None
    return runs[-1][2]


def total(log_probs, is_meant):
    """The probability of all paths that are meant."""
    tokens = range(log_probs.shape[1])
    paths = (path for path in itertools.product(tokens, repeat=len(log_probs)) if is_meant(path))
    return sum(math.exp(sum(log_probs[t, token] for t, token in enumerate(path))) for path in paths)


def found(log_probs, labels, edges):
    """(frames seen, probability) of every candidate, and those of the end."""
    search = PhraseSearch([Keyword("x", (labels,))], [EVERYTHING], edges=edges)
    candidates, state = search.step(log_probs, search.start())
    return [(c.seen, math.exp(-c.cost)) for c in candidates], [math.exp(-c.cost) for c in search.finish(state)]


@pytest.mark.parametrize("labels", [(A,), (A, B), (A, A), (A, B, A)])
def test_the_probability_within_words_is_the_sum_over_all_paths_that_just_wrote_the_phrase(labels) -> None:
    log_probs = frames(6, 4, seed=len(labels))
    slow = [
        (t, total(log_probs[:t], lambda path, t=t: path[-1] != 0 and phrase_at(path, labels, None) == t))
        for t in range(1, 7)
    ]
    fast, at_the_end = found(log_probs, labels, None)
    assert fast == [(t, pytest.approx(p, rel=1e-9)) for t, p in slow if p]
    assert at_the_end == []


@pytest.mark.parametrize("labels", [(A,), (A, B), (A, SPACE, A), (B, B)])
def test_between_edges_it_is_the_sum_over_all_paths_with_a_space_or_silence_on_either_side(labels) -> None:
    log_probs = frames(6, 4, seed=10 + len(labels))
    slow = []
    for t in range(1, 7):

        def is_followed(path, t=t):
            runs = runs_of(path)
            return path[-1] == SPACE and phrase_at(path[: runs[-1][1]], labels, SPACED) is not None

        def is_silent(path, t=t):
            return t >= 2 and not any(path[-2:]) and phrase_at(path, labels, SPACED) == t - 2

        slow += [(t, total(log_probs[:t], is_meant)) for is_meant in (is_followed, is_silent)]
    at_the_end = total(log_probs, lambda path: phrase_at(path, labels, SPACED) is not None)
    fast, last = found(log_probs, labels, SPACED)
    assert fast == [(t, pytest.approx(p, rel=1e-9)) for t, p in slow if p]
    assert last == [pytest.approx(at_the_end, rel=1e-9)]


def test_a_piece_that_goes_on_is_no_new_word() -> None:
    pieces = WordEdges((1, 2), before=False, silence_frames=9)  # 1, 2: begin words; 3: goes on
    held = np.log([[0.01, 0.01, 0.97, 0.01]] * 4)
    assert max(p for _, p in found(held, (2,), pieces)[0]) < 0.1
    followed = np.log([[0.01, 0.01, 0.97, 0.01], [0.01, 0.97, 0.01, 0.01]])
    assert max(p for _, p in found(followed, (2,), pieces)[0]) > 0.9
    longer = np.log([[0.01, 0.01, 0.97, 0.01], [0.01, 0.01, 0.01, 0.97]])
    assert max(p for _, p in found(longer, (2,), pieces)[0]) < 0.1


def spelled(path, certainty=0.97):
    """Log probabilities (T, 4) of a path that the model is sure of."""
    return np.log(np.eye(4)[list(path)] * (certainty - (1 - certainty) / 3) + (1 - certainty) / 3)


def test_a_word_is_not_found_within_a_longer_one() -> None:
    within = spelled([A, 0, B, 0, SPACE, 0, A, SPACE])
    seen = [t for t, p in found(within, (A,), SPACED)[0] if p > 0.5]
    assert seen == [8]
    assert [t for t, p in found(within, (A,), None)[0] if p > 0.5] == [1, 7]


def test_the_span_is_that_of_the_labels() -> None:
    search = PhraseSearch([Keyword("ab", ((A, B),))], [0.5], edges=SPACED)
    path = [B, SPACE, 0, A, 0, B, B, 0, SPACE, 0]
    candidates, _ = search.step(spelled(path, 0.99), search.start())
    assert {(c.begin, c.end) for c in candidates} == {(3, 7)}


def all_candidates(search, pieces):
    state, out = search.start(), []
    for piece in pieces:
        more, state = search.step(piece, state)
        out += more
    return out + search.finish(state)


@pytest.mark.parametrize("edges", [None, SPACED])
def test_candidates_do_not_depend_on_how_the_stream_is_cut(edges) -> None:
    keywords = [Keyword("a", ((A,), (B, A)), ((A, B),)), Keyword("ba", ((B, A),)), Keyword("aa", ((A, A),))]
    search = PhraseSearch(keywords, [0.2, 0.3, 0.1], edges=edges, margin=1.0)
    log_probs = frames(300, 4, seed=1)
    whole = all_candidates(search, [log_probs])
    assert len(whole) > 20
    rng = np.random.default_rng(2)
    for _ in range(10):
        places = np.sort(rng.integers(0, 301, 40))
        assert all_candidates(search, np.split(log_probs, places)) == whole


def test_a_step_leaves_the_old_state_as_it_was() -> None:
    search = PhraseSearch([Keyword("ab", ((A, B),))], [0.1], edges=SPACED)
    _, kept = search.step(frames(20, 4, seed=3), search.start())
    once, _ = search.step(frames(20, 4, seed=4), kept)
    again, _ = search.step(frames(20, 4, seed=4), kept)
    assert once == again


def size_of(state):
    return sum(array.nbytes for array in (state.forward.probability, state.forward.span)) + len(state.ended)


def test_a_state_does_not_grow_with_the_stream() -> None:
    search = PhraseSearch([Keyword("ab", ((A, B),))], [0.1], edges=SPACED)
    _, early = search.step(frames(3, 4, seed=5), search.start())
    _, late = search.step(frames(2000, 4, seed=6), early)
    assert size_of(late) == size_of(early)
