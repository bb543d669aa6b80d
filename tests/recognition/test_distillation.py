"""A student learns from a teacher's frames."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from recitative.recognition.distillation import relative_entropy
from recitative.stage import Padded

LENGTHS = (torch.tensor([6, 3, 0]), torch.tensor([5, 4, 0]))  # the teacher's and the student's frames differ


def random_log_probs(lengths: Tensor, seed: int) -> Padded[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    data = torch.randn(len(lengths), int(lengths.max()), 4, generator=generator).log_softmax(-1)
    for row, length in zip(data, lengths, strict=True):
        row[length:] = math.nan  # padding is undefined
    return Padded(data, lengths)


def by_hand(taught: Padded[Tensor], student: Padded[Tensor], delay: int) -> float:
    total = 0.0
    for n in range(len(taught.lengths)):
        for t in range(int(taught.lengths[n])):
            if 0 <= t + delay < int(student.lengths[n]):
                p, q = taught.data[n, t].double(), student.data[n, t + delay].double()
                total += float((p.exp() * (p - q)).sum())
    return total


@pytest.mark.parametrize("delay", [-2, 0, 1, 4, 9])
def test_the_loss_is_the_relative_entropy_of_frames_that_both_have(delay: int) -> None:
    taught, student = random_log_probs(LENGTHS[0], 1), random_log_probs(LENGTHS[1], 2)
    expected = torch.tensor(by_hand(taught, student, delay))
    assert_close(relative_entropy(taught, student, delay), expected, rtol=1e-5, atol=1e-6)


def test_it_is_zero_for_a_student_that_says_the_same_later() -> None:
    taught = random_log_probs(torch.tensor([5]), 3)
    late = Padded(torch.cat([taught.data[:, :2], taught.data], 1), taught.lengths + 2)
    assert_close(relative_entropy(taught, late, 2), torch.tensor(0.0))


def test_an_impossible_token_of_the_teacher_costs_nothing() -> None:
    taught = Padded(torch.tensor([[[0.0, -math.inf]]]), torch.tensor([1]))
    student = Padded(torch.tensor([[[math.log(0.5), math.log(0.5)]]]), torch.tensor([1]))
    assert_close(relative_entropy(taught, student, 0), torch.tensor(math.log(2)))


def test_its_gradient_ignores_the_padding() -> None:
    taught, student = random_log_probs(LENGTHS[0], 1), random_log_probs(LENGTHS[1], 2)
    leaf = student.data.nan_to_num(0.0).requires_grad_()
    relative_entropy(taught, Padded(leaf, student.lengths), 1).backward()
    assert leaf.grad is not None
    assert bool(leaf.grad.isfinite().all())
    assert float(leaf.grad[1, 4:].abs().sum()) == 0.0
