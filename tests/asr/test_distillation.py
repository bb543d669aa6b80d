"""A student learns from a teacher's frames."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from recitative.asr.data import (
    Alternatives,
    greedy_labels,
    read_alternatives,
    relative_entropy,
)
from recitative.data.tables import Utterance
from recitative.errors import DataError
from recitative.stage import Padded
from recitative.text.tokens import TokenTable

LENGTHS = (torch.tensor([6, 3, 0]), torch.tensor([5, 4, 0]))  # the teacher's and the student's frames differ


def random_log_probs(lengths: Tensor, seed: int) -> Padded[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    data = torch.randn(len(lengths), int(lengths.max()), 4, generator=generator).log_softmax(-1)
    for row, length in zip(data, lengths, strict=True):
        row[length:] = math.nan  # padding is undefined
    return Padded(data, lengths)


def by_hand(taught: Padded[Tensor], student: Padded[Tensor], delay: int, window: int) -> float:
    total = 0.0
    for n in range(len(taught.lengths)):
        for t in range(int(taught.lengths[n])):
            near = [u for u in range(t + delay - window, t + delay + window + 1) if 0 <= u < int(student.lengths[n])]
            p = taught.data[n, t].double()
            costs = [float((p.exp() * (p - student.data[n, u].double())).sum()) for u in near]
            total += min(costs, default=0.0)
    return total


@pytest.mark.parametrize("window", [0, 1, 3])
@pytest.mark.parametrize("delay", [-2, 0, 1, 4, 9])
def test_the_loss_is_the_relative_entropy_to_the_best_frame_nearby(delay: int, window: int) -> None:
    taught, student = random_log_probs(LENGTHS[0], 1), random_log_probs(LENGTHS[1], 2)
    expected = torch.tensor(by_hand(taught, student, delay, window))
    assert_close(relative_entropy(taught, student, delay, window), expected, rtol=1e-5, atol=1e-6)


def test_a_student_whose_spikes_are_one_frame_off_is_not_punished() -> None:
    """Blank, A, blank, B, blank against A, blank, blank, blank, B."""
    teacher, early = torch.tensor([[0, 1, 0, 2, 0]]), torch.tensor([[1, 0, 0, 0, 2]])
    five = torch.tensor([5])
    spikes = (9.0 * torch.nn.functional.one_hot(x, 3) for x in (teacher, early))
    taught, student = (Padded(x.log_softmax(-1), five) for x in spikes)
    assert float(relative_entropy(taught, student, 0, 0)) > 30.0
    assert float(relative_entropy(taught, student, 0, 1)) < 1e-3


def test_it_is_zero_for_a_student_that_says_the_same_later() -> None:
    taught = random_log_probs(torch.tensor([5]), 3)
    late = Padded(torch.cat([taught.data[:, :2], taught.data], 1), taught.lengths + 2)
    assert_close(relative_entropy(taught, late, 2), torch.tensor(0.0))


def test_an_impossible_token_of_the_teacher_costs_nothing() -> None:
    taught = Padded(torch.tensor([[[0.0, -math.inf]]]), torch.tensor([1]))
    student = Padded(torch.tensor([[[math.log(0.5), math.log(0.5)]]]), torch.tensor([1]))
    assert_close(relative_entropy(taught, student, 0), torch.tensor(math.log(2)))


@pytest.mark.parametrize("window", [0, 2])
def test_its_gradient_ignores_the_padding(window: int) -> None:
    taught, student = random_log_probs(LENGTHS[0], 1), random_log_probs(LENGTHS[1], 2)
    leaf = student.data.clone().requires_grad_()
    relative_entropy(taught, Padded(leaf, student.lengths), 1, window).backward()
    assert leaf.grad is not None
    assert bool(leaf.grad.isfinite().all())
    assert float(leaf.grad[1, 4:].abs().sum()) == 0.0


def test_alternatives_are_drawn_by_their_posteriors_and_as_often_as_asked() -> None:
    alternatives = Alternatives(0.5, {3: ([math.log(0.6), math.log(0.2)], [[1], [2, 2]])})
    rng = np.random.default_rng(0)
    drawn = [alternatives.draw(3, rng) for _ in range(4000)]
    assert alternatives.draw(4, rng) is None
    # Four standard deviations of a binomial: 4 * sqrt(4000 * p * (1 - p)).
    assert drawn.count(None) == pytest.approx(2000, abs=127)
    assert drawn.count([1]) == pytest.approx(1500, abs=123)
    assert drawn.count([2, 2]) == pytest.approx(500, abs=84)


def test_alternatives_are_read_from_an_nbest_list(tmp_path: Path) -> None:
    tokens = TokenTable(("<blank>", " ", "a", "b"))
    utterances = [Utterance("s-1", "s", "1.wav", text="ab ab"), Utterance("s-2", "s", "2.wav", text="a")]
    rows = [("ab aa", -1.0), ("", -2.0), ("ab ax", -2.0), ("ab ab ab", -2.5), ("ab ab", -3.0)]
    nbest = [{"text": text, "tokens": "", "score": score} for text, score in rows]
    (tmp_path / "nbest.jsonl").write_text(json.dumps({"utt_id": "s-1", "nbest": nbest}) + "\n")
    alternatives = read_alternatives(tmp_path / "nbest.jsonl", utterances, tokens, 1.0)
    rng = np.random.default_rng(0)
    drawn = [tuple(alternatives.draw(0, rng) or ()) for _ in range(200)]
    assert set(drawn) == {(2, 3, 1, 2, 2), (2, 3, 1, 2, 3)}  # neither empty, nor unknown, nor too long
    assert alternatives.draw(1, rng) is None


def test_a_list_of_other_utterances_is_refused(tmp_path: Path) -> None:
    nbest = [{"text": "a", "tokens": "", "score": 0.0}]
    (tmp_path / "nbest.jsonl").write_text(json.dumps({"utt_id": "x", "nbest": nbest}) + "\n")
    tokens = TokenTable(("<blank>", "a"))
    with pytest.raises(DataError, match="has no text to train on; lists of the training utterances"):
        read_alternatives(tmp_path / "nbest.jsonl", [Utterance("s-1", "s", "1.wav", text="a")], tokens, 1.0)


def test_what_the_teacher_hears_is_without_repeats_blanks_and_padding() -> None:
    best = torch.tensor([[0, 1, 1, 0, 1, 2, 2], [3, 3, 0, 0, 2, 2, 2]])
    data = torch.nn.functional.one_hot(best, 4).float()
    assert greedy_labels(Padded(data, torch.tensor([7, 4]))) == [[1, 1, 2], [3]]
