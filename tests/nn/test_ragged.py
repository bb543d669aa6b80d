"""Rows of unequal lengths: shortcuts give what the long way gives, gradients included."""

import pytest
import torch
from torch.testing import assert_close

from recitative.nn.ragged import join, put_valid, take_valid
from recitative.stage import Padded


@pytest.mark.parametrize("lengths", [(4, 0, 2), (4, 4, 4), (3, 1, 3)], ids=["ragged", "full", "none full"])
def test_valid_frames_are_taken_and_put_back_with_the_gradients_of_a_mask(lengths):
    data = torch.randn(3, 4, 2, 5)
    mask = torch.arange(4) < torch.tensor(lengths)[:, None]
    ours, plain = data.clone().requires_grad_(), data.clone().requires_grad_()
    x = Padded(ours, torch.tensor(lengths))
    frames = take_valid(x)
    assert_close(frames, plain[mask], rtol=0, atol=0)
    expected = torch.zeros_like(data)
    expected[mask] = plain[mask] ** 3
    got = put_valid(frames**3, x)
    assert_close(got, expected, rtol=0, atol=0)
    weights = torch.randn_like(data)
    (got * weights).sum().backward()
    (expected * weights).sum().backward()
    assert_close(ours.grad, plain.grad)


@pytest.mark.parametrize("first", [(2, 2), (2, 1), (0, 2)], ids=["full", "ragged", "one empty"])
def test_rows_are_joined_without_a_gap(first):
    a = Padded(torch.randn(2, 2, 3), torch.tensor(first))
    b = Padded(torch.randn(2, 4, 3), torch.tensor([3, 1]))
    joined = join(a, b)
    assert joined.lengths.tolist() == [first[0] + 3, first[1] + 1]
    assert joined.data.shape[1] == max(joined.lengths)
    for row in range(2):
        whole = torch.cat([a.data[row, : a.lengths[row]], b.data[row, : b.lengths[row]]])
        assert_close(joined.data[row, : len(whole)], whole, rtol=0, atol=0)
