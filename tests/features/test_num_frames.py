"""How many frames there are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recitative.config import FeatureSettings, FrontEndSettings

FBANK = FeatureSettings()


def windows_by_hand(total: int, window: int, shift: int) -> int:
    """Slide the window along until it sticks out."""
    count = start = 0
    while start + window <= total:
        count, start = count + 1, start + shift
    return count


@pytest.mark.parametrize(("samples", "frames"), [(0, 0), (399, 0), (400, 1), (559, 1), (560, 2), (16000, 98)])
def test_frames_of_10_ms_that_need_25_ms(samples: int, frames: int) -> None:
    assert FBANK.num_frames(samples) == frames


@given(st.integers(0, 5000), st.sampled_from([8000, 11025, 16000]))
def test_frames_are_the_windows_that_fit(samples: int, rate: int) -> None:
    settings = FeatureSettings(sample_rate=rate)
    window, shift = int(rate * 0.001 * 25), int(rate * 0.001 * 10)
    assert settings.num_frames(samples) == windows_by_hand(samples, window, shift)


@given(st.integers(0, 200), st.integers(1, 6), st.integers(1, 6))
def test_stacking_makes_a_frame_of_every_whole_window(frames: int, window: int, stride: int) -> None:
    front_end = FrontEndSettings(kind="stack", window=max(window, stride), stride=stride)
    assert front_end.num_output_frames(frames) == windows_by_hand(frames, max(window, stride), stride)


@given(st.integers(0, 200), st.lists(st.integers(1, 3), max_size=4))
def test_a_convolution_keeps_one_frame_in_each_stride(frames: int, strides: list[int]) -> None:
    front_end = FrontEndSettings(kind="conv", channels=(8,) * (len(strides) or 2), strides=tuple(strides))
    kept = range(frames)
    for stride in strides or (2, 2):  # the default
        kept = kept[::stride]
    assert front_end.num_output_frames(frames) == len(kept)


@pytest.mark.parametrize(("frames", "expected"), [(2, 0), (3, 1), (5, 1), (6, 2)])
def test_subsampling_by_three(frames: int, expected: int) -> None:
    assert FrontEndSettings.subsampled_by(3).num_output_frames(frames) == expected


@pytest.mark.parametrize("outputs", [1, 2, 5])
@pytest.mark.parametrize(
    "front_end",
    [
        FrontEndSettings(kind="stack", window=7, stride=3),
        FrontEndSettings(kind="stack", window=6, stride=4, outputs_per_step=2, width=8),
        FrontEndSettings(kind="conv", channels=(4, 4), strides=(2, 3)),
    ],
)
def test_the_fewest_input_frames_are_enough_and_one_less_is_not(front_end, outputs):
    frames = front_end.num_input_frames(outputs)
    assert front_end.num_output_frames(frames - 1) < outputs <= front_end.num_output_frames(frames)
