"""The density of a frame, by hand, and the delay that hides the present."""

import math

import pytest
import torch
from torch.testing import assert_close

from contract import verify_contract
from recitative.nn.delay import Delay
from recitative.nn.density import MixtureDensity
from recitative.stage import Padded


def normal(shape, generator):
    return torch.randn(*shape, 3, generator=generator)


@pytest.mark.parametrize("frames", [1, 4])
def test_the_delay_keeps_the_contract_and_knows_nothing_of_the_last_frames(frames):
    stage = Delay(3, frames)
    assert stage.lookahead == -frames
    verify_contract(stage, normal)


def test_the_delay_moves_every_row_and_begins_with_zeros():
    x = torch.arange(1.0, 6.0).view(1, 5, 1)
    y, _ = Delay(1, 2).step(Padded(x, torch.tensor([5])), Delay(1, 2).initial_state(1), last=True)
    assert y.data[0, :, 0].tolist() == [0, 0, 1, 2, 3]


def slow_surprise(gaussians, x):
    """-ln p of one frame in nats per dimension, one term at a time."""
    total = 0.0
    for k, log_weight in enumerate(gaussians.log_weights.tolist()):
        p = math.exp(log_weight)
        for value, mean, deviation in zip(x.tolist(), gaussians.means[k].tolist(), gaussians.deviations[k].tolist(),
                                          strict=True):  # fmt: skip
            p *= math.exp(-(((value - mean) / deviation) ** 2) / 2) / (deviation * math.sqrt(2 * math.pi))
        total += p
    return -math.log(total) / len(x)


@pytest.mark.parametrize("components", [1, 3])
def test_surprise_is_that_of_a_mixture_of_gaussians(components):
    torch.manual_seed(1)
    gaussians = MixtureDensity(4, 5, components, 0.1)(3 * torch.randn(2, 4))
    x = torch.randn(2, 5)
    expected = [slow_surprise(type(gaussians)(*(part[row] for part in (
        gaussians.log_weights, gaussians.means, gaussians.deviations))), x[row]) for row in range(2)]  # fmt: skip
    assert_close(gaussians.surprise(x).tolist(), expected, atol=1e-5, rtol=1e-5)


def test_the_density_sums_to_one():
    torch.manual_seed(2)
    gaussians = MixtureDensity(4, 1, 3, 0.1)(torch.randn(4))
    x = torch.linspace(-20, 20, 40001)[:, None]
    assert_close((-gaussians.surprise(x)).exp().sum() * 1e-3, torch.tensor(1.0), atol=1e-3, rtol=0)


def test_no_deviation_falls_below_the_least():
    head = MixtureDensity(2, 3, 2, 0.2)
    with torch.no_grad():
        head.linear.bias.fill_(-50.0)
    deviations = head(torch.zeros(1, 2)).deviations
    assert_close(deviations, torch.full((1, 2, 3), 0.2))
