"""The CTC loss against the enumeration of every path."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from recitative.errors import DataError
from recitative.nn.heads import ctc_loss, padded_labels
from recitative.stage import Padded


def collapse(path):
    """Runs become one label, blanks (0) go."""
    return [token for token, _ in itertools.groupby(path) if token != 0]


def brute_force(log_probs, labels):
    """-log of the summed probability of all V^T paths that collapse to the labels."""
    frames, tokens = log_probs.shape
    paths = itertools.product(range(tokens), repeat=frames)
    scores = [sum(float(log_probs[t, k]) for t, k in enumerate(path)) for path in paths if collapse(path) == labels]
    return -math.log(sum(math.exp(score) for score in scores))


def random_log_probs(frames, tokens, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(frames, tokens, generator=generator, dtype=torch.float64).log_softmax(-1)


@pytest.mark.parametrize("labels", [[], [1], [2, 1], [1, 1], [2, 2, 1], [1, 2, 1]])
@pytest.mark.parametrize("frames", [5, 6])
def test_the_loss_is_the_sum_over_all_paths(labels, frames):
    log_probs = random_log_probs(frames, 3, seed=len(labels) * 10 + frames)
    loss, count = ctc_loss(Padded(log_probs[None], torch.tensor([frames])), padded_labels([labels]), ["utt"])
    torch.testing.assert_close(float(loss), brute_force(log_probs, labels), atol=1e-9, rtol=1e-9)  # both in float64
    assert count == len(labels)


def test_the_gradient_is_that_of_finite_differences():
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64, requires_grad=True)

    def loss_of(x):
        return ctc_loss(Padded(x.log_softmax(-1)[None], torch.tensor([5])), padded_labels([[1, 2, 2]]), ["utt"])[0]

    assert torch.autograd.gradcheck(loss_of, (logits,))


def test_a_ragged_batch_sums_its_rows():
    rows, labels, frames = [random_log_probs(6, 4, seed=i) for i in range(3)], [[1, 2], [3, 3], [2]], [6, 5, 3]
    data = torch.stack(rows)
    batched, count = ctc_loss(Padded(data, torch.tensor(frames)), padded_labels(labels), ["a", "b", "c"])
    alone = sum(brute_force(row[:n], label) for row, n, label in zip(rows, frames, labels, strict=True))
    torch.testing.assert_close(float(batched), alone, atol=1e-9, rtol=1e-9)
    assert count == 5


def test_an_impossible_utterance_is_a_named_error_and_never_a_zero():
    log_probs = Padded(random_log_probs(4, 4, seed=1)[None].repeat(2, 1, 1), torch.tensor([4, 4]))
    with pytest.raises(DataError, match=r"'bad' \(4 frames, needs 5\)") as caught:
        ctc_loss(log_probs, padded_labels([[1, 2], [3, 3, 3]]), ["good", "bad"])
    assert "good" not in str(caught.value)


def test_a_batch_without_rows_costs_nothing():
    log_probs = torch.zeros(0, 5, 3, requires_grad=True)
    nothing = torch.zeros(0, dtype=torch.int64)
    loss, count = ctc_loss(Padded(log_probs, nothing), Padded(nothing[:, None], nothing), ())
    loss.backward()
    assert (float(loss), count) == (0.0, 0)
