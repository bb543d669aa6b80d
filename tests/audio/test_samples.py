"""Level, silence, clipping, and resampling of samples."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recitative.audio.files import (
    CLIPPED_PROBLEM,
    CLIPPED_RUN,
    FULL_SCALE,
    SILENCE,
    StreamResampler,
    dbfs,
    measure,
    resample,
)
from small_corpus import noise


def clipped_by_hand(samples: list[float]) -> float:
    """Walk along the samples and count the runs that are long enough."""
    total = run = 0
    for sample in [*samples, 0.0]:
        if abs(sample) >= FULL_SCALE:
            run += 1
        else:
            total += run if run >= CLIPPED_RUN else 0
            run = 0
    return total / len(samples)


@settings(deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.5, 1.0, -1.0]), min_size=1, max_size=30))
def test_the_clipped_part_equals_a_walk_along_the_samples(samples: list[float]) -> None:
    assert measure(np.array(samples, np.float32)).clipped == pytest.approx(clipped_by_hand(samples))


def test_speech_amplified_tenfold_and_cut_off_is_clipped() -> None:
    assert measure((noise() * 30).clip(-1, 1)).clipped > CLIPPED_PROBLEM


def test_single_peaks_at_full_scale_are_not_clipping() -> None:
    samples = noise()
    samples[::100] = 1.0
    assert measure(samples).clipped == 0.0


def test_a_constant_offset_is_silence_but_quiet_speech_is_not() -> None:
    offset = np.full(1000, 0.3, np.float32)
    assert measure(offset).swing < SILENCE
    assert measure(noise(level=0.002)).swing > SILENCE


def test_amplitudes_in_decibels() -> None:
    assert dbfs(1.0) == "0.0 dBFS"
    assert dbfs(0.001) == "-60.0 dBFS"
    assert dbfs(0.0) == "digital silence"


def tone(rate: float, seconds: float = 1.0, hz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


@pytest.mark.parametrize(("from_rate", "to_rate"), [(8000, 16000), (44100, 16000), (16000, 8000), (17600, 16000)])
def test_a_tone_is_the_same_tone_at_another_rate(from_rate: int, to_rate: int) -> None:
    converted = resample(tone(from_rate), from_rate, to_rate)
    assert converted.dtype == np.float32
    assert abs(len(converted) - to_rate) <= 1
    middle = slice(to_rate // 10, -to_rate // 10)  # the filter rings at both ends
    np.testing.assert_allclose(converted[middle], tone(to_rate)[: len(converted)][middle], atol=1e-4)  # -80 dB


def test_equal_rates_change_nothing() -> None:
    samples = tone(16000)
    assert resample(samples, 16000, 16000) is samples


def test_a_rate_of_zero_is_an_error() -> None:
    with pytest.raises(ValueError, match="positive"):
        resample(tone(16000), 16000, 0)


@pytest.mark.parametrize(
    ("from_rate", "to_rate"),
    [(44100, 16000), (8000, 16000), (48000, 4000), (11025, 8000), (44101, 16000), (8000, 8000)],
)
def test_pieces_and_the_ending_after_any_of_them_are_the_whole_resampled(from_rate: int, to_rate: int) -> None:
    rng = np.random.default_rng(0)
    samples = (0.3 * rng.standard_normal(round(1.7 * from_rate))).astype(np.float32)
    stream, out, heard = StreamResampler(from_rate, to_rate), np.zeros(0, np.float32), 0
    while heard < len(samples):
        piece = samples[heard : heard + int(rng.choice([0, 1, 7, from_rate // 50, from_rate // 3]))]
        out, heard = np.concatenate([out, stream.accept(piece)]), heard + len(piece)
        if rng.random() < 0.2:
            whole = resample(samples[:heard], from_rate, to_rate)
            np.testing.assert_allclose(np.concatenate([out, stream.ending()]), whole, atol=1e-6)
    np.testing.assert_allclose(np.concatenate([out, stream.ending()]), resample(samples, from_rate, to_rate), atol=1e-6)


def test_a_resampler_of_a_long_stream_keeps_little_of_it() -> None:
    stream = StreamResampler(44100, 16000)
    for _ in range(100):
        stream.accept(np.zeros(4410, np.float32))
    assert sum(kept.nbytes for kept in vars(stream).values() if isinstance(kept, np.ndarray)) < 4 * 44100
