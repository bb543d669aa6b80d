"""Features are heard: their sound has the features from which it was made."""

import numpy as np
import pytest

from recitative.config import FeatureSettings
from recitative.features.frontend import FeatureExtractor, to_samples

pytest.importorskip("librosa", reason="librosa finds the phases")

RATE = 8000


def glide():
    """A voice with harmonics that rises from 120 to 240 Hz, with a pause, in faint noise."""
    time = np.arange(RATE) / RATE
    phase = 2 * np.pi * np.cumsum(120 * 2**time) / RATE
    sound = sum(np.sin(n * phase) / n for n in range(1, 12)) * ((time < 0.4) | (time > 0.6))
    return (0.1 * sound + 0.001 * np.random.default_rng(0).standard_normal(RATE)).astype(np.float32)


@pytest.mark.parametrize(
    ("settings", "nats"),
    [
        (FeatureSettings(sample_rate=RATE, num_mel_bins=40), 0.5),
        (FeatureSettings(sample_rate=RATE, num_mel_bins=40, delta_order=2), 0.5),
        (FeatureSettings(sample_rate=RATE, kind="mfcc", num_mel_bins=23, num_ceps=23), 6.0),
    ],
    ids=["fbank", "with deltas", "mfcc"],
)
def test_the_sound_has_the_features_from_which_it_was_made(settings, nats):
    extractor = FeatureExtractor(settings)
    frames = extractor.compute(glide())
    samples = to_samples(frames, settings)
    assert samples.dtype == np.float32
    assert abs(len(samples) - RATE) <= settings.window_samples
    again = extractor.compute(samples)
    count, width = min(len(frames), len(again)), settings.dim // (1 + settings.delta_order)
    wanted, found = frames[:count, :width], again[:count, :width]
    assert np.abs(wanted - found).mean() < nats
    assert np.corrcoef(wanted.ravel(), found.ravel())[0, 1] > 0.95


def test_no_frames_are_silence_and_other_widths_are_refused():
    settings = FeatureSettings(sample_rate=RATE, num_mel_bins=40)
    assert len(to_samples(np.zeros((0, 40), np.float32), settings)) == 0
    with pytest.raises(ValueError, match=r"the shape \(3, 80\); \(frames, 40\)"):
        to_samples(np.zeros((3, 80), np.float32), settings)
