"""Layers in int8: what they compute, on the inputs that they were made for and on others."""

import numpy as np
import pytest
import torch

from recitative.model.graph import (
    INPUT_LEVELS,
    CellWriter,
    Graph,
    InputStatistics,
    QuantizedLayer,
    quantize_layer,
    quantize_rows,
)
from recitative.model.onnx_stage import open_session

ROWS, CHANNELS = 40, 96
RNG = np.random.default_rng(1)
MIXING = RNG.normal(size=(12, CHANNELS))
SCALES = np.exp(RNG.normal(size=CHANNELS))
SCALES[7] = 40.0  # one channel with a far wider range
WEIGHT = RNG.normal(size=(ROWS, CHANNELS)).astype(np.float32)


def correlated(frames: int, seed: int) -> np.ndarray:
    """(T, C) float32 behind a ReLU: most channels follow twelve others."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(frames, 12)) @ MIXING + 0.3 * rng.normal(size=(frames, CHANNELS))
    return np.maximum(x * SCALES, 0).astype(np.float32)


def rounded(layer: QuantizedLayer) -> np.ndarray:
    return layer.levels * layer.scales[:, None]


def error(found: np.ndarray, x: np.ndarray) -> float:
    """Mean square, of the mean square of what a float layer computes."""
    expected = x @ WEIGHT.T
    return float(np.mean((found - expected) ** 2) / np.mean(expected**2))


def nearest(x: np.ndarray) -> np.ndarray:
    levels, scales = quantize_rows(WEIGHT)
    return x @ (levels * scales[:, None]).T


def by(layer: QuantizedLayer, x: np.ndarray, *, integers: bool) -> np.ndarray:
    inputs = x * layer.factors - layer.center
    if integers:
        inputs = np.clip(np.round(inputs), -127, 127)
    return inputs @ rounded(layer).T + layer.bias


@pytest.mark.parametrize(("frames", "at_most"), [(30, 0.5), (300, 0.2), (5000, 0.15)])
def test_the_errors_of_rounded_weights_cancel_on_other_inputs_of_the_same_kind(frames, at_most):
    layer = quantize_layer(WEIGHT, InputStatistics.of(correlated(frames, 2)), 0.0)
    x = correlated(2000, 3)
    assert error(by(layer, x, integers=False), x) < at_most * error(nearest(x), x)


def test_inputs_in_eight_bits_lose_little_beside_one_channel_of_a_wide_range():
    layer = quantize_layer(WEIGHT, InputStatistics.of(correlated(5000, 2)), 0.7)
    x = correlated(2000, 3)
    one_level = np.abs(x).max() / 127
    one_range = nearest(np.round(x / one_level) * one_level)
    assert error(by(layer, x, integers=True), x) < 0.1 * error(one_range, x)


def test_weights_of_independent_channels_are_rounded_to_the_nearest():
    levels, scales = quantize_rows(WEIGHT, np.diag(SCALES**2))
    expected, expected_scales = quantize_rows(WEIGHT)
    assert np.array_equal(levels, expected)
    assert np.array_equal(scales, expected_scales)


@pytest.mark.parametrize("smoothing", [0.0, 0.7, 1.0])
def test_the_inputs_measured_are_within_the_levels_and_zero_is_one_of_them(smoothing):
    x = correlated(500, 2)
    layer = quantize_layer(WEIGHT, InputStatistics.of(x), smoothing)
    assert np.abs(x * layer.factors - layer.center).max() < 127.001
    assert np.array_equal(layer.center, np.round(layer.center))


def test_few_frames_leave_room_for_inputs_beyond_them():
    few, many = (quantize_layer(WEIGHT, InputStatistics.of(correlated(n, 2)), 0.7) for n in (64, 5000))
    x = correlated(2000, 3)
    assert np.mean(np.abs(x * few.factors - few.center) > 127) < 1e-3
    measured = correlated(5000, 2) * many.factors - many.center
    assert np.abs(measured).max() > 115  # of 127: many frames leave little


@pytest.mark.parametrize("value", [0.0, 5.0])
def test_a_channel_that_never_changed_does_no_harm(value):
    x = correlated(500, 2)
    x[:, 3] = value
    layer = quantize_layer(WEIGHT, InputStatistics.of(x), 0.7)
    assert error(by(layer, x, integers=True), x) < 2e-4


def test_inputs_that_were_all_the_same_give_their_product():
    x = np.full((4, CHANNELS), 2.5, np.float32)
    layer = quantize_layer(WEIGHT, InputStatistics.of(x), 0.7)
    np.testing.assert_allclose(by(layer, x, integers=True), x @ WEIGHT.T, atol=1e-3)


def test_a_covariance_that_is_all_rounding_leaves_weights_at_the_nearest_levels():
    noise = np.random.default_rng(4).normal(size=(CHANNELS, CHANNELS))
    covariance = noise + noise.T
    np.fill_diagonal(covariance, 0.0)
    for found, expected in zip(quantize_rows(WEIGHT, covariance), quantize_rows(WEIGHT), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_statistics_of_parts_are_those_of_the_whole():
    x = correlated(100, 2)
    parts, whole = InputStatistics.of(x[:30]) + InputStatistics.of(x[30:]), InputStatistics.of(x)
    assert parts.frames == whole.frames
    for name in ("lowest", "highest", "sums", "products"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-5)
    shrunk, exact = whole.covariance(), np.cov(x.T, bias=True)
    np.testing.assert_allclose(shrunk.diagonal(), exact.diagonal(), rtol=1e-3)
    np.testing.assert_allclose(shrunk[0, 1:], exact[0, 1:] * 100 / (100 + CHANNELS), rtol=1e-3, atol=1e-3)


def test_the_input_of_a_linear_layer_has_sixteen_bits():
    linear = torch.nn.Linear(CHANNELS, ROWS)
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(WEIGHT))
        linear.bias.normal_()
    statistics = InputStatistics.of(correlated(500, 2))
    layer = quantize_layer(WEIGHT, statistics, 0.0, INPUT_LEVELS // 2)
    graph = Graph()
    x = graph.input("x", "float32", ("N", "T", CHANNELS))
    y = CellWriter(graph, {"layer": statistics}).linear("layer", linear, x)
    graph.output("y", y, "float32", ("N", "T", ROWS))
    session = open_session(graph.model({}).SerializeToString(), "the graph", "graph", threads=1)
    data = correlated(500, 2).reshape(2, 250, CHANNELS)
    (found,) = session.run(["y"], {"x": data})
    expected = by(layer, data.reshape(-1, CHANNELS), integers=False) + linear.bias.detach().numpy()
    one_level = np.abs(rounded(layer)).sum(axis=1)  # what an output could lose if each input lost a whole level
    assert np.all(np.abs(found.reshape(-1, ROWS) - expected) <= one_level / 256)
