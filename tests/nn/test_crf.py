"""The CRF's sums beside an enumeration of all label sequences and all paths."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch.testing import assert_close

from recitative.nn.heads import LabelTrigram, padded_labels
from recitative.stage import Padded

TOKENS = 4
TEXTS = [[1, 2, 3], [2, 2, 1], [3, 1], []]


@pytest.fixture
def trigram():
    return LabelTrigram(TEXTS, TOKENS)


def by_hand(trigram, log_probs):
    """ln of the sum over all paths of their probability and that of their labels."""
    paths = itertools.product(range(TOKENS), repeat=len(log_probs))
    terms = [
        math.exp(sum(float(log_probs[t, token]) for t, token in enumerate(path)) + probability(trigram, collapse(path)))
        for path in paths
    ]
    return math.log(sum(terms))


def collapse(path):
    return [label for label, _ in itertools.groupby(path) if label]


def probability(trigram, labels):
    history = [0, 0, *labels]
    return sum(float(trigram.log_probs[tuple(history[i : i + 3])]) for i in range(len(labels)))


def test_the_sum_is_that_of_all_paths_in_any_batch(trigram):
    torch.manual_seed(1)
    log_probs = (3 * torch.randn(3, 5, TOKENS)).log_softmax(-1)
    lengths = [5, 3, 1]
    found = trigram.log_sum(Padded(log_probs, torch.tensor(lengths)))
    expected = [by_hand(trigram, row[:length]) for row, length in zip(log_probs, lengths, strict=True)]
    assert_close(found, torch.tensor(expected), rtol=1e-5, atol=1e-5)


def test_its_gradient_is_the_slope(trigram):
    torch.manual_seed(2)
    scores = torch.randn(2, 6, TOKENS, requires_grad=True)
    lengths = torch.tensor([6, 4])
    (gradient,) = torch.autograd.grad(trigram.log_sum(Padded(scores.log_softmax(-1), lengths)).sum(), scores)
    assert not gradient[1, 4:].any()  # padding
    for place in [(0, 0, 0), (0, 3, 1), (1, 3, 2)]:
        with torch.no_grad():
            slope = 0.0
            for sign in (1, -1):
                moved = scores.double().clone()
                moved[place] += sign * 1e-2
                slope += sign * float(trigram.log_sum(Padded(moved.float().log_softmax(-1), lengths)).sum()) / 2e-2
        assert float(gradient[place]) == pytest.approx(slope, abs=2e-3)


def test_probabilities_after_any_two_labels_sum_to_one_and_what_was_seen_is_likelier(trigram):
    probabilities = trigram.log_probs.exp()
    assert_close(probabilities.sum(-1), torch.ones(TOKENS, TOKENS))
    assert probabilities[0, 1, 2] > probabilities[0, 1, 1]
    assert (probabilities[..., 1:] > 0).all()


def test_the_score_of_labels_is_the_sum_of_their_probabilities(trigram):
    expected = [probability(trigram, row) for row in TEXTS]
    assert_close(trigram.score(padded_labels(TEXTS)), torch.tensor(expected), rtol=1e-5, atol=1e-5)


def test_a_thousand_frames_do_not_underflow(trigram):
    log_probs = (20 * torch.randn(1, 1000, TOKENS, generator=torch.Generator().manual_seed(3))).log_softmax(-1)
    found = trigram.log_sum(Padded(log_probs.requires_grad_(), torch.tensor([1000])))
    found.sum().backward()
    assert math.isfinite(float(found.detach()))
    assert torch.isfinite(log_probs.grad).all()


def test_a_batch_without_utterances_adds_nothing(trigram):
    none = torch.zeros(0, dtype=torch.int64)
    log_probs = torch.zeros(0, 0, TOKENS, requires_grad=True)
    found = trigram(Padded(log_probs, none), padded_labels([]))
    found.backward()
    assert float(found.detach()) == 0
    assert log_probs.grad.shape == log_probs.shape
