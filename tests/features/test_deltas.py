"""Deltas against Kaldi's definition, written out frame by frame."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from contract import AsTorch, verify_contract
from recitative.features.deltas import Deltas, delta_scales
from recitative.stage import Padded


def whole(stage, frames):
    x = Padded(frames[np.newaxis], np.array([len(frames)]))
    return stage.step(x, stage.initial_state(1), last=True)[0].data[0]


def kaldi_deltas(frames, order):
    """DeltaFeatures::Process: out[t] = sum_j scales[j] frames[clamp(t + j)], one frame at a time."""
    rows = []
    for t in range(len(frames)):
        row = []
        for scale in delta_scales(order):
            half = len(scale) // 2
            near = [frames[min(max(t + j, 0), len(frames) - 1)] for j in range(-half, half + 1)]
            row.append(sum(w * frame for w, frame in zip(scale.astype(float), near, strict=True)))
        rows.append(np.concatenate(row))
    return np.array(rows)


def test_the_weights_are_kaldis():
    static, delta, double = delta_scales(2)
    assert_allclose(static, [1])
    assert_allclose(delta, [-0.2, -0.1, 0, 0.1, 0.2], rtol=1e-6)
    assert_allclose(double, np.array([4, 4, 1, -4, -10, -4, 1, 4, 4]) / 100, atol=1e-8)


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("length", [0, 1, 2, 3, 9, 30])
def test_deltas_are_kaldis_sum_with_the_edge_frames_repeated(order, length):
    frames = np.random.default_rng(length).standard_normal((length, 3)).astype(np.float32)
    result = whole(Deltas(3, order), frames)
    assert result.shape == (length, 3 * (1 + order))
    if length:
        # float32 sums of nine terms against float64
        assert_allclose(result, kaldi_deltas(frames, order), atol=1e-6)


def test_a_ramp_has_its_slope_as_delta_and_no_delta_delta_away_from_the_edges():
    ramp = 3.0 * np.arange(20, dtype=np.float32)[:, np.newaxis]
    middle = whole(Deltas(1, 2), ramp)[4:-4]
    assert_allclose(middle[:, 1], 3.0, rtol=1e-5)
    # nine products of up to 57 in float32 cancel
    assert_allclose(middle[:, 2], 0.0, atol=2e-5)


@pytest.mark.parametrize("order", [0, 1, 2])
def test_deltas_keep_the_contract(order):
    verify_contract(
        AsTorch(Deltas(2, order)),
        lambda shape, generator: torch.randn(*shape, 2, generator=generator),
        gradients=False,
    )
