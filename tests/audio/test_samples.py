"""Level, silence and clipping."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recitative.audio.samples import CLIPPED_PROBLEM, CLIPPED_RUN, FULL_SCALE, SILENCE, dbfs, measure
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
