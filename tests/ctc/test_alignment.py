"""Forced alignment against the enumeration of every path and against torchaudio's."""

import itertools

import numpy as np
import pytest
import torch

from recitative.ctc.alignment import forced_alignment
from recitative.errors import DataError


def log_probs_of(frames, tokens, seed):
    x = np.random.default_rng(seed).normal(size=(frames, tokens))
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def collapse(path):
    return [token for token, _ in itertools.groupby(path) if token != 0]


def path_score(log_probs, path):
    return log_probs[np.arange(len(path)), list(path)].sum()


@pytest.mark.parametrize("labels", [[], [1], [2, 2], [1, 2], [1, 1, 2]])
def test_it_finds_the_likeliest_of_all_paths(labels):
    log_probs = log_probs_of(6, 3, seed=len(labels))
    paths = (path for path in itertools.product(range(3), repeat=6) if collapse(path) == labels)
    best = max(paths, key=lambda path: path_score(log_probs, path))
    assert forced_alignment(log_probs, labels).tolist() == list(best)


def test_it_agrees_with_torchaudio():
    functional = pytest.importorskip("torchaudio.functional")
    log_probs, labels = log_probs_of(50, 6, seed=7), [1, 4, 4, 2, 5, 5, 3]
    theirs, _ = functional.forced_align(torch.tensor(log_probs[None]), torch.tensor([labels]), blank=0)
    assert forced_alignment(log_probs, labels).tolist() == theirs[0].tolist()


def test_too_few_frames_are_an_error():
    with pytest.raises(DataError, match="2 frames; at least 3"):
        forced_alignment(log_probs_of(2, 3, seed=1), [1, 1])
