"""Augmentation against signals one can compute by hand, distributions of the draws, and augmented utterances."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.testing import assert_allclose, assert_array_equal

from recitative.audio.files import write_wav
from recitative.config import AugmentSettings, FeatureSettings, SpecAugmentSettings, TrainSettings, load_settings
from recitative.data.tables import Utterance
from recitative.errors import DataError, UsageError
from recitative.features import augment
from recitative.features.augment import (
    MAX_DEEPER,
    NOISE_FLOOR_DB,
    ONSET,
    ONSET_FRAMES,
    AugmentedFeatures,
    Augmenter,
    VocalTractWarp,
    add_babble,
    add_noise,
    add_noise_floor,
    add_reverberation_tail,
    change_speed,
    change_volume,
    equalize,
    limit_to_telephone_band,
    pad_silence,
    random_mask,
    reverberate,
    spec_augment,
    time_stretch,
    trim_silence,
)
from recitative.features.extraction import read_utterance
from recitative.features.frontend import FeatureExtractor

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
    masks = [random_mask(6, 3, rng) for _ in range(4000)]
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
    return [augmenter._random_noise(length, rng) for _ in range(draws)]


def assert_even(counts) -> None:
    """Chi-squared against equal counts, at about five standard deviations."""
    counts = np.asarray(counts, float)
    degrees = len(counts) - 1
    statistic = ((counts - counts.mean()) ** 2 / counts.mean()).sum()
    assert statistic < degrees + 5 * np.sqrt(2 * degrees), counts


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


QUIET = np.full((2000, 40), -10.0, np.float32)


def rng(seed=0):
    return np.random.default_rng(seed)


def test_the_color_is_one_smooth_curve_within_its_bounds_for_all_frames():
    features = rng().normal(size=(7, 41)).astype(np.float32)
    curves = np.array([equalize(features, 6.0, rng(seed)) - features for seed in range(50)]) * 10 / np.log(10)  # in dB
    assert_allclose(curves, np.broadcast_to(curves[:, :1], curves.shape), atol=1e-4)
    assert 5.5 < np.abs(curves).max() <= 6.0001
    bends = np.abs(np.diff(curves[:, 0], 2)) > 1e-3
    assert set(np.flatnonzero(bends.any(0)) + 1) == {10, 20, 30}, "straight between five points"


@pytest.mark.parametrize("snr_db", [0.0, 20.0])
def test_the_hiss_is_so_far_below_the_recording_as_was_asked_for(snr_db):
    features = np.full((4000, 40), 3.0, np.float32)
    noise = np.exp(add_noise_floor(features, snr_db, rng()).astype(np.float64)) - np.exp(3.0)
    assert 10 * np.log10(np.exp(3.0) / noise.mean()) == pytest.approx(snr_db, abs=0.1)
    channels_db = 10 * np.log10(noise.mean(0) / noise.mean())
    assert np.abs(channels_db).max() <= 2 * NOISE_FLOOR_DB
    assert np.abs(np.diff(channels_db)).max() < 3, "no channel is far from its neighbors"


def test_the_hiss_of_a_channel_is_as_restless_as_the_power_of_a_noise():
    noise = np.exp(add_noise_floor(QUIET, -30.0, rng()).astype(np.float64))
    assert_allclose(noise.std(0) / noise.mean(0), 0.5, atol=0.06)  # of Gamma(4): 1 / sqrt(4)


def test_what_is_loud_stays_and_what_is_quiet_becomes_hiss():
    features = np.where(np.arange(40) < 20, 20.0, -10.0).astype(np.float32) * np.ones((50, 1), np.float32)
    heard = add_noise_floor(features, 40.0, rng())
    assert_allclose(heard[:, :20], 20.0, atol=0.05)
    assert (heard[:, 20:] > 5.0).all()


@pytest.mark.parametrize(("below_db", "kept"), [(5.0, slice(3, 4)), (15.0, slice(1, 6)), (25.0, slice(0, 8))])
def test_a_recording_is_cut_where_it_is_first_and_last_loud_enough(below_db, kept):
    loudness_db = np.array([-20.0, -10.0, -30.0, 0.0, -24.0, -10.0, -30.0, -20.0])
    features = (loudness_db[:, None] * np.log(10) / 10 + rng().normal(3.0, 0.01, (8, 40))).astype(np.float32)
    assert np.array_equal(trim_silence(features, below_db), features[kept])


@pytest.mark.parametrize(("trim_db", "message"), [([-5, 10], "must be 0 or more"), ([20, 10], r"\[lowest, highest\]")])
def test_a_range_of_cuts_that_makes_no_sense_is_refused(trim_db, message):
    with pytest.raises(ValueError, match=message):
        AugmentSettings(trim_db=trim_db)


def test_the_quiet_around_a_recording_is_of_any_length_and_quieter_than_almost_all_of_it():
    features = rng().normal(10.0, 2.0, (60, 40)).astype(np.float32)
    drawn = [pad_silence(features, 20, rng(seed)) for seed in range(300)]
    befores = {find(one, features[ONSET_FRAMES:]) - ONSET_FRAMES for one in drawn}
    assert befores == set(range(21))
    assert {len(one) - len(features) for one in drawn} >= {1, 10, 20, 30, 39}
    longest = max(drawn, key=len)
    quiet = longest[: find(longest, features[ONSET_FRAMES:]) - ONSET_FRAMES]
    fifth = np.quantile(features, 0.05, axis=0)
    assert (fifth - MAX_DEEPER - 0.5 < quiet.mean(0)).all()
    assert (quiet.mean(0) < fifth + 0.5).all()


def test_a_recording_comes_out_of_the_quiet_gradually():
    features = rng().normal(10.0, 2.0, (60, 40)).astype(np.float32)
    for seed in range(50):
        heard = pad_silence(features, 0, rng(seed))
        below = features - heard
        assert_allclose(below, np.broadcast_to(below[:, :1], below.shape), atol=1e-5)
        assert (np.diff(below[:, 0]) < 1e-5).all()
        assert below.max() <= ONSET
        assert below.min() >= -1e-5


def test_a_recording_of_one_frame_stays_one_frame():
    assert pad_silence(QUIET[:1], 0, rng()).shape == (1, 40)


def find(heard, features):
    """Where the frames begin."""
    return next(i for i in range(len(heard)) if np.array_equal(heard[i : i + len(features)], features))


def test_features_that_are_no_logarithms_of_powers_are_refused():
    for features in (FeatureSettings(kind="mfcc"), FeatureSettings(delta_order=1)):
        for one in ({"eq_db": 3}, {"room_probability": 0.1}, {"speed_kind": "frames"}):
            with pytest.raises(ValueError, match=r"augment\.\w+(=frames)? needs features\.kind=fbank without deltas"):
                AugmentSettings.model_validate(one).require_fit(features)


def test_the_tail_of_a_room_decays_by_60_db_in_the_time_that_was_asked_for_and_has_the_power_asked_for():
    click = np.full((100, 3), -15.0, np.float32)
    click[10] = 10.0
    heard = add_reverberation_tail(click, rt60_s=0.5, drr_db=0.0, frame_s=0.01).astype(np.float64)
    assert (heard[:10] < -14.0).all(), "nothing is heard before"
    assert_allclose(np.diff(heard[11:40], axis=0), -np.log(1e6) / 50, atol=1e-3)  # 50 frames
    steady = np.full((400, 3), 7.0, np.float32)
    assert_allclose(
        add_reverberation_tail(steady, 0.5, drr_db=6.0, frame_s=0.01)[-1], 7 + np.log(1 + 10**-0.6), atol=1e-3
    )


def test_babble_is_the_sum_of_the_others_so_far_below_as_was_asked_for():
    features, others = np.full((300, 4), 5.0, np.float32), [np.full((7, 4), 2.0), np.full((1, 4), 9.0)]
    noise = np.exp(add_babble(features, others, 10.0, rng()).astype(np.float64)) - np.exp(5.0)
    assert 10 * np.log10(np.exp(5.0) / noise.mean()) == pytest.approx(10.0, abs=0.01)
    short_and_long = add_babble(features, [rng().normal(size=(1000, 4))], 0.0, rng(1))
    assert short_and_long.shape == (300, 4)
    assert np.isfinite(short_and_long).all()


def test_a_telephone_leaves_its_band_and_nothing_becomes_quieter_than_the_floor():
    hz = np.array([60.0, 400.0, 1000.0, 2900.0, 5000.0, 7500.0])
    for seed in range(20):
        heard = limit_to_telephone_band(np.full((5, 6), 10.0, np.float32), hz, -1.0, rng(seed))
        assert_allclose(heard[:, 1:4], 10.0)
        assert (heard[:, [0, 4, 5]] < 10.0 - np.log(100) + 1e-4).all(), "20 dB at least"
        assert heard.min() >= -1.0


def test_frames_are_stretched_along_straight_lines():
    features = np.array([[0.0], [2.0], [4.0]], np.float32)
    assert_allclose(time_stretch(features, 5), [[0], [1], [2], [3], [4]])
    assert_allclose(time_stretch(features, 2), [[0], [4]])
    assert_allclose(time_stretch(features[:1], 3), [[0], [0], [0]])
    assert time_stretch(features, 3) is features


MEAN = np.zeros(10, np.float32)
KEPT = TrainSettings(cache_features=True)


@dataclass(frozen=True)
class TaskSettings:
    features: FeatureSettings
    augment: AugmentSettings
    train: TrainSettings


def task_settings(features=None, **chosen):
    values = {"sample_rate": RATE, "num_mel_bins": 10, "log_floor": 4.0} | (features or {})
    return TaskSettings(FeatureSettings.model_validate(values), AugmentSettings.model_validate(chosen), KEPT)


@pytest.fixture
def recording(tmp_path):
    """Half a second of noise and as much of digital silence."""
    samples = np.zeros(RATE, np.float32)
    samples[: RATE // 2] = np.random.default_rng(0).normal(0, 0.01, RATE // 2)
    write_wav(tmp_path / "noise.wav", samples, RATE)
    return Utterance("noise", "nobody", str(tmp_path / "noise.wav"))


def augmented(recording, settings):
    return AugmentedFeatures([recording], np.array([1.0]), settings, MEAN)


@pytest.mark.parametrize("speed", [1.0, 0.9])
@pytest.mark.parametrize("gain_db", [-20.0, 0.0, 12.0])
def test_kept_features_are_those_of_the_louder_or_quieter_samples(recording, speed, gain_db):
    chosen = task_settings(volume_db=(gain_db, gain_db))
    samples = change_volume(change_speed(read_utterance(recording), speed, RATE), gain_db)
    features, masked = augmented(recording, chosen).sample(0, speed, np.random.default_rng(1))
    expected = FeatureExtractor(chosen.features).compute(samples)
    assert_allclose(features, expected, atol=2e-3)  # float32 rounds the samples, their powers and the sum
    assert features.min() == 4.0
    assert_array_equal(masked, features)


def test_each_speed_of_a_recording_is_worked_out_once(recording, monkeypatch):
    read = []
    monkeypatch.setattr(augment, "read_utterance", lambda one: read.append(1) or read_utterance(one))
    features = augmented(recording, task_settings(volume_db=(-3, 3)))
    drawn = [features.sample(0, speed, np.random.default_rng(seed))[0] for seed in range(3) for speed in (0.9, 1.1)]
    assert len(read) == 2
    assert len({float(one[0, 0]) for one in drawn}) == 6, "the volume is drawn anew each time"


def test_speeds_of_frames_need_one_extraction_and_have_the_length_of_samples_at_that_speed(recording, monkeypatch):
    read = []
    monkeypatch.setattr(augment, "read_utterance", lambda one: read.append(1) or read_utterance(one))
    features = augmented(recording, task_settings(speed_kind="frames"))
    drawn = {speed: features.sample(0, speed, np.random.default_rng(1))[0] for speed in (0.9, 1.0, 1.1)}
    assert len(read) == 1
    for speed, one in drawn.items():
        samples = change_speed(read_utterance(recording), speed, RATE)
        expected = FeatureExtractor(task_settings().features).compute(samples)
        assert len(one) == pytest.approx(len(expected), abs=1)
        half = len(one) // 2 - 2
        assert one[:half].mean() == pytest.approx(expected[:half].mean(), abs=0.3)


def test_rooms_babble_and_telephones_are_drawn_from_the_generator(recording):
    everything = {"room_probability": 1, "babble_probability": 1, "telephone_probability": 1}
    for chosen in ({name: value} for name, value in everything.items()):
        first, again = (
            augmented(recording, task_settings(**chosen)).sample(0, 1.0, np.random.default_rng(3))[0] for _ in range(2)
        )
        plain = augmented(recording, task_settings()).sample(0, 1.0, np.random.default_rng(3))[0]
        assert_array_equal(first, again)
        assert not np.array_equal(first, plain), chosen


def test_a_recording_gets_its_quiet_in_frames_of_the_features(recording):
    lengths = [
        len(augmented(recording, task_settings(pad_silence_s=0.05)).sample(0, 1.0, np.random.default_rng(seed))[0])
        for seed in range(60)
    ]
    assert {length - 98 for length in lengths} == set(range(11))  # a second has 98 frames, 0.05 s has 5


def test_a_recording_is_cut_before_it_gets_its_quiet(recording):
    cut = augmented(recording, task_settings(trim_db=[0, 0], pad_silence_s=0.05))
    lengths = {len(cut.sample(0, 1.0, np.random.default_rng(seed))[0]) for seed in range(400)}
    assert lengths == set(range(1, 12)), "its loudest frame, and up to five of quiet on either side"


def test_color_and_hiss_are_drawn_from_the_generator(recording):
    first, again, other = (
        augmented(recording, task_settings(eq_db=6, noise_floor_snr_db=[10, 30])).sample(
            0, 1.0, np.random.default_rng(seed)
        )[0]
        for seed in (1, 1, 2)
    )
    assert_array_equal(first, again)
    plain, _ = augmented(recording, task_settings()).sample(0, 1.0, np.random.default_rng(1))
    assert np.abs(first - plain).mean() > 0.3
    assert np.abs(first - other).mean() > 0.3


@pytest.mark.parametrize(("features", "chosen"), [
    ({"kind": "mfcc", "num_ceps": 5, "log_floor": -16.0}, {}), ({"delta_order": 1}, {}), ({}, {"noise_dir": "x"}),
])  # fmt: skip
def test_features_that_volume_and_noise_change_otherwise_cannot_be_kept(recording, features, chosen, tmp_path):
    values = dict.fromkeys(chosen, tmp_path)
    with pytest.raises(UsageError, match=r"train\.cache_features=true needs features\.kind=fbank without deltas"):
        augmented(recording, task_settings(features, **values))
