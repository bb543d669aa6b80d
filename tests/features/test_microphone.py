"""Recorded elsewhere: what quiet, colour and hiss do to features, against powers added one by one."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from recitative.config import AugmentSettings, FeatureSettings
from recitative.features.microphone import (
    DEEPER,
    HISS_DB,
    ONSET,
    ONSET_FRAMES,
    babble,
    colour,
    cut_close,
    hiss,
    room,
    stretch,
    surround,
    telephone,
)

QUIET = np.full((2000, 40), -10.0, np.float32)


def rng(seed=0):
    return np.random.default_rng(seed)


def test_the_colour_is_one_smooth_curve_within_its_bounds_for_all_frames():
    features = rng().normal(size=(7, 41)).astype(np.float32)
    curves = np.array([colour(features, 6.0, rng(seed)) - features for seed in range(50)]) * 10 / np.log(10)  # in dB
    assert_allclose(curves, np.broadcast_to(curves[:, :1], curves.shape), atol=1e-4)
    assert 5.5 < np.abs(curves).max() <= 6.0001
    bends = np.abs(np.diff(curves[:, 0], 2)) > 1e-3
    assert set(np.flatnonzero(bends.any(0)) + 1) == {10, 20, 30}, "straight between five points"


@pytest.mark.parametrize("snr_db", [0.0, 20.0])
def test_the_hiss_is_so_far_below_the_recording_as_was_asked_for(snr_db):
    features = np.full((4000, 40), 3.0, np.float32)
    noise = np.exp(hiss(features, snr_db, rng()).astype(np.float64)) - np.exp(3.0)
    assert 10 * np.log10(np.exp(3.0) / noise.mean()) == pytest.approx(snr_db, abs=0.1)
    channels_db = 10 * np.log10(noise.mean(0) / noise.mean())
    assert np.abs(channels_db).max() <= 2 * HISS_DB
    assert np.abs(np.diff(channels_db)).max() < 3, "no channel is far from its neighbours"


def test_the_hiss_of_a_channel_is_as_restless_as_the_power_of_a_noise():
    noise = np.exp(hiss(QUIET, -30.0, rng()).astype(np.float64))
    assert_allclose(noise.std(0) / noise.mean(0), 0.5, atol=0.06)  # of Gamma(4): 1 / sqrt(4)


def test_what_is_loud_stays_and_what_is_quiet_becomes_hiss():
    features = np.where(np.arange(40) < 20, 20.0, -10.0).astype(np.float32) * np.ones((50, 1), np.float32)
    heard = hiss(features, 40.0, rng())
    assert_allclose(heard[:, :20], 20.0, atol=0.05)
    assert (heard[:, 20:] > 5.0).all()


@pytest.mark.parametrize(("below_db", "kept"), [(5.0, slice(3, 4)), (15.0, slice(1, 6)), (25.0, slice(0, 8))])
def test_a_recording_is_cut_where_it_is_first_and_last_loud_enough(below_db, kept):
    loudness_db = np.array([-20.0, -10.0, -30.0, 0.0, -24.0, -10.0, -30.0, -20.0])
    features = (loudness_db[:, None] * np.log(10) / 10 + rng().normal(3.0, 0.01, (8, 40))).astype(np.float32)
    assert np.array_equal(cut_close(features, below_db), features[kept])


@pytest.mark.parametrize(("cut_db", "message"), [([-5, 10], "must be 0 or more"), ([20, 10], r"\[lowest, highest\]")])
def test_a_range_of_cuts_that_makes_no_sense_is_refused(cut_db, message):
    with pytest.raises(ValueError, match=message):
        AugmentSettings(cut_db=cut_db)


def test_the_quiet_around_a_recording_is_of_any_length_and_quieter_than_almost_all_of_it():
    features = rng().normal(10.0, 2.0, (60, 40)).astype(np.float32)
    drawn = [surround(features, 20, rng(seed)) for seed in range(300)]
    befores = {find(one, features[ONSET_FRAMES:]) - ONSET_FRAMES for one in drawn}
    assert befores == set(range(21))
    assert {len(one) - len(features) for one in drawn} >= {1, 10, 20, 30, 39}
    longest = max(drawn, key=len)
    quiet = longest[: find(longest, features[ONSET_FRAMES:]) - ONSET_FRAMES]
    fifth = np.quantile(features, 0.05, axis=0)
    assert (fifth - DEEPER - 0.5 < quiet.mean(0)).all()
    assert (quiet.mean(0) < fifth + 0.5).all()


def test_a_recording_comes_out_of_the_quiet_gradually():
    features = rng().normal(10.0, 2.0, (60, 40)).astype(np.float32)
    for seed in range(50):
        heard = surround(features, 0, rng(seed))
        below = features - heard
        assert_allclose(below, np.broadcast_to(below[:, :1], below.shape), atol=1e-5)
        assert (np.diff(below[:, 0]) < 1e-5).all()
        assert below.max() <= ONSET
        assert below.min() >= -1e-5


def test_a_recording_of_one_frame_stays_one_frame():
    assert surround(QUIET[:1], 0, rng()).shape == (1, 40)


def find(heard, features):
    """Where the frames begin."""
    return next(i for i in range(len(heard)) if np.array_equal(heard[i : i + len(features)], features))


def test_features_that_are_no_logarithms_of_powers_are_refused():
    for features in (FeatureSettings(kind="mfcc"), FeatureSettings(delta_order=1)):
        for one in ({"colour_db": 3}, {"room_probability": 0.1}, {"speed_kind": "frames"}):
            with pytest.raises(ValueError, match=r"augment\.\w+(=frames)? needs features\.kind=fbank without deltas"):
                AugmentSettings.model_validate(one).require_fit(features)


def test_the_tail_of_a_room_decays_by_60_db_in_the_time_that_was_asked_for_and_has_the_power_asked_for():
    click = np.full((100, 3), -15.0, np.float32)
    click[10] = 10.0
    heard = room(click, rt60_s=0.5, drr_db=0.0, frame_s=0.01).astype(np.float64)
    assert (heard[:10] < -14.0).all(), "nothing is heard before"
    assert_allclose(np.diff(heard[11:40], axis=0), -np.log(1e6) / 50, atol=1e-3)  # 50 frames
    steady = np.full((400, 3), 7.0, np.float32)
    assert_allclose(room(steady, 0.5, drr_db=6.0, frame_s=0.01)[-1], 7 + np.log(1 + 10**-0.6), atol=1e-3)


def test_babble_is_the_sum_of_the_others_so_far_below_as_was_asked_for():
    features, others = np.full((300, 4), 5.0, np.float32), [np.full((7, 4), 2.0), np.full((1, 4), 9.0)]
    noise = np.exp(babble(features, others, 10.0, rng()).astype(np.float64)) - np.exp(5.0)
    assert 10 * np.log10(np.exp(5.0) / noise.mean()) == pytest.approx(10.0, abs=0.01)
    short_and_long = babble(features, [rng().normal(size=(1000, 4))], 0.0, rng(1))
    assert short_and_long.shape == (300, 4)
    assert np.isfinite(short_and_long).all()


def test_a_telephone_leaves_its_band_and_nothing_becomes_quieter_than_the_floor():
    hz = np.array([60.0, 400.0, 1000.0, 2900.0, 5000.0, 7500.0])
    for seed in range(20):
        heard = telephone(np.full((5, 6), 10.0, np.float32), hz, -1.0, rng(seed))
        assert_allclose(heard[:, 1:4], 10.0)
        assert (heard[:, [0, 4, 5]] < 10.0 - np.log(100) + 1e-4).all(), "20 dB at least"
        assert heard.min() >= -1.0


def test_frames_are_stretched_along_straight_lines():
    features = np.array([[0.0], [2.0], [4.0]], np.float32)
    assert_allclose(stretch(features, 5), [[0], [1], [2], [3], [4]])
    assert_allclose(stretch(features, 2), [[0], [4]])
    assert_allclose(stretch(features[:1], 3), [[0], [0], [0]])
    assert stretch(features, 3) is features
