"""Scores of whole recordings: strangeness, and the plain scores that know no past."""

import numpy as np
import pytest
import torch

import small_forecaster
from recitative.anomaly.score import own_nats
from recitative.anomaly.scoring import LEAST_VARIANCE, PlainScores, frames_of, strangeness_of
from recitative.data.directory import DataDirectory
from recitative.nn.ragged import pad_features


@pytest.fixture(scope="module")
def hums(tmp_path_factory):
    return small_forecaster.write_corpus(tmp_path_factory.mktemp("hums"), count=3)


def test_a_recording_has_the_mean_strangeness_of_its_windows(hums):
    made, utterances = small_forecaster.forecaster(), DataDirectory.read(hums).utterances
    scores = strangeness_of(made, utterances, hums)
    frames = frames_of(utterances, made, hums)[1]
    surprise = made.surprise(pad_features([frames], 8)).data[0, :, 0].detach().numpy()
    assert scores["nats"][1] == pytest.approx(surprise.mean(), rel=1e-5)
    starts = range(0, len(frames) - 20 + 1, 2)
    means = [surprise[start : start + 20].mean() for start in starts]
    assert scores["surprise"][1] == pytest.approx(np.mean(means), rel=1e-4)
    own = [float(own_nats(frames[None, start : start + 20].transpose(0, 2, 1))[0]) for start in starts]
    assert scores["ratio"][1] == pytest.approx(np.mean(np.array(means) - own), rel=1e-4)


def test_a_recording_shorter_than_a_window_is_one_window(hums):
    utterances = DataDirectory.read(hums).utterances
    long, whole = (small_forecaster.forecaster(f"watch.window_s={s}") for s in (5, 0.795))
    expected = strangeness_of(whole, utterances, hums)
    for name, scores in strangeness_of(long, utterances, hums).items():
        assert scores == pytest.approx(expected[name])


def test_the_plain_scores_are_those_of_torch_and_of_numpy():
    rng = np.random.default_rng(0)
    rows = [rng.normal(3, 2, (length, 4)) for length in (20, 30, 25)]
    plain, every = PlainScores(rows), np.concatenate(rows)
    covariance = np.cov(every.T) + LEAST_VARIANCE * np.eye(4)
    normal = torch.distributions.MultivariateNormal(torch.tensor(every.mean(axis=0)), torch.tensor(covariance))
    assert plain.gaussian(rows[1]) == pytest.approx(-float(normal.log_prob(torch.tensor(rows[1])).mean()) / 4)
    means = np.array([row.mean(axis=0) for row in rows])
    expected = np.mean((means[2] - means.mean(axis=0)) ** 2 / (means.var(axis=0) + LEAST_VARIANCE))
    assert plain.mean(rows[2]) == pytest.approx(expected)
    assert list(plain.of(rows)) == ["gaussian", "mean"]
