"""Augmentation: what each change does to a signal one can compute by hand, and how the draws are distributed."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.testing import assert_allclose, assert_array_equal

from recitative.config import AugmentSettings, SpecAugmentSettings
from recitative.errors import DataError
from recitative.features.augment import (
    Augmenter,
    add_noise,
    change_speed,
    change_volume,
    draw_mask,
    reverberate,
    spec_augment,
)

RATE = 8000


def tone(hz, seconds=1.0, amplitude=0.25, rate=RATE):
    return (amplitude * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def noise(length, seed=0):
    return np.random.default_rng(seed).standard_normal(length).astype(np.float32) * 0.1


def power(samples):
    return float(np.mean(samples.astype(np.float64) ** 2))


def folder_of(path: Path, **recordings: np.ndarray) -> Path:
    path.mkdir()
    for name, samples in recordings.items():
        soundfile.write(path / f"{name}.wav", samples, RATE, subtype="FLOAT")
    return path


@pytest.mark.parametrize("speed", [0.9, 1.1, 2.0])
def test_speed_divides_the_duration_and_multiplies_the_pitch(speed):
    faster = change_speed(tone(500), speed, RATE)
    assert len(faster) == pytest.approx(RATE / speed, abs=1)
    peak_hz = np.argmax(np.abs(np.fft.rfft(faster))) * RATE / len(faster)
    assert peak_hz == pytest.approx(500 * speed, abs=RATE / len(faster))  # one bin


def test_six_decibels_double_the_samples():
    # 10^(6.0206 / 20) = 2.0000
    assert_allclose(change_volume(tone(100), 6.0206), 2 * tone(100), rtol=1e-5)


def test_a_gain_beyond_full_scale_is_neither_clipped_nor_scaled_back():
    assert np.max(change_volume(tone(100, amplitude=0.9), 20.0)) == pytest.approx(9.0, rel=1e-5)


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 12.0])
def test_noise_is_added_at_the_asked_ratio(snr_db):
    speech = tone(300)
    added = add_noise(speech, noise(RATE), snr_db=snr_db) - speech
    # the difference of float32 samples
    assert 10 * np.log10(power(speech) / power(added)) == pytest.approx(snr_db, abs=1e-3)


def test_without_a_ratio_the_samples_stay():
    silence, sound = np.zeros(9, np.float32), noise(9)
    assert_array_equal(add_noise(silence, sound, snr_db=5.0), silence)
    assert_array_equal(add_noise(sound, silence, snr_db=5.0), sound)


def test_a_unit_impulse_however_late_is_the_identity():
    impulse = np.zeros(50, np.float32)
    impulse[20] = 0.5
    speech = noise(200)
    # FFT in float64, rounded to float32
    assert_allclose(reverberate(speech, impulse), speech, atol=1e-6)


def test_reverberation_is_a_convolution_aligned_to_the_direct_path_with_the_power_kept():
    speech, impulse = noise(300), (np.exp(-np.arange(80) / 15) * noise(80, 1)).astype(np.float32)
    impulse[7] = 1.0
    slow = np.convolve(speech.astype(np.float64), impulse)[7 : 7 + 300]
    slow *= np.sqrt(power(speech) / power(slow))
    # FFT in float64, rounded to float32
    assert_allclose(reverberate(speech, impulse), slow, atol=1e-6)


def test_reverberated_silence_is_silence():
    assert_array_equal(reverberate(np.zeros(30, np.float32), noise(10)), np.zeros(30, np.float32))


def test_no_setting_changes_nothing_and_draws_do_not_touch_the_argument(tmp_path):
    speech = tone(300)
    kept = speech.copy()
    assert_array_equal(Augmenter(AugmentSettings(), RATE).perturb(speech, 1.0, np.random.default_rng(0)), kept)
    everything(tmp_path).perturb(speech, 1.0, np.random.default_rng(0))
    assert_array_equal(speech, kept)


def test_the_same_generator_gives_the_same_samples_and_another_gives_others(tmp_path):
    augmenter, speech = everything(tmp_path), tone(300)
    first, again, other = (augmenter.perturb(speech, 1.0, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert_array_equal(first, again)
    assert len(first) != len(other) or not np.array_equal(first, other)


def test_noise_longer_than_the_speech_is_cropped_at_every_place(tmp_path):
    # A ramp shows where it was cut: the crop of 10 samples out of 15 can start at 0 to 5.
    ramp = np.arange(1, 16, dtype=np.float32) / 16
    starts = [round(float(crop[0]) * 16) - 1 for crop in crops(tmp_path, ramp, length=9, draws=300)]
    assert set(starts) == set(range(6))


def test_noise_shorter_than_the_speech_is_repeated_from_every_place(tmp_path):
    loop = np.array([0.25, 0.5, 0.75], np.float32)
    drawn = {tuple(crop.tolist()) for crop in crops(tmp_path, loop, length=7, draws=100)}
    assert drawn == {tuple(np.resize(np.roll(loop, shift), 7).tolist()) for shift in range(3)}


def test_noise_at_another_rate_is_resampled(tmp_path):
    folder = tmp_path / "noise"
    folder.mkdir()
    soundfile.write(folder / "high.wav", tone(1000, rate=44100), 44100, subtype="FLOAT")
    settings = AugmentSettings(noise_dir=folder, noise_probability=1, noise_snr_db=(0, 0))
    speech = tone(300, seconds=0.5)
    added = Augmenter(settings, RATE).perturb(speech, 1.0, np.random.default_rng(0)) - speech
    peak_hz = np.argmax(np.abs(np.fft.rfft(added))) * RATE / len(added)
    assert peak_hz == pytest.approx(1000, abs=2)


def test_the_speed_is_what_the_caller_asks_for():
    augmenter, rng = Augmenter(AugmentSettings(speeds=(0.5, 1.0, 2.0)), RATE), np.random.default_rng(0)
    assert [len(augmenter.perturb(np.zeros(40, np.float32), speed, rng)) for speed in (0.5, 1.0, 2.0)] == [80, 40, 20]


def test_gains_are_drawn_evenly_in_decibels():
    augmenter = Augmenter(AugmentSettings(volume_db=(-6, 2)), RATE)
    rng = np.random.default_rng(0)
    gains = [20 * np.log10(augmenter.perturb(np.ones(1, np.float32), 1.0, rng)[0]) for _ in range(1000)]
    assert_even(np.histogram(gains, bins=8, range=(-6, 2))[0])


def test_noise_and_reverberation_come_as_often_as_asked(tmp_path):
    impulse = np.array([1, 0.5], np.float32)
    settings = AugmentSettings(reverb_dir=folder_of(tmp_path / "rooms", room=impulse), reverb_probability=0.3)
    augmenter, speech, rng = Augmenter(settings, RATE), noise(20), np.random.default_rng(0)
    changed = sum(not np.array_equal(augmenter.perturb(speech, 1.0, rng), speech) for _ in range(500))
    assert changed == pytest.approx(150, abs=41)  # four standard deviations of a binomial: sqrt(500 * 0.3 * 0.7) = 10.2


def test_a_mask_has_every_width_equally_often_and_every_place_within_a_width():
    rng = np.random.default_rng(0)
    masks = [draw_mask(6, 3, rng) for _ in range(4000)]
    widths = [mask.stop - mask.start for mask in masks]
    assert_even([widths.count(width) for width in range(4)])
    assert set(widths) == {0, 1, 2, 3}
    for width in range(4):
        starts = [mask.start for mask in masks if mask.stop - mask.start == width]
        assert_even([starts.count(start) for start in range(6 - width + 1)])


def test_frequency_masks_fill_whole_channels_with_the_mean_of_each():
    features, mean = np.ones((20, 8), np.float32), np.arange(8, dtype=np.float32) + 10
    settings = SpecAugmentSettings(freq_masks=1, freq_width=4)
    masked = spec_augment(features, settings, np.random.default_rng(3), mean)
    columns = np.flatnonzero((masked != 1).any(axis=0))
    assert 1 <= len(columns) <= 4
    assert_array_equal(columns, np.arange(columns[0], columns[-1] + 1))
    assert_array_equal(masked[:, columns], np.tile(mean[columns], (20, 1)))
    assert_array_equal(features, np.ones((20, 8)))


def test_time_masks_fill_whole_frames_and_are_no_wider_than_the_fraction():
    features = np.ones((50, 4), np.float32)
    settings = SpecAugmentSettings(time_masks=1, time_width=40, time_fraction=0.1)
    widths = []
    for seed in range(200):
        masked = spec_augment(features, settings, np.random.default_rng(seed), 0.0)
        rows = (masked == 0).all(axis=1)
        assert_array_equal((masked == 0).any(axis=1), rows)
        widths.append(int(rows.sum()))
    assert set(widths) == {0, 1, 2, 3, 4, 5}


@pytest.mark.parametrize("shape", [(0, 4), (1, 4), (3, 1)])
def test_masks_fit_the_shortest_utterances(shape):
    settings = SpecAugmentSettings(freq_masks=2, freq_width=27, time_masks=2, time_width=40, time_fraction=1.0)
    assert spec_augment(np.ones(shape, np.float32), settings, np.random.default_rng(0), 0.0).shape == shape


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(DataError, match="nowhere: is not a folder"):
        Augmenter(AugmentSettings(noise_dir=tmp_path / "nowhere"), RATE)


def test_a_folder_without_recordings_is_named(tmp_path):
    (tmp_path / "README.txt").write_text("no sound here")
    with pytest.raises(DataError, match="has no recordings"):
        Augmenter(AugmentSettings(reverb_dir=tmp_path), RATE)


def test_all_unreadable_recordings_of_a_folder_are_named_at_once(tmp_path):
    folder_of(tmp_path / "noise", good=noise(100), stereo=np.zeros((100, 2), np.float32))
    (tmp_path / "noise" / "empty.wav").write_bytes(b"")
    (tmp_path / "noise" / "text.flac").write_text("not audio")
    with pytest.raises(DataError) as raised:
        Augmenter(AugmentSettings(noise_dir=tmp_path / "noise"), RATE)
    assert [Path(problem.where).name for problem in raised.value.problems] == ["empty.wav", "stereo.wav", "text.flac"]


def test_a_silent_impulse_response_is_named(tmp_path):
    folder = folder_of(tmp_path / "rooms", silent=np.zeros(100, np.float32))
    augmenter = Augmenter(AugmentSettings(reverb_dir=folder, reverb_probability=1), RATE)
    with pytest.raises(DataError, match=r"silent\.wav: is silent"):
        augmenter.perturb(tone(300), 1.0, np.random.default_rng(0))


def everything(tmp_path: Path) -> Augmenter:
    settings = AugmentSettings(
        speeds=(0.9, 1.0, 1.1),
        volume_db=(-6, 6),
        noise_dir=folder_of(tmp_path / "noise", hiss=noise(3000)),
        noise_probability=1,
        reverb_dir=folder_of(tmp_path / "rooms", room=np.array([1, 0, 0.5], np.float32)),
        reverb_probability=1,
    )
    return Augmenter(settings, RATE)


def crops(tmp_path: Path, recording: np.ndarray, *, length: int, draws: int) -> list[np.ndarray]:
    """The stretches of the recording that the augmenter would add."""
    settings = AugmentSettings(noise_dir=folder_of(tmp_path / "noise", noise=recording))
    augmenter, rng = Augmenter(settings, RATE), np.random.default_rng(0)
    return [augmenter._draw_noise(length, rng) for _ in range(draws)]


def assert_even(counts) -> None:
    """Chi-squared against equal counts, at about five standard deviations."""
    counts = np.asarray(counts, float)
    degrees = len(counts) - 1
    statistic = ((counts - counts.mean()) ** 2 / counts.mean()).sum()
    assert statistic < degrees + 5 * np.sqrt(2 * degrees), counts
