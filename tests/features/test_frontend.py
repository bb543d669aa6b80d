"""Features: Kaldi's values, the contract of a stage, bad settings."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import torchaudio
from numpy.testing import assert_allclose, assert_array_equal

from contract import AsTorch, verify_contract
from recitative.config import FeatureSettings
from recitative.errors import UsageError
from recitative.features.frontend import (
    ROWS,
    Deltas,
    FeatureExtractor,
    delta_scales,
)
from recitative.stage import Padded

# A short window keeps the tests short: 20 samples, hop 10.
SHORT = {"sample_rate": 4000, "frame_length_ms": 5.0, "frame_shift_ms": 2.5, "num_mel_bins": 6}
SETTINGS = [
    SHORT,
    SHORT | {"kind": "mfcc", "num_ceps": 4},
    SHORT | {"delta_order": 1},
    SHORT | {"kind": "mfcc", "num_ceps": 4, "delta_order": 2},
    SHORT | {"frame_shift_ms": 5.0},  # windows that do not overlap
]


def speech_like(seconds, seed=0, sample_rate=16000):
    """A gliding buzz in noise, with an offset: (S,) float32."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * sample_rate)) / sample_rate
    buzz = np.sign(np.sin(2 * np.pi * (120 * t + 30 * t**2))) * np.sin(3 * t) ** 2
    return (0.2 * buzz + 0.01 * rng.standard_normal(len(t)) + 0.02).astype(np.float32)


def torchaudio_features(samples, settings):
    """The same features by torchaudio's own implementation, in float64."""
    options = {
        "sample_frequency": settings.sample_rate,
        "num_mel_bins": settings.num_mel_bins,
        "frame_length": settings.frame_length_ms,
        "frame_shift": settings.frame_shift_ms,
        "low_freq": settings.low_freq_hz,
        "high_freq": settings.high_freq_hz,
        "dither": 0.0,
    }
    scaled = torch.from_numpy(samples.astype(np.float64))[None] * 32768
    if settings.kind == "fbank":
        return torchaudio.compliance.kaldi.fbank(scaled, **options).numpy()
    return torchaudio.compliance.kaldi.mfcc(scaled, num_ceps=settings.num_ceps, **options).numpy()


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"kind": "mfcc"},
        {"kind": "mfcc", "num_mel_bins": 23, "num_ceps": 20},
        {"sample_rate": 8000, "num_mel_bins": 40, "high_freq_hz": -200.0},
        {"frame_length_ms": 32.0, "frame_shift_ms": 16.0, "low_freq_hz": 0.0},
    ],
    ids=str,
)
def test_features_agree_with_torchaudio(values):
    settings = FeatureSettings(**values)
    samples = speech_like(1.5, sample_rate=settings.sample_rate)
    # 1e-3 is float32's share at the scale of 16-bit samples: the library computes in float32, the oracle in float64.
    assert_allclose(
        FeatureExtractor(settings).compute(samples), torchaudio_features(samples, settings), atol=1e-3, rtol=1e-4
    )


@pytest.mark.parametrize("values", SETTINGS, ids=str)
def test_features_keep_the_contract(values):
    stage = FeatureExtractor(FeatureSettings(**values))
    verify_contract(
        AsTorch(stage),
        lambda shape, generator: torch.randn(shape, generator=generator) * 0.1,
        longest=stage.lookahead + 3 * stage.stride + 7,
        cuttings=12,
        gradients=False,
    )


@pytest.mark.parametrize("values", SETTINGS, ids=str)
@pytest.mark.parametrize("seed", range(4))
def test_any_cutting_gives_the_same_bits(values, seed):
    rng = np.random.default_rng(seed)
    stage = FeatureExtractor(FeatureSettings(**values))
    samples = speech_like(0.2, seed, sample_rate=4000)
    state, pieces, start = stage.initial_state(1), [], 0
    while start < len(samples):
        size = int(rng.choice([0, 1, 7, 10, 20, 200]))
        y, state = step_row(stage, samples[start : start + size], state, last=False)
        pieces.append(y)
        start += size
    pieces.append(step_row(stage, samples[:0], state, last=True)[0])
    assert_array_equal(np.concatenate(pieces), stage.compute(samples))


def test_a_cutting_at_160_ms_gives_the_same_bits_at_16_khz():
    stage = FeatureExtractor(FeatureSettings())
    samples = speech_like(2.0)
    state, pieces = stage.initial_state(1), []
    for start in range(0, len(samples), 2560):
        y, state = step_row(stage, samples[start : start + 2560], state, last=start + 2560 >= len(samples))
        pieces.append(y)
    assert_array_equal(np.concatenate(pieces), stage.compute(samples))


def test_a_recording_longer_than_a_block_gives_the_same_bits_as_its_frames_alone():
    stage = FeatureExtractor(FeatureSettings(**SHORT))
    samples = speech_like((2.5 * ROWS * 10) / 4000, sample_rate=4000)
    frames = [stage.compute(samples[10 * j : 10 * j + 20]) for j in range(len(stage.compute(samples)))]
    assert_array_equal(stage.compute(samples), np.concatenate(frames))


@pytest.mark.parametrize("samples", [0, 1, 399])
def test_less_than_one_window_gives_no_frame(samples):
    stage = FeatureExtractor(FeatureSettings())
    assert stage.compute(np.zeros(samples, np.float32)).shape == (0, 80)
    assert stage.output_lengths(np.array([samples])).tolist() == [0]


@pytest.mark.parametrize("sample_rate", [8000, 11025, 16000, 22050, 44100, 48000])
@pytest.mark.parametrize("frame_ms", [(25.0, 10.0), (32.0, 12.5), (20.0, 20.0)], ids=str)
def test_the_last_frame_needs_its_whole_window(sample_rate, frame_ms):
    settings = FeatureSettings(sample_rate=sample_rate, frame_length_ms=frame_ms[0], frame_shift_ms=frame_ms[1])
    stage = FeatureExtractor(settings)
    for frames in (1, 2, 5):
        samples = np.zeros(stage.window_samples + (frames - 1) * stage.hop_samples, np.float32)
        assert len(stage.compute(samples)) == frames
        assert len(stage.compute(samples[:-1])) == frames - 1


def test_digital_silence_is_the_logarithm_of_float32_epsilon():
    features = FeatureExtractor(FeatureSettings()).compute(np.zeros(400, np.float32))
    # exact up to the rounding of one logarithm
    assert_allclose(features, np.log(np.finfo(np.float32).eps), rtol=1e-6)


def test_nothing_is_quieter_than_the_floor_and_what_is_louder_stays():
    noise = np.concatenate([np.zeros(800), np.random.default_rng(0).normal(0, 1e-4, 800)]).astype(np.float32)
    plain = FeatureExtractor(FeatureSettings()).compute(noise)
    floored = FeatureExtractor(FeatureSettings(log_floor=9.0)).compute(noise)
    assert 0 < (plain < 9.0).sum() < plain.size
    assert_array_equal(floored, np.where(plain < 9.0, np.float32(9.0), plain))


def test_cepstra_have_no_floor():
    with pytest.raises(ValueError, match="log_floor=2 needs kind=fbank"):
        FeatureSettings(kind="mfcc", log_floor=2.0)


def test_a_constant_offset_changes_nothing():
    stage = FeatureExtractor(FeatureSettings())
    samples = speech_like(0.1)
    # the mean is removed in float32 at the scale of 16-bit samples
    assert_allclose(stage.compute(samples + 0.25), stage.compute(samples), atol=2e-2)


def test_lookahead_is_the_rest_of_the_window_and_two_frames_for_each_order_of_deltas():
    assert FeatureExtractor(FeatureSettings()).lookahead == 399
    assert FeatureExtractor(FeatureSettings(delta_order=2)).lookahead == 399 + 4 * 160


def test_an_extractor_can_be_sent_to_another_process():
    stage = FeatureExtractor(FeatureSettings())
    samples = speech_like(0.1)
    assert_array_equal(pickle.loads(pickle.dumps(stage)).compute(samples), stage.compute(samples))


@pytest.mark.parametrize("shift_ms", [26.0, 0.01])
def test_a_shift_that_skips_samples_or_stands_still_is_a_named_error(shift_ms):
    with pytest.raises(UsageError, match=r"features\.frame_shift_ms=.*frame_length_ms=25"):
        FeatureExtractor(FeatureSettings(frame_shift_ms=shift_ms))


def step_row(stage, samples, state, *, last):
    y, state = stage.step(Padded(samples[np.newaxis], np.array([len(samples)])), state, last=last)
    return y.data[0, : y.lengths[0]], state


def test_threads_get_the_same_bits():
    samples = speech_like(2.0)
    expected = FeatureExtractor(FeatureSettings()).compute(samples)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: FeatureExtractor(FeatureSettings()).compute(samples), range(8)))
    for features in found:
        assert_array_equal(features, expected)


def whole(stage, frames):
    x = Padded(frames[np.newaxis], np.array([len(frames)]))
    return stage.step(x, stage.initial_state(1), last=True)[0].data[0]


def kaldi_deltas(frames, order):
    """DeltaFeatures::Process: out[t] = sum_j scales[j] frames[clamp(t + j)], one frame at a time."""
    rows = []
    for t in range(len(frames)):
        row = []
        for scale in delta_scales(order):
            half = len(scale) // 2
            near = [frames[min(max(t + j, 0), len(frames) - 1)] for j in range(-half, half + 1)]
            row.append(sum(w * frame for w, frame in zip(scale.astype(float), near, strict=True)))
        rows.append(np.concatenate(row))
    return np.array(rows)


def test_the_weights_are_kaldis():
    static, delta, double = delta_scales(2)
    assert_allclose(static, [1])
    assert_allclose(delta, [-0.2, -0.1, 0, 0.1, 0.2], rtol=1e-6)
    assert_allclose(double, np.array([4, 4, 1, -4, -10, -4, 1, 4, 4]) / 100, atol=1e-8)


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("length", [0, 1, 2, 3, 9, 30])
def test_deltas_are_kaldis_sum_with_the_edge_frames_repeated(order, length):
    frames = np.random.default_rng(length).standard_normal((length, 3)).astype(np.float32)
    result = whole(Deltas(3, order), frames)
    assert result.shape == (length, 3 * (1 + order))
    if length:
        # float32 sums of nine terms against float64
        assert_allclose(result, kaldi_deltas(frames, order), atol=1e-6)


def test_a_ramp_has_its_slope_as_delta_and_no_delta_delta_away_from_the_edges():
    ramp = 3.0 * np.arange(20, dtype=np.float32)[:, np.newaxis]
    middle = whole(Deltas(1, 2), ramp)[4:-4]
    assert_allclose(middle[:, 1], 3.0, rtol=1e-5)
    # nine products of up to 57 in float32 cancel
    assert_allclose(middle[:, 2], 0.0, atol=2e-5)


@pytest.mark.parametrize("order", [0, 1, 2])
def test_deltas_keep_the_contract(order):
    verify_contract(
        AsTorch(Deltas(2, order)),
        lambda shape, generator: torch.randn(*shape, 2, generator=generator),
        gradients=False,
    )
