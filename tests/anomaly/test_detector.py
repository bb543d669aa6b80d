"""Anomaly scores of windows: by hand, and the same however a stream is cut."""

import math

import numpy as np
import pytest
import torch

import small_forecaster
from contract import AsTorch, verify_contract
from recitative.anomaly.detector import MIN_DEVIATION, AnomalyDetector, WindowScore, autoregression_nll
from recitative.model.folder import TorchStage
from recitative.stage import Padded


def slow_nll(window):
    """(W, C): nats per dimension by a line fitted to each channel with numpy.linalg."""
    total = 0.0
    for channel in window.T.astype(float):
        before, after = channel[:-1], channel[1:]
        design = np.stack([before, np.ones(len(before))], axis=1)
        residual = after - design @ np.linalg.lstsq(design, after, rcond=None)[0]
        deviation = math.sqrt(np.mean(residual**2) + MIN_DEVIATION**2)
        total += math.log(deviation) + 0.5 * math.log(2 * math.pi * math.e)
    return total / window.shape[1]


def test_the_autoregression_of_a_window_is_fitted_by_least_squares():
    windows = np.random.default_rng(0).normal(16, 3, (4, 5, 12))
    np.testing.assert_allclose(autoregression_nll(windows), [slow_nll(window.T) for window in windows], rtol=1e-9)


def test_a_constant_window_has_the_minimum_deviation():
    expected = math.log(MIN_DEVIATION) + 0.5 * math.log(2 * math.pi * math.e)
    np.testing.assert_allclose(autoregression_nll(np.full((1, 3, 9), 7.0)), expected)


@pytest.mark.parametrize("score", ["ratio", "nll"])
def test_the_score_of_a_window_is_its_mean_nll_less_that_of_its_own_autoregression(score):
    rng = np.random.default_rng(1)
    frames = rng.normal(3, 2, (31, 1 + 4)).astype(np.float32)
    stage = WindowScore(4, 20, score)
    y, _ = stage.step(Padded(frames[None], np.array([31])), stage.initial_state(1), last=True)
    own = [slow_nll(frames[start : start + 20, 1:]) if score == "ratio" else 0.0 for start in range(0, 12, 2)]
    expected = [frames[start : start + 20, 0].mean() - less for start, less in zip(range(0, 12, 2), own, strict=True)]
    np.testing.assert_allclose(y.data[0, :, 0], expected, rtol=1e-5)


@pytest.mark.parametrize(("window", "score"), [(4, "ratio"), (20, "ratio"), (25, "nll")])
def test_window_scores_keep_the_contract(window, score):
    stage = AsTorch(WindowScore(3, window, score))
    verify_contract(stage, lambda shape, g: torch.randn(*shape, 4, generator=g), longest=70, gradients=False)


def test_the_chain_from_samples_to_scores_keeps_the_contract():
    made = small_forecaster.forecaster(
        "features.frame_shift_ms=1", "features.frame_length_ms=4", "detection.window_s=0.02"
    )
    detector = AnomalyDetector(TorchStage(made.network), made.settings)

    def samples(shape, generator):
        return 0.2 * torch.randn(*shape, generator=generator)

    verify_contract(AsTorch(detector), samples, longest=150, cuttings=3, atol=1e-4, gradients=False, slack=3)
