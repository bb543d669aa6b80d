"""Forced alignment against the enumeration of every path and against torchaudio's."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from recitative.decoding.hypotheses import align_words
from recitative.errors import DataError


def log_probs_of(frames, tokens, seed):
    x = np.random.default_rng(seed).normal(size=(frames, tokens))
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def forced_alignment(log_probs, labels):
    """The tokens (T,) of one word with one spelling."""
    return align_words(log_probs, [[labels]] if labels else []).tokens


def collapse(path):
    return [token for token, _ in itertools.groupby(path) if token != 0]


def path_score(log_probs, path):
    return log_probs[np.arange(len(path)), list(path)].sum()


def likeliest_path(log_probs, writings):
    """By trying every sequence of tokens: the best one that collapses to one of the label sequences, or None."""
    frames, tokens = log_probs.shape
    paths = itertools.product(range(tokens), repeat=frames)
    return max((p for p in paths if collapse(p) in writings), key=lambda p: path_score(log_probs, p), default=None)


def writings_of(words, separator=None):
    """Every label sequence that says the words, with the alternative that it takes for each."""
    for choice in itertools.product(*(range(len(alternatives)) for alternatives in words)):
        labels = []
        for number, which in enumerate(choice):
            labels += [*([separator] if number and separator else []), *words[number][which]]
        yield labels, choice


def random_labels(rng, tokens, longest):
    return tuple(rng.integers(1, tokens, rng.integers(1, longest + 1)).tolist())


def random_words(rng, *, tokens, words, alternatives, longest):
    counts = rng.integers(1, alternatives + 1, rng.integers(0, words + 1))
    return [[random_labels(rng, tokens, longest) for _ in range(count)] for count in counts]


@pytest.mark.parametrize("seed", range(30))
def test_it_agrees_with_torchaudio_on_random_labels_with_repeats(seed):
    functional = pytest.importorskip("torchaudio.functional")
    rng = np.random.default_rng(seed)
    labels = rng.integers(1, 4, rng.integers(1, 20)).tolist()  # of three labels: every third is a repeat
    frames = len(labels) + sum(a == b for a, b in itertools.pairwise(labels)) + int(rng.integers(0, 30))
    log_probs = log_probs_of(frames, 4, seed)
    theirs, scores = functional.forced_align(torch.tensor(log_probs[None]), torch.tensor([labels]), blank=0)
    path = align_words(log_probs, [[labels]])
    assert path.tokens.tolist() == theirs[0].tolist()
    assert path.log_prob == pytest.approx(float(scores.sum()), abs=1e-9)


@pytest.mark.parametrize("separator", [None, 1])
@pytest.mark.parametrize("seed", range(12))
def test_it_finds_the_likeliest_of_all_paths_through_all_alternatives(seed, separator):
    rng = np.random.default_rng([seed, 1])
    log_probs = log_probs_of(7, 3, seed)  # labels 1 and 2: equal neighbors within and across words are common
    words = random_words(rng, tokens=3, words=3, alternatives=3, longest=2)
    writings = list(writings_of(words, separator))
    expected = likeliest_path(log_probs, [labels for labels, _ in writings])
    if expected is None:
        with pytest.raises(DataError, match="7 frames; at least"):
            align_words(log_probs, words, separator=separator)
        return
    path = align_words(log_probs, words, separator=separator)
    assert path.tokens.tolist() == list(expected)
    assert path.log_prob == pytest.approx(path_score(log_probs, expected))
    taken = tuple(word.alternative for word in path.words)
    assert (collapse(expected), taken) in writings
    assert [run.label for run in path.runs] == collapse(expected)
    for word, alternatives in zip(path.words, words, strict=True):
        assert tuple(run.label for run in word.runs) == alternatives[word.alternative]


@pytest.mark.parametrize("seed", range(20))
def test_words_with_one_alternative_are_their_labels_one_after_another(seed):
    rng = np.random.default_rng([seed, 2])
    words = random_words(rng, tokens=6, words=8, alternatives=1, longest=5)
    log_probs = log_probs_of(120, 6, seed)
    for separator in (None, 1):
        ((labels, _),) = writings_of(words, separator)
        path = align_words(log_probs, words, separator=separator)
        assert path.tokens.tolist() == forced_alignment(log_probs, labels).tolist()


def test_times_and_scores_a_person_can_check():
    said = [0, 2, 2, 0, 3, 0, 1, 2, 0, 0]  # 'ab b', the space is 1
    sure = np.array([0.9, 0.8, 0.4, 0.7, 0.6, 0.9, 0.9, 0.5, 0.9, 0.9])
    probabilities = np.repeat((1 - sure[:, None]) / 3, 4, axis=1)
    probabilities[np.arange(10), said] = sure
    path = align_words(np.log(probabilities), [[(2, 3)], [(3,), (2,)]], separator=1)
    assert path.tokens.tolist() == said
    assert [(run.label, run.begin, run.end) for run in path.runs] == [(2, 1, 3), (3, 4, 5), (1, 6, 7), (2, 7, 8)]
    first, second = path.words
    assert (first.begin, first.end, first.alternative) == (1, 5, 0)
    assert (second.begin, second.end, second.alternative) == (7, 8, 1)
    assert first.log_prob == pytest.approx(np.log([0.8, 0.4, 0.7, 0.6]).mean())
    assert second.log_prob == pytest.approx(np.log(0.5))
    assert first.runs[0].confidence == pytest.approx(0.8)
    assert path.log_prob == pytest.approx(np.log(sure).sum())


def test_of_equally_likely_alternatives_the_first_is_taken():
    log_probs = np.log(np.full((4, 3), 1 / 3))
    assert align_words(log_probs, [[(1,), (2,)]]).words[0].alternative == 0
    assert align_words(log_probs, [[(2,), (1,), (2,)]]).words[0].alternative == 0


def test_no_frames_hold_no_words():
    path = align_words(np.zeros((0, 3)), [])
    assert (path.tokens.tolist(), path.runs, path.words, path.log_prob) == ([], (), (), 0.0)


def test_too_few_frames_are_an_error():
    with pytest.raises(DataError, match="2 frames; at least 3"):
        forced_alignment(log_probs_of(2, 3, seed=1), [1, 1])
    with pytest.raises(DataError, match="2 frames; at least 3"):  # the shortest alternatives, and the space
        align_words(log_probs_of(2, 3, seed=1), [[(2, 2), (2,)], [(2, 2), (2,)]], separator=1)


def test_what_has_no_probability_is_an_error():
    log_probs = log_probs_of(4, 3, seed=1)
    log_probs[:, 2] = -np.inf
    with pytest.raises(DataError, match="every path has probability 0"):
        forced_alignment(log_probs, [1, 2])
    log_probs[2, 1] = np.nan
    with pytest.raises(DataError, match="frame 2 has NaN"):
        forced_alignment(log_probs, [1])


@pytest.mark.parametrize("words", [[[]], [[()]], [[(1,), ()]]])
def test_a_word_that_is_written_in_no_way_is_refused(words):
    with pytest.raises(ValueError, match="word 0 has no alternatives, or one without labels"):
        align_words(log_probs_of(4, 3, seed=1), words)


@pytest.mark.parametrize("labels", [[0], [3], [-1]])
def test_the_blank_and_numbers_beyond_the_table_are_refused(labels):
    with pytest.raises(ValueError, match="is not a label; labels are 1 to 2"):
        forced_alignment(log_probs_of(4, 3, seed=1), labels)
