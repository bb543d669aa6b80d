"""The output layer of music and its sums of features, each beside a loop that anyone can follow."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from contract import verify_contract
from recitative.nn.heads import EmbeddedFeatures, EmbeddingSum, MixtureDensity, PitchHead
from recitative.nn.stages import Delay
from recitative.stage import Padded

PITCHES, BESIDE, HIDDEN, WIDTH, ENTRIES = 5, 3, 4, 6, 9


@pytest.fixture
def head():
    torch.manual_seed(1)
    made = PitchHead(HIDDEN, WIDTH, ENTRIES, PITCHES, BESIDE, dropout=0.5).eval()
    torch.nn.init.normal_(made.between.weight)
    torch.nn.init.normal_(made.between.bias)
    return made


def gelu(x):
    return torch.tensor([v * (1 + math.erf(v / math.sqrt(2))) / 2 for v in x.tolist()])


def by_hand(head, h, ids, beside):
    """One decision: h (H,), ids (F,), beside (R,) -> (pitches + 1,)."""
    features = sum(head.choices.weight[i] for i in ids.tolist())
    r = gelu(head.from_core.weight @ h + head.from_core.bias + features)
    g = r + gelu(head.inner.weight @ r + head.inner.bias)
    scores = (head.alone.weight @ g + head.alone.bias).tolist()
    tables = (head.between.weight @ g + head.between.bias).reshape(BESIDE, 2 * PITCHES - 1)
    for place, other in enumerate(beside.tolist()):
        if other < PITCHES:  # silence and what is not known say nothing
            for pitch in range(PITCHES):
                interval = pitch - other  # -(K - 1) .. K - 1
                scores[pitch] += float(tables[place, interval + PITCHES - 1])
    return torch.tensor(scores)


@torch.no_grad()
def test_a_pitch_is_scored_by_itself_and_by_its_interval_with_each_other(head):
    generator = torch.Generator().manual_seed(2)
    h = torch.randn(4, 2, HIDDEN, generator=generator)
    ids = torch.randint(0, ENTRIES, (4, 2, 3), generator=generator)
    beside = torch.randint(0, PITCHES + 3, (4, 2, BESIDE), generator=generator)
    found = head(h, ids, beside)
    for row in range(4):
        for step in range(2):
            place = (row, step)
            assert_close(found[place], by_hand(head, h[place], ids[place], beside[place]), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_moving_everything_moves_what_the_intervals_say(head):
    g = torch.randn(1, WIDTH)
    low, high = (head._intervals(g, torch.tensor([[p, p + 1, PITCHES]]))[0] for p in (1, 2))
    assert_close(high[1:], low[:-1])


@torch.no_grad()
def test_silence_is_scored_by_itself(head):
    h, ids = torch.randn(1, HIDDEN), torch.tensor([[1, 2]])
    found = [head(h, ids, torch.tensor([beside]))[0, PITCHES] for beside in ([0, 1, 2], [4, 3, 6], [5, 5, 5])]
    assert_close(found[0], found[1])
    assert_close(found[0], found[2])


def test_a_new_head_hears_no_intervals():
    made = PitchHead(HIDDEN, WIDTH, ENTRIES, PITCHES, BESIDE, dropout=0.0)
    h, ids = torch.randn(1, HIDDEN), torch.tensor([[1, 2]])
    assert_close(made(h, ids, torch.tensor([[0, 1, 2]])), made(h, ids, torch.tensor([[4, 4, 5]])))


def test_features_are_added_up():
    table = EmbeddingSum(ENTRIES, WIDTH)
    ids = torch.tensor([[[0, 3, 8], [1, 1, 2]]])
    expected = [[table.weight[0] + table.weight[3] + table.weight[8], 2 * table.weight[1] + table.weight[2]]]
    assert_close(table(ids), torch.stack([torch.stack(row) for row in expected]))


def test_in_training_features_are_left_out_and_the_others_grow():
    torch.manual_seed(3)
    table = EmbeddingSum(3, 3, dropout=0.4).train()
    table.weight.data = torch.eye(3)
    summed = table(torch.tensor([[0, 1, 2]]).repeat(4000, 1)).detach()
    assert summed.unique().tolist() == pytest.approx([0, 1 / 0.6])
    assert_close(summed.mean(0), torch.ones(3), atol=0.05, rtol=0)  # what is expected is what evaluation adds up
    assert_close(table.eval()(torch.tensor([[0, 1, 2]])), torch.ones(1, 3))


def test_padding_of_features_may_be_any_number():
    stage = EmbeddedFeatures(ENTRIES, WIDTH)
    x = Padded(torch.tensor([[[0, 3], [1, 2]], [[4, 4], [-1, 10**9]]]), torch.tensor([2, 1]))
    y, _ = stage.step(x, {}, last=True)
    assert_close(y.data[1, 0], 2 * stage.table.weight[4])
    y.data.sum().backward()


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


def slow_nll(gaussians, x):
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
def test_the_nll_is_that_of_a_mixture_of_gaussians(components):
    torch.manual_seed(1)
    gaussians = MixtureDensity(4, 5, components, 0.1)(3 * torch.randn(2, 4))
    x = torch.randn(2, 5)
    expected = [slow_nll(type(gaussians)(*(part[row] for part in (
        gaussians.log_weights, gaussians.means, gaussians.deviations))), x[row]) for row in range(2)]  # fmt: skip
    assert_close(gaussians.nll(x).tolist(), expected, atol=1e-5, rtol=1e-5)


def test_the_density_sums_to_one():
    torch.manual_seed(2)
    gaussians = MixtureDensity(4, 1, 3, 0.1)(torch.randn(4))
    x = torch.linspace(-20, 20, 40001)[:, None]
    assert_close((-gaussians.nll(x)).exp().sum() * 1e-3, torch.tensor(1.0), atol=1e-3, rtol=0)


def test_no_deviation_falls_below_the_least():
    head = MixtureDensity(2, 3, 2, 0.2)
    with torch.no_grad():
        head.linear.bias.fill_(-50.0)
    deviations = head(torch.zeros(1, 2)).deviations
    assert_close(deviations, torch.full((1, 2, 3), 0.2))
