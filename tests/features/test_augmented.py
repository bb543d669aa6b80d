"""Features as training hears them: those that are kept against those that are worked out anew."""

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from recitative.audio.files import write_wav
from recitative.config import AugmentSettings, FeatureSettings, TrainSettings
from recitative.data.tables import Utterance
from recitative.errors import UsageError
from recitative.features import augment
from recitative.features.augment import AugmentedFeatures, change_speed, change_volume
from recitative.features.frontend import FeatureExtractor

RATE = 8000
MEAN = np.zeros(10, np.float32)
KEPT = TrainSettings(cache_features=True)


@dataclass(frozen=True)
class Settings:
    features: FeatureSettings
    augment: AugmentSettings
    train: TrainSettings


def settings(features=None, **augment):
    values = {"sample_rate": RATE, "num_mel_bins": 10, "log_floor": 4.0} | (features or {})
    return Settings(FeatureSettings.model_validate(values), AugmentSettings.model_validate(augment), KEPT)


@pytest.fixture
def recording(tmp_path):
    """Half a second of noise and as much of digital silence."""
    samples = np.zeros(RATE, np.float32)
    samples[: RATE // 2] = np.random.default_rng(0).normal(0, 0.01, RATE // 2)
    write_wav(tmp_path / "noise.wav", samples, RATE)
    return Utterance("noise", "nobody", str(tmp_path / "noise.wav"))


def heard(recording, settings):
    return AugmentedFeatures([recording], np.array([1.0]), settings, MEAN)


@pytest.mark.parametrize("speed", [1.0, 0.9])
@pytest.mark.parametrize("gain_db", [-20.0, 0.0, 12.0])
def test_kept_features_are_those_of_the_louder_or_quieter_samples(recording, speed, gain_db):
    chosen = settings(volume_db=(gain_db, gain_db))
    samples = change_volume(change_speed(augment.read_utterance(recording), speed, RATE), gain_db)
    features, masked = heard(recording, chosen).draw(0, speed, np.random.default_rng(1))
    expected = FeatureExtractor(chosen.features).compute(samples)
    assert_allclose(features, expected, atol=2e-3)  # float32 rounds the samples, their powers and the sum
    assert features.min() == 4.0
    assert_array_equal(masked, features)


def test_each_speed_of_a_recording_is_worked_out_once(recording, monkeypatch):
    read = []
    monkeypatch.setattr(augment, "read_utterance", lambda one, keep=augment.read_utterance: read.append(1) or keep(one))
    features = heard(recording, settings(volume_db=(-3, 3)))
    drawn = [features.draw(0, speed, np.random.default_rng(seed))[0] for seed in range(3) for speed in (0.9, 1.1)]
    assert len(read) == 2
    assert len({float(one[0, 0]) for one in drawn}) == 6, "the volume is drawn anew each time"


def test_speeds_of_frames_need_one_extraction_and_have_the_length_of_samples_at_that_speed(recording, monkeypatch):
    read = []
    monkeypatch.setattr(augment, "read_utterance", lambda one, keep=augment.read_utterance: read.append(1) or keep(one))
    features = heard(recording, settings(speed_kind="frames"))
    drawn = {speed: features.draw(0, speed, np.random.default_rng(1))[0] for speed in (0.9, 1.0, 1.1)}
    assert len(read) == 1
    for speed, one in drawn.items():
        samples = change_speed(augment.read_utterance(recording), speed, RATE)
        expected = FeatureExtractor(settings().features).compute(samples)
        assert len(one) == pytest.approx(len(expected), abs=1)
        half = len(one) // 2 - 2
        assert one[:half].mean() == pytest.approx(expected[:half].mean(), abs=0.3)


def test_rooms_babble_and_telephones_are_drawn_from_the_generator(recording):
    everything = {"room_probability": 1, "babble_probability": 1, "telephone_probability": 1}
    for chosen in ({name: value} for name, value in everything.items()):
        first, again = (
            heard(recording, settings(**chosen)).draw(0, 1.0, np.random.default_rng(3))[0] for _ in range(2)
        )
        plain = heard(recording, settings()).draw(0, 1.0, np.random.default_rng(3))[0]
        assert_array_equal(first, again)
        assert not np.array_equal(first, plain), chosen


def test_a_recording_gets_its_quiet_in_frames_of_the_features(recording):
    lengths = [
        len(heard(recording, settings(quiet_s=0.05)).draw(0, 1.0, np.random.default_rng(seed))[0]) for seed in range(60)
    ]
    assert {length - 98 for length in lengths} == set(range(11))  # a second has 98 frames, 0.05 s has 5


def test_a_recording_is_cut_before_it_gets_its_quiet(recording):
    cut = heard(recording, settings(cut_db=[0, 0], quiet_s=0.05))
    lengths = {len(cut.draw(0, 1.0, np.random.default_rng(seed))[0]) for seed in range(400)}
    assert lengths == set(range(1, 12)), "its loudest frame, and up to five of quiet on either side"


def test_colour_and_hiss_are_drawn_from_the_generator(recording):
    first, again, other = (
        heard(recording, settings(colour_db=6, hiss_snr_db=[10, 30])).draw(0, 1.0, np.random.default_rng(seed))[0]
        for seed in (1, 1, 2)
    )
    assert_array_equal(first, again)
    plain, _ = heard(recording, settings()).draw(0, 1.0, np.random.default_rng(1))
    assert np.abs(first - plain).mean() > 0.3
    assert np.abs(first - other).mean() > 0.3


@pytest.mark.parametrize(("features", "augment"), [
    ({"kind": "mfcc", "num_ceps": 5, "log_floor": -16.0}, {}), ({"delta_order": 1}, {}), ({}, {"noise_dir": "x"}),
])  # fmt: skip
def test_features_that_volume_and_noise_change_otherwise_cannot_be_kept(recording, features, augment, tmp_path):
    values = dict.fromkeys(augment, tmp_path)
    with pytest.raises(UsageError, match=r"train\.cache_features=true needs features\.kind=fbank without deltas"):
        heard(recording, settings(features, **values))
