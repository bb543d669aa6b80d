"""Resampling keeps a tone a tone."""

from __future__ import annotations

import numpy as np
import pytest

from recitative.audio.resample import resample


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
