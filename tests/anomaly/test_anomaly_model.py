"""The network of an anomaly model as a stage and as a file, its units, settings and threshold."""

import numpy as np
import onnx
import pytest
import torch
from torch.testing import assert_close

import small_forecaster
from contract import AsTorch, verify_contract
from recitative.anomaly.detector import FORECASTER, Threshold
from recitative.errors import DataError, UsageError
from recitative.model.export import build_file
from recitative.model.folder import load_model, save_model
from recitative.model.onnx_stage import OnnxStage
from recitative.stage import Padded

LEARNED = Threshold(limit=1.5, usual=0.5, false_alarms=0.01, windows=200)
SHAPES = [
    (),
    ("model.horizon=5", "model.components=1"),
    ("model.width=6", "model.recurrent.layers=2", "model.recurrent.cell=gru", "model.dropout=0.3"),
    ("model.cmvn=running", "model.recurrent.layer_norm=true", "model.recurrent.projection=4"),
]


@pytest.mark.parametrize("overrides", SHAPES)
def test_the_whole_network_keeps_the_contract(overrides):
    network = small_forecaster.forecaster(*overrides).network
    assert (network.stride, network.lookahead) == (1, 0)
    verify_contract(network, small_forecaster.features, cuttings=3, atol=1e-4)


@pytest.mark.parametrize("overrides", SHAPES)
def test_the_file_keeps_the_contract_and_gives_the_nll_of_the_folder(overrides):
    made = small_forecaster.forecaster(*overrides)
    model = build_file(made)
    onnx.checker.check_model(model, full_check=True)
    file = OnnxStage(model.SerializeToString(), FORECASTER)
    verify_contract(AsTorch(file), small_forecaster.features, cuttings=3, atol=1e-4, gradients=False)
    x = small_forecaster.features((3, 30), torch.Generator().manual_seed(3))
    lengths = torch.tensor([30, 7, 1])
    expected = made.nll(Padded(x, lengths)).data.detach()
    y, _ = file.step(Padded(x.numpy(), lengths.numpy()), file.initial_state(3), last=True)
    for row, length in enumerate(lengths.tolist()):
        assert_close(torch.from_numpy(y.data[row, :length]), expected[row, :length], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("horizon", [1, 3])
def test_a_frame_is_predicted_from_those_a_horizon_before_it_and_from_no_others(horizon):
    network = small_forecaster.forecaster(f"model.horizon={horizon}").network
    x = small_forecaster.features((1, 12), torch.Generator().manual_seed(1))
    before = network.step(Padded(x, torch.tensor([12])), network.initial_state(1), last=True)[0].data[0, :, 0]
    x[0, 4] += 1.0
    after = network.step(Padded(x, torch.tensor([12])), network.initial_state(1), last=True)[0].data[0, :, 0]
    changed = ((after - before).abs() > 1e-6).nonzero()[:, 0].tolist()
    assert changed == [4, *range(4 + horizon, 12)]


def test_the_nll_is_that_of_the_features_before_normalization():
    """An untrained network predicts N(mean, deviation) of the corpus."""
    made = small_forecaster.forecaster("model.components=1", "model.least_deviation=1e-9")
    density = made.network.stages["forecast"].density
    with torch.no_grad():
        density.linear.weight.zero_()
        density.linear.bias.zero_()
    x = small_forecaster.features((1, 5), torch.Generator().manual_seed(1))
    normal = torch.distributions.Normal(16.0, torch.linspace(2.0, 4.0, small_forecaster.CHANNELS))
    expected = -normal.log_prob(x[0]).mean(-1)
    assert_close(made.nll(Padded(x, torch.tensor([5]))).data[0, :, 0], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("content", "message"), [
    ("{}", "threshold.json: 'limit': field required; what 'recitative anomaly threshold' wrote"),
    ("[1", "threshold.json: is not JSON"),
])  # fmt: skip
def test_a_damaged_threshold_is_refused(tmp_path, content, message):
    save_model(small_forecaster.forecaster(), tmp_path)
    (tmp_path / "SHA256SUMS").unlink()
    (tmp_path / "threshold.json").write_text(content)
    with pytest.raises(DataError, match=message):
        load_model(tmp_path, FORECASTER)


@pytest.mark.parametrize(("override", "message"), [
    ("features.delta_order=1", "delta_order=1 must be 0, because deltas contain future frames"),
    ("detection.window_s=0.01", r"detection\.window_s=0\.01 must be at least 0\.02, 4 frames"),
    ("model.horizons=2", "unknown setting 'model.horizons'; did you mean 'horizon'"),
    ("model.recurrent.direction=bidirectional", "direction='bidirectional': input should be 'forward'"),
    ("detection.score=likelihood", "score='likelihood': input should be 'ratio' or 'nll'"),
])  # fmt: skip
def test_wrong_settings_are_refused(override, message):
    with pytest.raises(UsageError, match=message):
        small_forecaster.settings(override)


def test_the_score_of_older_settings_is_read():
    assert small_forecaster.settings("detection.score=surprise").detection.score == "nll"


def test_the_threshold_leaves_at_most_the_given_share_of_normal_windows_above_it():
    values = np.random.default_rng(0).permutation(100.0 + np.arange(50))
    for false_alarms, above in ((0.0, 0), (0.01, 0), (0.02, 1), (0.1, 5), (0.5, 25)):
        learned = Threshold.learn([values[:20], values[20:]], false_alarms)
        assert (values > learned.limit).sum() == above
        assert (learned.windows, learned.usual) == (50, 124.5)
