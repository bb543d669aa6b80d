"""Windows against the same arithmetic written with loops."""

import torch
from torch.testing import assert_close

from recitative.nn.stages import CausalConv, FrameStack, PlaneNorm, RowConv
from recitative.stage import Padded


def whole(stage, x):
    return stage.step(Padded(x, torch.tensor([x.shape[1]])), stage.initial_state(1), last=True)[0].data[0]


def test_stacking_joins_neighboring_frames_in_order():
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


def test_the_normalization_of_planes_leaves_mean_zero_and_variance_one_of_the_frames_that_count():
    torch.manual_seed(3)
    norm, x, lengths = PlaneNorm(2), torch.randn(3, 4, 2, 5) * 3 + 1, torch.tensor([4, 0, 2])
    torch.nn.init.normal_(norm.gain)
    torch.nn.init.normal_(norm.bias)
    padded = x.clone()
    padded[1], padded[2, 2:] = 100.0, -100.0
    y = norm(padded, lengths)
    for plane in range(2):
        heard = torch.cat([x[0, :, plane].flatten(), x[2, :2, plane].flatten()])
        scaled = (heard - heard.mean()) / (heard.var(correction=0) + norm.eps).sqrt()
        got = torch.cat([y[0, :, plane].flatten(), y[2, :2, plane].flatten()])
        assert_close(got, scaled * norm.gain[plane] + norm.bias[plane], atol=1e-5, rtol=1e-4)
        assert_close(norm.mean[plane], 0.1 * heard.mean(), atol=1e-6, rtol=1e-5)
        assert_close(norm.variance[plane], 0.9 + 0.1 * heard.var(), atol=1e-6, rtol=1e-5)


def test_after_training_the_normalization_is_a_constant_of_each_plane():
    torch.manual_seed(4)
    norm = trained_norm(PlaneNorm(3)).eval()
    x = torch.randn(2, 4, 3, 5)
    scale, shift = norm.scale_and_shift()
    expected = torch.stack([x[:, :, plane] * scale[plane] + shift[plane] for plane in range(3)], dim=2)
    assert_close(norm(x, torch.tensor([4, 1])), expected, atol=1e-5, rtol=1e-4)


def test_a_batch_without_frames_teaches_the_normalization_nothing():
    norm = PlaneNorm(2)
    norm(torch.ones(2, 3, 2, 4), torch.tensor([0, 0]))
    assert (norm.mean.tolist(), norm.variance.tolist()) == ([0, 0], [1, 1])


def trained_norm(norm):
    with torch.no_grad():
        for value in (norm.gain, norm.bias, norm.mean):
            value.normal_()
        norm.variance.uniform_(0.5, 2.0)
    return norm
