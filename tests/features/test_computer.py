"""One computer serves any number of recordings, and none of them notices the others."""

import threading

import numpy as np
import pytest

from recitative.config import FeatureSettings
from recitative.features.computer import KaldiComputer, computer_of


@pytest.mark.parametrize(
    "settings",
    [
        FeatureSettings(num_mel_bins=20),
        FeatureSettings(kind="mfcc", num_mel_bins=23),
        FeatureSettings(sample_rate=8000, num_mel_bins=10, frame_length_ms=20.0, frame_shift_ms=7.0),
        FeatureSettings(num_mel_bins=10, frame_length_ms=10.0, frame_shift_ms=10.0),
    ],
    ids=["fbank", "mfcc", "odd hop", "no overlap"],
)
def test_what_it_heard_before_changes_no_bit(settings):
    rng = np.random.default_rng(1)
    used = KaldiComputer(settings)
    window = int(settings.sample_rate * 0.001 * settings.frame_length_ms)
    for length in (window, window + 1, 5000, 100, 0, window * 3 + 17, 40001, window):
        samples = (1000 * rng.standard_normal(length)).astype(np.float32)
        frames, expected = used.frames(samples), KaldiComputer(settings).frames(samples)
        assert len(frames) == max(0, (length - window) // used._hop + 1)
        np.testing.assert_array_equal(frames, expected)
        assert length < window or 0 < frames.std() < 100  # memory that was given back holds anything


def test_it_keeps_no_audio():
    computer = KaldiComputer(FeatureSettings())
    for _ in range(50):
        computer.frames(np.zeros(16000, np.float32))
        assert computer._kept < 400


def test_every_thread_has_its_own():
    settings = FeatureSettings()
    found = [computer_of(settings), computer_of(settings)]
    thread = threading.Thread(target=lambda: found.append(computer_of(settings)))
    thread.start()
    thread.join()
    assert found[0] is found[1]
    assert found[0] is not found[2]
