"""Linear prediction from log-mel frames."""

import numpy as np
import pytest

from recitative.config import FeatureSettings
from recitative.features.frontend import FeatureExtractor
from recitative.sound.conditioning import MIN_GAIN, Predictors, SynthesisFilter, emphasize, predictors, whiten

SETTINGS = FeatureSettings(sample_rate=16000, num_mel_bins=80)
RESONANCES = ((500.0, 0.97), (1500.0, 0.95), (2600.0, 0.94))  # Hz, radius of the pole: about the vowel of 'bird'


def vowel(seconds=1.0, gain=0.003, seed=0):
    """Noise through three resonances, and the filter's taps."""
    errors = np.ones(1)
    for hz, radius in RESONANCES:
        errors = np.convolve(errors, [1.0, -2 * radius * np.cos(2 * np.pi * hz / 16000), radius**2])
    noise = np.random.default_rng(seed).normal(size=round(16000 * seconds))
    signal = np.zeros(len(noise))
    for n in range(len(noise)):
        signal[n] = gain * noise[n] - sum(errors[i] * signal[n - i] for i in range(1, min(n, 6) + 1))
    return signal.astype(np.float32), -errors[1:]


def random_predictors(count, order, seed=0):
    """Of stable filters."""
    rng = np.random.default_rng(seed)
    return Predictors(rng.uniform(-0.9, 0.9, (count, order)) / order, rng.uniform(0.5, 2.0, count))


def test_the_resonances_of_a_sound_are_found_in_its_frames():
    signal, _ = vowel()
    found = predictors(FeatureExtractor(SETTINGS).compute(signal), SETTINGS, 16, preemphasis=0.0)
    turns = np.exp(-2j * np.pi * np.outer(np.arange(1, 17), np.arange(0, 8000, 20)) / 16000)
    response = 1 / np.abs(1 - found.taps @ turns).mean(axis=0)
    peaks = [20 * i for i in range(1, 399) if response[i] > max(response[i - 1], response[i + 1])]
    for hz, _ in RESONANCES:
        assert min(abs(peak - hz) for peak in peaks) < 100


def test_what_is_left_has_unit_power_and_a_flatter_spectrum():
    signal, _ = vowel()
    raised = emphasize(signal, 0.85)
    found = predictors(FeatureExtractor(SETTINGS).compute(signal), SETTINGS, 16, 0.85)
    frames = np.clip((np.arange(len(signal)) - 200) // 160, 0, len(found.gains) - 1)
    left = whiten(raised, found.at(frames))
    assert 0.9 < left.std() < 1.1

    def unevenness(samples):  # loudest band over softest
        spectrum = np.abs(np.fft.rfft(samples[:15872].reshape(-1, 256))) ** 2
        bands = spectrum.mean(axis=0)[1:].reshape(16, 8).mean(axis=1)
        return bands.max() / bands.min()

    assert unevenness(left) < 0.02 * unevenness(raised)


@pytest.mark.parametrize("order", [1, 4, 16])
def test_the_recursion_solves_the_normal_equations(order):
    frames = np.random.default_rng(1).normal(8.0, 2.0, (5, 80)).astype(np.float32)
    found = predictors(frames, SETTINGS, order, preemphasis=0.5)
    exact = predictors(frames, SETTINGS, 40, preemphasis=0.5)
    assert (found.gains >= exact.gains - 1e-12).all()  # a longer filter leaves less
    assert found.taps.shape == (5, order)
    poles = [np.abs(np.roots([1.0, *-taps])) for taps in found.taps]
    assert max(map(np.max, poles)) < 1.0  # every filter is stable


def test_whitening_by_hand():
    at = Predictors(np.array([[0.5, 0.25], [0.5, 0.25], [2.0, 0.0]]), np.array([1.0, 2.0, 4.0]))
    found = whiten(np.array([4.0, 6.0, 8.0]), at)
    np.testing.assert_allclose(found, [4.0, (6 - 2) / 2, (8 - 12) / 4])


@pytest.mark.parametrize("block", [1, 4, 16])
def test_coloring_is_the_inverse_of_whitening(block):
    order, blocks = 5, 12
    signals = np.random.default_rng(0).normal(size=(2, block * blocks))
    at = [random_predictors(blocks, order, seed) for seed in (1, 2)]
    white = np.stack([
        whiten(row, Predictors(np.repeat(p.taps, block, axis=0), np.repeat(p.gains, block)))
        for row, p in zip(signals, at, strict=True)
    ])  # fmt: skip
    color = SynthesisFilter(2, order)
    parts = []
    for number in range(blocks):
        here = Predictors(np.stack([p.taps[number] for p in at]), np.array([p.gains[number] for p in at]))
        parts.append(color(white[:, number * block : (number + 1) * block], here))
    np.testing.assert_allclose(np.concatenate(parts, axis=1), signals, atol=1e-9)


def test_silence_has_the_least_gain_and_many_frames_are_the_frames_alone():
    silence = FeatureExtractor(SETTINGS).compute(np.zeros(16000, np.float32))
    assert (predictors(silence, SETTINGS, 16, 0.85).gains == MIN_GAIN).all()
    frames = np.random.default_rng(2).normal(8.0, 2.0, (1100, 80)).astype(np.float32)
    whole, part = predictors(frames, SETTINGS, 16, 0.85), predictors(frames[1000:1003], SETTINGS, 16, 0.85)
    np.testing.assert_allclose(whole.taps[1000:1003], part.taps, atol=1e-12)
    np.testing.assert_allclose(whole.gains[1000:1003], part.gains, rtol=1e-12)


def test_no_frames_have_no_predictors():
    none = predictors(np.zeros((0, 80), np.float32), SETTINGS, 16, 0.85)
    assert (none.taps.shape, none.gains.shape) == ((0, 16), (0,))
