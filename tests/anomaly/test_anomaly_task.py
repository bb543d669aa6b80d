"""Training an anomaly model: its loss by hand, segments, normalization, thresholds, and refused recordings."""

import numpy as np
import pytest
import torch

import small_forecaster
from recitative.anomaly.detector import FORECASTER, AnomalyDetector
from recitative.anomaly.task import AnomalyTask, cut, learn_threshold, load_scored_set, training_set
from recitative.config import RecordingsData
from recitative.data.directory import DataDirectory, Utterance
from recitative.errors import DataError
from recitative.features.extraction import read_utterance
from recitative.features.frontend import FeatureExtractor
from recitative.model.folder import TorchStage, load_model
from recitative.stage import Padded
from recitative.train.run import train_model

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hums")
    train = small_forecaster.write_corpus(folder / "train", seed=1)
    return train, small_forecaster.write_corpus(folder / "dev", count=3, seed=2)


def train(corpus, folder, *overrides):
    data = RecordingsData(train=corpus[0], dev=corpus[1])
    return train_model(FORECASTER, small_forecaster.settings(*overrides), data, folder, quiet=True)


def weights_of(folder):
    return load_model(folder, FORECASTER).network.state_dict()


def utterances_of(path):
    return DataDirectory.read(path).utterances


def test_a_long_recording_is_cut_into_equal_pieces_that_leave_nothing_out(corpus):
    settings = small_forecaster.settings("segment_s=0.3")
    segments, seconds = cut(utterances_of(corpus[0]), settings, "train")
    assert len(segments) == 3 * 6
    np.testing.assert_allclose(seconds, 0.8 / 3)
    first = [segment for segment in segments if segment.utt_id.startswith("u0-")]
    whole = read_utterance(utterances_of(corpus[0])[0])
    np.testing.assert_array_equal(np.concatenate([read_utterance(segment) for segment in first]), whole)


def test_a_short_recording_stays_whole(corpus):
    segments, _ = cut(utterances_of(corpus[0]), small_forecaster.settings("segment_s=1"), "train")
    assert segments == list(utterances_of(corpus[0]))


def test_the_loss_is_the_nll_of_every_frame_of_every_row(corpus):
    made = small_forecaster.forecaster()
    examples = training_set(utterances_of(corpus[0]), made.settings, np.zeros(8, np.float32), "train")
    task = AnomalyTask(made, examples, load_scored_set(utterances_of(corpus[1]), made.settings, "dev"), CPU)
    batch = examples.load(0, np.array([0, 3, 5]))
    expected = 0.0
    for row, length in enumerate(batch.features.lengths.tolist()):
        alone = Padded(batch.features.data[row : row + 1, :length], torch.tensor([length]))
        expected += float(made.nll(alone).data.detach().sum())
    loss, count = task.loss(batch)
    assert count == int(batch.features.lengths.sum())
    assert float(loss) == pytest.approx(expected, rel=1e-4)
    parts = [task.loss(part) for part in batch.split(2)]
    assert sum(float(part) for part, _ in parts) == pytest.approx(expected, rel=1e-4)
    scores = task.evaluate()
    assert scores["score"] == scores["dev_loss"]


def test_normal_sound_is_learned_and_another_tone_is_anomalous(corpus, tmp_path):
    done = train(corpus, tmp_path, "train.epochs=8", "train.learning_rate=0.03", "detection.false_alarms=0")
    model = load_model(done.folder, FORECASTER)
    detector = AnomalyDetector(TorchStage(model.network), model.settings)
    rng = np.random.default_rng(9)
    usual, unusual = (detector.scores(small_forecaster.hum(2.0, rng, hz)) for hz in (300.0, 1200.0))
    assert model.threshold == done.task.model.threshold
    assert np.median(usual) < model.threshold.limit < np.median(unusual)


def test_the_normalization_is_the_training_sets(corpus, tmp_path):
    made = load_model(train(corpus, tmp_path, "train.epochs=1", "segment_s=1").folder, FORECASTER)
    extractor = FeatureExtractor(made.settings.features)
    frames = np.concatenate([extractor.compute(read_utterance(u)) for u in utterances_of(corpus[0])]).astype(float)
    normalize = made.network.stages["normalize"]
    np.testing.assert_allclose(normalize.mean.numpy(), frames.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(1 / normalize.inverse_stddev.numpy(), frames.std(axis=0), rtol=1e-3)
    expected = -np.log(frames.std(axis=0)).mean()
    assert float(made.network.stages["forecast"].unit) == pytest.approx(expected, abs=1e-3)


def test_the_threshold_can_be_set_again_on_other_recordings(corpus):
    made = small_forecaster.forecaster()
    detector = AnomalyDetector(TorchStage(made.network), made.settings)
    dev = utterances_of(corpus[1])
    values = np.sort(np.concatenate([detector.scores(read_utterance(u)) for u in dev]))
    learned = learn_threshold(made, dev, 0.1, corpus[1])
    assert learned.windows == len(values)
    assert (values > learned.limit).sum() == int(0.1 * len(values))


def test_recordings_shorter_than_a_window_are_refused(corpus, tmp_path):
    with pytest.raises(DataError, match=r"the longest recording lasts 0\.8 s; .* one window \(detection\.window_s\)"):
        train(corpus, tmp_path, "detection.window_s=1")


def test_a_recording_in_which_nothing_can_be_predicted_is_refused(tmp_path):
    short = small_forecaster.write_corpus(tmp_path / "short", count=2, seconds=0.012)
    with pytest.raises(DataError, match=r"utterance 'u0': lasts 0\.012 s; at least 0\.015 s; remove it"):
        cut(utterances_of(short), small_forecaster.settings(), short)


def test_a_segment_of_a_recording_is_cut_within_its_own_times(corpus):
    whole = utterances_of(corpus[0])[0]
    part = Utterance("p", "p", whole.recording_path, 0.1, 0.7, recording_id="r")
    segments, _ = cut([part], small_forecaster.settings("segment_s=0.3"), "train")
    assert [(round(s.start_s, 3), round(s.end_s, 3)) for s in segments] == [(0.1, 0.4), (0.4, 0.7)]
