"""Pooling over time, against the plainest way to compute it."""

import pytest
import torch
from torch.testing import assert_close

from contract import verify_contract
from recitative.nn.stages import BLOCK, AttentionPooling, LastFrame, MeanPooling, RecentMean
from recitative.stage import Padded

WIDTH = 3


def normal(shape, generator):
    return torch.randn(*shape, WIDTH, generator=generator)


def attention(seed=0, scale=1.0):
    """With scores that tell frames apart."""
    torch.manual_seed(seed)
    stage = AttentionPooling(WIDTH)
    with torch.no_grad():
        stage.score.weight.copy_(scale * torch.randn(1, WIDTH))
        stage.score.bias.fill_(0.3)
    return stage


def last_by_hand(stage, frames):
    return frames[-1]


def mean_by_hand(stage, frames):
    return sum(frames) / len(frames)


def recent_by_hand(stage, frames):
    return sum(frames[-stage.frames :]) / len(frames[-stage.frames :])


def attention_by_hand(stage, frames):
    """The softmax of all scores, then the weighted sum of all frames (n, C)."""
    scores = torch.stack([frame @ stage.score.weight[0] + stage.score.bias[0] for frame in frames])
    weights = torch.softmax(scores, dim=0)
    return sum(weight * frame for weight, frame in zip(weights, frames, strict=True))


KINDS = [
    pytest.param(LastFrame(WIDTH), last_by_hand, id="last"),
    pytest.param(MeanPooling(WIDTH), mean_by_hand, id="mean"),
    pytest.param(attention(), attention_by_hand, id="attention"),
    pytest.param(RecentMean(WIDTH, 2), recent_by_hand, id="recent-2"),
    pytest.param(RecentMean(WIDTH, 9), recent_by_hand, id="recent-9"),
]


def whole(stage, x, lengths):
    return stage.step(Padded(x, torch.tensor(lengths)), stage.initial_state(len(lengths)), last=True)[0].data


@pytest.mark.parametrize(("stage", "by_hand"), KINDS)
def test_every_pooling_keeps_the_contract(stage, by_hand):
    verify_contract(stage, normal)


def test_the_mean_of_recent_frames_is_the_same_to_the_bit_however_a_row_is_cut():
    verify_contract(RecentMean(WIDTH, 7), normal, atol=0.0, gradients=False)


def test_the_mean_of_recent_frames_forgets_what_is_older():
    stage = RecentMean(WIDTH, 5)
    x = torch.randn(1, 40, WIDTH)
    y = whole(stage, x, [40])
    assert torch.equal(whole(stage, x[:, 30:], [10])[0, 4:], y[0, 34:])
    _, state = stage.step(Padded(x, torch.tensor([40])), stage.initial_state(1), last=False)
    assert {name: tuple(value.shape) for name, value in state.items()} == {"count": (1,), "before": (1, 4, WIDTH)}
    assert int(state["count"]) == 5


def test_attention_keeps_the_contract_across_its_blocks():
    verify_contract(attention(), normal, longest=2 * BLOCK + 9, cuttings=4)


@pytest.mark.parametrize(("stage", "by_hand"), KINDS)
def test_each_output_is_the_pooling_of_the_frames_up_to_it(stage, by_hand):
    lengths = [2 * BLOCK + 5, 7, 1]
    x = torch.randn(3, lengths[0], WIDTH)
    y = whole(stage, x, lengths)
    for row, length in enumerate(lengths):
        expected = torch.stack([by_hand(stage, x[row, : t + 1]) for t in range(length)])
        assert_close(y[row, :length], expected, atol=1e-5, rtol=1e-5)


def test_attention_begins_as_the_mean():
    x = torch.randn(1, 30, WIDTH)
    assert_close(whole(AttentionPooling(WIDTH), x, [30]), whole(MeanPooling(WIDTH), x, [30]))


@pytest.mark.parametrize("rising", [True, False], ids=["rising", "falling"])
def test_scores_in_the_hundreds_neither_overflow_nor_lose_a_frame(rising):
    """exp(700) is not a float32 and hardly a float64; a fall of 700 leaves later frames a weight of 0, not of NaN."""
    stage = attention()
    with torch.no_grad():
        stage.score.weight.copy_(torch.tensor([[1.0, 0.0, 0.0]]))
    x = torch.randn(1, 150, WIDTH)
    x[0, :, 0] = torch.linspace(-700, 700, 150) * (1 if rising else -1)
    y = whole(stage, x.requires_grad_(), [150])
    expected = torch.stack([attention_by_hand(stage, x[0, : t + 1]) for t in range(150)])
    assert_close(y[0], expected, atol=1e-3, rtol=1e-5)  # values in the hundreds, in float32
    y.sum().backward()
    assert all(bool(g.isfinite().all()) for g in (x.grad, stage.score.weight.grad, stage.score.bias.grad))


def test_the_gradient_of_attention_is_that_of_the_plain_softmax():
    stage, x = attention(), torch.randn(1, BLOCK + 6, WIDTH, requires_grad=True)
    whole(stage, x, [BLOCK + 6])[0, -1].square().sum().backward()
    found = (x.grad.clone(), stage.score.weight.grad.clone())
    x.grad = None
    stage.zero_grad()
    attention_by_hand(stage, x[0]).square().sum().backward()
    assert_close(found, (x.grad, stage.score.weight.grad), atol=1e-6, rtol=1e-4)


def test_a_long_stream_forgets_nothing():
    """A hundred thousand frames: in float32 the running sum of the mean would be wrong in its third digit."""
    x = torch.full((1, 100_000, WIDTH), 0.1) + 1e-3 * torch.randn(1, 100_000, WIDTH)
    exact = x[0].double().mean(0).float()
    for stage in (MeanPooling(WIDTH), AttentionPooling(WIDTH)):
        assert_close(whole(stage, x, [100_000])[0, -1], exact, atol=1e-7, rtol=1e-6)
