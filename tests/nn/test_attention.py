"""Attention against its equation written out frame by frame, and what padding may not do."""

import pytest
import torch
from torch.testing import assert_close

from recitative.nn.heads import LocationAttention
from recitative.stage import Padded

QUERY, VALUE = 4, 6
LENGTHS = torch.tensor([9, 4, 1])


def build():
    torch.manual_seed(0)
    return LocationAttention(QUERY, VALUE, key_width=5, channels=2, kernel=3)


def batch():
    """Queries, previous weights and encoded rows with NaN for padding."""
    generator = torch.Generator().manual_seed(1)
    data = torch.randn(len(LENGTHS), 9, VALUE, generator=generator)
    previous = torch.zeros(len(LENGTHS), 9)
    for row, weights, n in zip(data, previous, LENGTHS, strict=True):
        row[int(n) :] = float("nan")
        weights[: int(n)] = torch.rand(int(n), generator=generator)
    return torch.randn(len(LENGTHS), QUERY, generator=generator), previous, Padded(data, LENGTHS)


def written_out(attention, query, previous, frames):
    """Chorowski et al. 2015, equations 5 to 9, one frame at a time; the kernel is centered on the frame."""
    energies = []
    for t in range(len(frames)):
        around = [float(previous[u]) if 0 <= u < len(frames) else 0.0 for u in (t - 1, t, t + 1)]
        location = attention.place(attention.locate(torch.tensor(around)))
        energies.append(attention.energy(torch.tanh(attention.query(query) + attention.key(frames[t]) + location)))
    weights = torch.softmax(torch.cat(energies), dim=0)
    return sum(w * frame for w, frame in zip(weights, frames, strict=True)), weights


def test_each_row_follows_the_equation_whatever_its_padding_holds():
    attention, (query, previous, x) = build(), batch()
    context, weights = attention(query, previous, attention.remember(x))
    for i, n in enumerate(LENGTHS.tolist()):
        expected_context, expected_weights = written_out(attention, query[i], previous[i], x.data[i, :n])
        assert_close(context[i], expected_context)
        assert_close(weights[i, :n], expected_weights)
        assert bool((weights[i, n:] == 0).all())


def test_no_gradient_is_spoilt_by_the_padding():
    attention, (query, previous, x) = build(), batch()
    data = x.data.clone().requires_grad_(True)
    context, weights = attention(query, previous, attention.remember(Padded(data, x.lengths)))
    (context.square().sum() + weights.square().sum()).backward()
    gradients = [data.grad, *(p.grad for p in attention.parameters())]
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)
    assert all(bool((row[n:] == 0).all()) for row, n in zip(data.grad, LENGTHS.tolist(), strict=True))


@pytest.mark.parametrize("frames", [0, 3], ids=["no frames at all", "nothing but padding"])
def test_a_row_without_a_frame_has_a_context_of_zeros(frames):
    attention = build()
    x = Padded(torch.full((2, frames, VALUE), float("nan")), torch.zeros(2, dtype=torch.int64))
    memory = attention.remember(x)
    context, weights = attention(torch.randn(2, QUERY), memory.first_weights(2), memory)
    assert torch.equal(context, torch.zeros(2, VALUE))
    assert bool(weights.isfinite().all())
    context.sum().backward()
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in attention.parameters())


def test_one_row_of_audio_serves_many_queries():
    attention, (query, previous, x) = build(), batch()
    shared = attention.remember(Padded(x.data[:1], x.lengths[:1]))
    repeated = attention.remember(Padded(x.data[:1].repeat(3, 1, 1), x.lengths[:1].repeat(3)))
    for ours, theirs in zip(attention(query, previous, shared), attention(query, previous, repeated), strict=True):
        assert_close(ours, theirs)


def test_it_hears_where_it_looked_before():
    attention, (query, previous, x) = build(), batch()
    memory = attention.remember(x)
    _, weights = attention(query, previous, memory)
    _, elsewhere = attention(query, previous.roll(1, dims=1), memory)
    assert not torch.allclose(weights[0], elsewhere[0], atol=1e-4)
