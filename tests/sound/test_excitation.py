"""Between sound and the levels that a model of sound draws."""

import numpy as np
import pytest

from recitative.config import load_tree
from recitative.errors import UsageError
from recitative.sound.conditioning import LevelDecoder, WaveSettings, levels_of, mel_conditions, nearest


def settings(*overrides):
    return load_tree(WaveSettings, None, ["features.sample_rate=8000", "features.num_mel_bins=40", *overrides])


def tone(samples=4001, seed=0):
    """A voice of a kind: harmonics that swell, and some noise."""
    t = np.arange(samples) / 8000
    voice = sum(np.sin(2 * np.pi * 150 * n * t) / n for n in range(1, 20))
    noise = np.random.default_rng(seed).normal(size=samples)
    return (0.1 * np.sin(np.pi * t / t[-1]) * voice + 0.002 * noise).astype(np.float32)


def redrawn(samples, frames, made):
    """Through the levels and back."""
    step = made.sound.step
    levels = levels_of(samples, frames, made)
    whole = np.concatenate([levels, np.full(-len(levels) % step, 128, np.uint8)]).reshape(1, -1, step)
    sounds = LevelDecoder([frames], 1, made)
    blocks = [sounds.step(number, whole[:, number]) for number in range(whole.shape[1])]
    return np.concatenate(blocks, axis=1)[0, : len(samples)]


@pytest.mark.parametrize("prediction", [0, 8, 16])
@pytest.mark.parametrize("step", [8, 16])
def test_levels_are_the_sound_but_for_the_steps_between_them(prediction, step):
    made = settings(f"sound.prediction={prediction}", f"sound.step={step}", "sound.history=16")
    samples = tone()
    error = redrawn(samples, mel_conditions(samples, made), made) - samples
    assert 20 * np.log10(samples.std() / error.std()) > 25


def test_with_linear_prediction_a_level_does_not_depend_on_how_loud_a_sound_is():
    made = settings()
    loud, soft = (levels_of(x, mel_conditions(x, made), made) for x in (tone(), 0.1 * tone()))
    assert np.abs(loud.astype(int) - soft.astype(int)).mean() < 3.0
    made = settings("sound.prediction=0")
    loud, soft = (levels_of(x, mel_conditions(x, made), made) for x in (tone(), 0.1 * tone()))
    assert np.abs(loud.astype(int) - soft.astype(int)).mean() > 10.0


def test_a_step_belongs_to_the_frame_whose_middle_is_nearest():
    made = settings("features.sample_rate=16000")  # frames of 400 samples every 160, steps of 16
    middles = np.arange(40) * 16 + 8
    distances = np.abs(middles[:, None] - (200 + 160 * np.arange(3)))
    found = nearest(np.arange(40), 3, made)
    assert (distances[np.arange(40), found] == distances.min(axis=1)).all()
    assert found[[0, 39]].tolist() == [0, 2]


def test_only_mel_frames_say_what_to_predict_with():
    assert settings("sound.condition=labels").prediction == 0
    assert settings("sound.condition=mel").prediction == 16
    with pytest.raises(UsageError, match=r"sound\.prediction needs features\.kind=fbank and features\.delta_order=0"):
        settings("features.kind=mfcc")
    assert settings("features.kind=mfcc", "sound.prediction=0").prediction == 0
