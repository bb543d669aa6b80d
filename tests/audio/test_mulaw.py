"""Sound as 256 levels, and emphasis."""

import numpy as np
import pytest

from recitative.sound.conditioning import LEVELS, MIDDLE, Deemphasis, companded, decode, emphasize, encode


def test_every_level_is_its_own_code():
    levels = np.arange(LEVELS)
    assert encode(decode(levels)).tolist() == levels.tolist()


def test_silence_is_the_middle_and_the_ends_are_full_scale():
    assert encode(np.array([0.0])).tolist() == [MIDDLE]
    assert abs(decode(np.array([MIDDLE]))[0]) < 1e-4
    np.testing.assert_allclose(decode(np.array([0, 255])), [-1, 1], atol=1e-6)
    assert companded()[[0, 255]].tolist() == [-1, 1]


def test_samples_beyond_full_scale_are_clipped():
    assert encode(np.array([-3.0, 2.0])).tolist() == [0, 255]


def test_the_error_is_a_small_share_of_the_sample():
    samples = np.concatenate([np.geomspace(1e-3, 1, 500), -np.geomspace(1e-3, 1, 500)])
    error = np.abs(decode(encode(samples)) - samples)
    assert (error <= 0.0225 * (np.abs(samples) + 1 / 255)).all()  # half a step: ln 256 / 255 (|x| + 1 / 255), and a bit


@pytest.mark.parametrize("blocks", [[100], [1] * 100, [16] * 6 + [4], [0, 50, 0, 50]])
def test_emphasis_and_its_inverse_leave_the_samples_however_they_are_cut(blocks):
    samples = np.random.default_rng(0).uniform(-1, 1, (2, 100)).astype(np.float32)
    raised = np.stack([emphasize(row, 0.85) for row in samples])
    inverse = Deemphasis(2, 0.85)
    parts = np.split(raised, np.cumsum(blocks)[:-1], axis=1)
    np.testing.assert_allclose(np.concatenate([inverse(part) for part in parts], axis=1), samples, atol=1e-5)


def test_emphasis_by_hand():
    assert emphasize(np.array([1.0, 0.5, 0.0], np.float32), 0.5).tolist() == [1.0, 0.0, -0.25]
