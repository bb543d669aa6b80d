"""Vocal tract length perturbation against features of tones that really are higher or lower."""

import numpy as np
import pytest

from recitative.config import FeatureSettings, load_settings
from recitative.errors import UsageError
from recitative.features.frontend import FeatureExtractor
from recitative.features.vtlp import VocalTractWarp

SETTINGS = FeatureSettings()


def _tone(hz):
    seconds = np.arange(8000) / SETTINGS.sample_rate
    return FeatureExtractor(SETTINGS).compute((0.1 * np.sin(2 * np.pi * hz * seconds)).astype(np.float32))


@pytest.mark.parametrize("factor", [0.85, 0.95, 1.1, 1.2])
@pytest.mark.parametrize("hz", [300.0, 800.0, 2000.0, 3500.0])
def test_a_tone_moves_to_the_channel_of_the_frequency_times_the_factor(hz, factor):
    moved = VocalTractWarp(SETTINGS).warp(_tone(hz), factor)
    np.testing.assert_array_equal(moved.argmax(1), _tone(hz * factor).argmax(1))


@pytest.mark.parametrize("factor", [0.5, 0.9, 1.1, 2.0])
def test_the_ends_of_the_band_stay_and_channels_keep_their_order(factor):
    ramp = np.arange(80, dtype=np.float32)[np.newaxis]  # each channel says which one it was
    (sources,) = VocalTractWarp(SETTINGS).warp(ramp, factor)
    assert np.all(np.diff(sources) >= 0)
    assert sources[-1] == pytest.approx(79, abs=1.0)
    assert sources[0] <= 2.5
    assert (sources[20] < 20) == (factor > 1)


def test_factor_one_changes_nothing_and_gives_a_copy():
    features = _tone(500.0)
    same = VocalTractWarp(SETTINGS).warp(features, 1.0)
    np.testing.assert_array_equal(same, features)
    assert not np.shares_memory(same, features)


def test_deltas_are_warped_as_the_channels_they_belong_to():
    rng = np.random.default_rng(1)
    static, delta = rng.normal(size=(2, 9, 80)).astype(np.float32)
    warper = VocalTractWarp(SETTINGS)
    together = warper.warp(np.concatenate([static, delta], 1), 1.1)
    np.testing.assert_array_equal(together, np.concatenate([warper.warp(static, 1.1), warper.warp(delta, 1.1)], 1))


def test_no_frames_stay_no_frames():
    assert VocalTractWarp(SETTINGS).warp(np.zeros((0, 80), np.float32), 1.1).shape == (0, 80)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["augment.vtlp=[0.9,1.1]", "features.kind=mfcc"], "needs features.kind=fbank"),
        (["augment.vtlp=[1.1,0.9]"], "must be"),
        (["augment.vtlp=[0.1,1.1]"], "0.5 to 2.0"),
    ],
)
def test_settings_that_cannot_be_met_are_refused(overrides, said):
    with pytest.raises(UsageError, match=said):
        load_settings(overrides=overrides)
