"""Windows against the same arithmetic written with loops."""

import torch
from torch.testing import assert_close

from recitative.nn.window import CausalConv, FrameStack, RowConv
from recitative.stage import Padded


def whole(stage, x):
    return stage.step(Padded(x, torch.tensor([x.shape[1]])), stage.initial_state(1), last=True)[0].data[0]


def test_stacking_joins_neighbouring_frames_in_order():
    ramp = torch.arange(7.0)[None, :, None]  # frame t holds the number t
    assert whole(FrameStack(1, 3, 2), ramp).tolist() == [[0, 1, 2], [2, 3, 4], [4, 5, 6]]


def test_the_row_convolution_is_a_weighted_sum_of_the_next_frames():
    torch.manual_seed(1)
    stage, x = RowConv(3, 2), torch.randn(1, 6, 3)
    padded = torch.cat([x[0], torch.zeros(2, 3)])
    expected = [sum(stage.weight[:, k] * padded[t + k] for k in range(3)) for t in range(6)]
    assert_close(whole(stage, x), torch.stack(expected), atol=1e-6, rtol=1e-5)


def test_the_causal_convolution_sees_two_frames_back_and_none_ahead():
    torch.manual_seed(2)
    stage, x = CausalConv(1, 5, 2), torch.randn(1, 7, 5)
    frames = torch.nn.functional.pad(x[0], (1, 1, 2, 0))  # zeros at both band edges and before the start
    expected = torch.zeros(4, 2, 3)
    for j in range(4):
        for plane in range(2):
            for band in range(3):
                patch = frames[2 * j : 2 * j + 3, 2 * band : 2 * band + 3]
                expected[j, plane, band] = (stage.conv.weight[plane, 0] * patch).sum() + stage.conv.bias[plane]
    assert_close(whole(stage, x), expected.relu().flatten(1), atol=1e-6, rtol=1e-5)
