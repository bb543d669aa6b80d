"""The built-in synthesizer, by what one can measure: pitches, times, silence, level."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import soundfile

from recitative.music.piece import Note, Piece
from recitative.music.synth import HARMONICS, PEAK, frequency, mp3_bytes, render, tone

RATE = 44100


def _one(pitch: int, start: int = 4, length: int = 8, steps: int = 16) -> Piece:
    """One step lasts 0.125 s."""
    return Piece((Note(start, pitch, length),), steps, 4, 120.0, "one")


def _loudest_hertz(samples: np.ndarray, rate: int) -> float:
    """The strongest spectral peak, between bins by a parabola through the logarithms."""
    size = 1 << 18
    levels = np.log(np.abs(np.fft.rfft(samples * np.hanning(len(samples)), size)) + 1e-12)
    k = int(levels.argmax())
    left, top, right = levels[k - 1 : k + 2]
    return float((k + 0.5 * (left - right) / (left - 2 * top + right)) * rate / size)


@pytest.mark.parametrize("pitch", [28, 36, 48, 60, 69, 84, 100, 108])
def test_the_loudest_partial_of_a_note_is_its_pitch(pitch: int) -> None:
    heard = _loudest_hertz(render(_one(pitch)).sum(axis=1), RATE)
    assert abs(1200 * math.log2(heard / frequency(pitch))) < 3  # cents


def test_a_above_middle_c_has_440_hertz() -> None:
    assert frequency(69) == 440.0
    assert frequency(60) == pytest.approx(261.6256, abs=1e-4)


@pytest.mark.parametrize("rate", [16000, 22050, 44100, 48000])
def test_a_note_sounds_from_its_start_to_its_end_and_nowhere_else(rate: int) -> None:
    level = np.abs(render(_one(60), sample_rate=rate)).max(axis=1)
    assert len(level) == 2 * rate
    first = int(np.argmax(level > 0.1 * level.max())) / rate
    assert 0.5 <= first < 0.505
    assert not level[: rate // 2].any()
    assert not level[3 * rate // 2 :].any()
    assert level[int(1.4 * rate) : int(1.45 * rate)].max() > 0.1 * level.max()  # held nearly to the end


def test_notes_begin_and_end_without_a_click() -> None:
    """No step between neighboring samples is larger than the steepest part of the tone itself."""
    sound = render(_one(60)).sum(axis=1)
    inside = np.abs(np.diff(sound[RATE // 2 + 600 : RATE])).max()
    assert np.abs(np.diff(sound)).max() <= 1.05 * inside
    assert abs(sound[3 * RATE // 2 - 1]) < 1e-3


def test_a_tone_is_the_sum_of_its_harmonics() -> None:
    """The recursion against one sine after the other."""
    time_s = np.arange(4000) / RATE
    heard = tone(60, 4000, RATE)
    slow = sum(
        amplitude * np.exp(-0.9 * (1 + n) / 2 * time_s) * np.sin(2 * np.pi * n * frequency(60) * time_s)
        for n, amplitude in enumerate(HARMONICS, start=1)
    )
    after_attack = slice(400, None)
    np.testing.assert_allclose(heard[after_attack], 0.25 * slow[after_attack], atol=1e-6)  # float32


def test_harmonics_beyond_the_sample_rate_are_left_out() -> None:
    spectrum = np.abs(np.fft.rfft(tone(108, 1 << 14, 22050) * np.hanning(1 << 14)))
    hertz = np.fft.rfftfreq(1 << 14, 1 / 22050)
    known = np.min([np.abs(hertz - n * frequency(108)) for n in (1, 2)], axis=0) < 40
    assert spectrum[~known].max() < 1e-2 * spectrum.max()  # an alias would be a peak elsewhere


def test_no_rendering_is_louder_than_the_peak() -> None:
    thick = Piece(tuple(Note(0, pitch, 8, pitch % 4) for pitch in range(40, 90)), 8)
    assert np.abs(render(thick)).max() == pytest.approx(PEAK, abs=1e-6)
    assert 0.05 < np.abs(render(_one(60))).max() <= PEAK


def test_the_same_piece_sounds_the_same_and_voices_come_from_left_to_right() -> None:
    piece = Piece((Note(0, 72, 4, 0), Note(4, 48, 4, 3)), 8)
    once, again = render(piece), render(piece)
    assert once.dtype == np.float32
    np.testing.assert_array_equal(once, again)
    first, second = np.split(np.square(once), 2)
    assert first[:, 0].sum() > first[:, 1].sum()
    assert second[:, 0].sum() < second[:, 1].sum()


def test_a_single_voice_is_in_the_middle_and_no_notes_are_silence() -> None:
    middle = render(_one(60))
    np.testing.assert_allclose(middle[:, 0], middle[:, 1], atol=1e-6)  # the gains are both sqrt(1/2)
    assert not render(Piece((), 16)).any()
    assert render(Piece((), 0)).shape == (0, 2)


def test_a_note_of_a_single_short_step_is_heard() -> None:
    quick = Piece((Note(0, 60, 1),), 1, 48, 240.0)  # 5 ms
    assert np.abs(render(quick)).max() > 0.01


def test_mp3_keeps_length_and_pitch(tmp_path: Path) -> None:
    (tmp_path / "one.mp3").write_bytes(mp3_bytes(render(_one(69))))
    samples, rate = soundfile.read(tmp_path / "one.mp3")
    assert rate == RATE
    assert samples.shape == (2 * RATE, 2)
    assert _loudest_hertz(samples.sum(axis=1), rate) == pytest.approx(440.0, abs=0.5)
