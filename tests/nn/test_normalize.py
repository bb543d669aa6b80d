"""Normalization by the recording itself, against the plainest way to compute it."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from recitative.errors import UsageError
from recitative.nn.stages import RUNNING_PRIOR, UTTERANCE_PRIOR, RunningMean, UtteranceMean
from recitative.stage import Padded


def by_hand(frames: torch.Tensor, prior: int) -> torch.Tensor:
    """The last of some frames (n, C) less the mean of all of them and of ``prior`` frames of zeros."""
    return frames[-1] - torch.cat([frames, torch.zeros(prior, frames.shape[1])]).mean(0)


def whole(stage, x):
    return stage.step(x, stage.initial_state(len(x.lengths)), last=True)[0].data


def test_a_running_frame_is_less_the_mean_of_what_came_before_and_itself():
    x = 5 + 3 * torch.randn(1, 80, 2)
    y = whole(RunningMean(2), Padded(x, torch.tensor([80])))
    assert_close(y[0], torch.stack([by_hand(x[0, : t + 1], RUNNING_PRIOR) for t in range(80)]), atol=1e-5, rtol=1e-5)


def test_every_frame_of_an_utterance_is_less_the_mean_of_all_of_it_and_of_nothing_else():
    x = 5 + 3 * torch.randn(2, 80, 2)
    y = whole(UtteranceMean(2), Padded(x, torch.tensor([80, 30])))
    assert_close(y[0, -1], by_hand(x[0], UTTERANCE_PRIOR), atol=1e-5, rtol=1e-5)
    assert_close(y[1, 29], by_hand(x[1, :30], UTTERANCE_PRIOR), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("stage", [UtteranceMean(3), RunningMean(3)], ids=["utterance", "running"])
def test_a_long_recording_forgets_its_color(stage):
    speech = torch.randn(1, 20000, 3)
    lengths = torch.tensor([20000])
    colored = whole(stage, Padded(torch.tensor([1.0, -2.0, 4.0]) + speech, lengths))
    plain = whole(stage, Padded(speech, lengths))
    assert_close(
        colored[:, -100:], plain[:, -100:], atol=4 * RUNNING_PRIOR / 19000, rtol=0
    )  # the prior still counts a little


def test_the_mean_of_the_utterance_refuses_pieces_and_names_the_streaming_setting():
    with pytest.raises(UsageError, match=r"set model\.cmvn to 'running' or 'global'"):
        UtteranceMean(1).step(Padded(torch.zeros(1, 4, 1), torch.tensor([4])), {}, last=False)
