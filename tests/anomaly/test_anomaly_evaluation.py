"""Scores of whole recordings, by a detector and by baselines; the columns of the figure."""

import numpy as np
import pytest
import torch

import small_forecaster
from recitative.anomaly.detector import (
    MIN_VARIANCE,
    BaselineScores,
    Columns,
    autoregression_nll,
    features_of,
    recording_scores,
)
from recitative.data.directory import DataDirectory
from recitative.model.folder import run_model
from recitative.nn.ragged import pad_features


@pytest.fixture(scope="module")
def hums(tmp_path_factory):
    return small_forecaster.write_corpus(tmp_path_factory.mktemp("hums"), count=3)


def test_a_recording_has_the_mean_score_of_its_windows(hums):
    made, utterances = small_forecaster.forecaster(), DataDirectory.read(hums).utterances
    scores = recording_scores(run_model(made), utterances, hums)
    frames = features_of(run_model(made), utterances, hums)[1]
    surprise = made.nll(pad_features([frames], 8)).data[0, :, 0].detach().numpy()
    assert scores["nats"][1] == pytest.approx(surprise.mean(), rel=1e-5)
    starts = range(0, len(frames) - 20 + 1, 2)
    means = [surprise[start : start + 20].mean() for start in starts]
    assert scores["nll"][1] == pytest.approx(np.mean(means), rel=1e-4)
    own = [float(autoregression_nll(frames[None, start : start + 20].transpose(0, 2, 1))[0]) for start in starts]
    assert scores["ratio"][1] == pytest.approx(np.mean(np.array(means) - own), rel=1e-4)


def test_a_recording_shorter_than_a_window_is_one_window(hums):
    utterances = DataDirectory.read(hums).utterances
    long, whole = (run_model(small_forecaster.forecaster(f"detection.window_s={s}")) for s in (5, 0.795))
    expected = recording_scores(whole, utterances, hums)
    for name, scores in recording_scores(long, utterances, hums).items():
        assert scores == pytest.approx(expected[name])


def test_the_baselines_are_those_of_torch_and_of_numpy():
    rng = np.random.default_rng(0)
    rows = [rng.normal(3, 2, (length, 4)) for length in (20, 30, 25)]
    plain, every = BaselineScores(rows), np.concatenate(rows)
    covariance = np.cov(every.T) + MIN_VARIANCE * np.eye(4)
    normal = torch.distributions.MultivariateNormal(torch.tensor(every.mean(axis=0)), torch.tensor(covariance))
    assert plain.gaussian(rows[1]) == pytest.approx(-float(normal.log_prob(torch.tensor(rows[1])).mean()) / 4)
    means = np.array([row.mean(axis=0) for row in rows])
    expected = np.mean((means[2] - means.mean(axis=0)) ** 2 / (means.var(axis=0) + MIN_VARIANCE))
    assert plain.mean(rows[2]) == pytest.approx(expected)
    assert list(plain.of(rows)) == ["gaussian", "mean"]


def test_columns_keep_the_greatest_value_of_any_number_of_rows():
    values = np.random.default_rng(0).normal(size=(1001, 3))
    columns = Columns(3, most=16)
    for part in np.split(values, [1, 1, 40, 300, 777]):
        columns.accept(part)
    each = columns.rows_each
    assert each == 64
    expected = [values[start : start + each].max(axis=0) for start in range(0, 1001, each)]
    np.testing.assert_array_equal(columns.columns, expected)
