"""Where long recordings are cut."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from recitative.audio import vad
from recitative.audio.vad import UNCUT, SegmentCutter, SegmentRules

RATE = 16000
RULES = SegmentRules(shortest_s=4.0, longest_s=10.0, pause_s=0.5, overlap_s=0.25)


class LoudIsSpeech:
    """In the detector's place, so that a test can say what is speech."""

    def process_array(self, window):
        return float(np.abs(window).max() > 0.1)


@pytest.fixture(autouse=True)
def _loud_is_speech(monkeypatch, request):
    if "real_detector" not in request.keywords:
        monkeypatch.setattr(vad, "new_detector", LoudIsSpeech)


def sound(*parts, rate=RATE):
    """(loud or not, seconds) one after another; every sample differs, so that its place can be found."""
    loud = np.concatenate([np.full(round(s * rate), 1.0 if speech else 0.0, np.float32) for speech, s in parts])
    return np.float32(0.5) * loud + np.linspace(0, 0.05, len(loud), dtype=np.float32)


def cut(samples, block, rate=RATE, rules=RULES):
    """(start, samples) of every segment."""
    found, parts = [], []
    cutter = SegmentCutter(rate, rules)
    pieces = [piece for i in range(0, len(samples), block) for piece in cutter.accept(samples[i : i + block])]
    for piece in [*pieces, cutter.finish()]:
        parts.append(piece.samples)
        if piece.last:
            found.append((piece.start, np.concatenate(parts)))
            parts = []
    assert not parts
    return found


def test_a_short_recording_is_one_segment():
    samples = sound((True, 1), (False, 1), (True, 1))
    [(start, whole)] = cut(samples, 1000)
    assert start == 0
    np.testing.assert_array_equal(whole, samples)


def test_a_recording_without_a_sample_is_one_empty_segment():
    [(start, whole)] = cut(np.zeros(0, np.float32), 100)
    assert (start, len(whole)) == (0, 0)


def test_a_cut_lies_in_the_pause_after_the_shortest_length_and_the_next_segment_overlaps_it():
    # The pause at 2 s comes too early; of that at 5 s as much is wanted as the rule says for a length of 5.5 s.
    (first, a), (second, b) = cut(sound((True, 2), (False, 0.7), (True, 2.3), (False, 1), (True, 2)), 800)
    wanted = 0.5 * (10 - 5.45) / 6
    assert first == 0
    assert len(a) / RATE == pytest.approx(5 + wanted, abs=2 * vad.WINDOW_S)
    assert len(a) - second == pytest.approx(wanted / 2 * RATE, abs=2 * vad.WINDOW)
    assert second + len(b) == 8 * RATE


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_segments_do_not_depend_on_the_blocks_and_lose_no_sample(rate):
    rng = np.random.default_rng(1)
    samples = sound(*[(i % 2 == 0, float(rng.uniform(0.05, 2.5))) for i in range(60)], rate=rate)
    expected = cut(samples, len(samples), rate)
    assert len(expected) >= 8
    for start, part in expected:
        np.testing.assert_array_equal(part, samples[start : start + len(part)])
        assert len(part) / rate <= RULES.shortest_s + RULES.longest_s + 0.1
    for (start, part), (after, _) in pairwise(expected):
        assert start + len(part) - RULES.overlap_s * rate - 1 <= after <= start + len(part)
    assert sum(expected[-1][0:1]) + len(expected[-1][1]) == len(samples)
    for block in (160, 1777, 16000):
        again = cut(samples, block, rate)
        assert [start for start, _ in again] == [start for start, _ in expected]
        for (_, part), (_, same) in zip(again, expected, strict=True):
            np.testing.assert_array_equal(part, same)


def test_speech_without_a_pause_is_cut_at_the_longest_length():
    parts = cut(sound((True, 25)), 4000)
    assert [round(len(part) / RATE, 1) for _, part in parts] == [10.0, 10.0, 5.0]


@pytest.mark.parametrize("block", [160, 1777, 40 * RATE])
@pytest.mark.parametrize("silence_s", [1.2, 3.7, 7.8, 30.3])
def test_a_sentence_after_a_silence_is_not_cut_at_its_first_word(silence_s, block):
    samples = sound((False, silence_s), (True, 0.4), (False, 0.6), (True, 2.5), (False, 0.1), (True, 0.5), (False, 3))
    segments = cut(samples, block)
    [sentence] = [(start, part) for start, part in segments if np.abs(part).max() > 0.3]
    assert silence_s - 0.3 <= sentence[0] / RATE <= silence_s
    assert (sentence[0] + len(sentence[1])) / RATE >= silence_s + 4.1
    assert all(len(part) / RATE <= RULES.shortest_s + 0.1 for start, part in segments if start < sentence[0])


def test_the_detector_looks_for_the_first_speech_and_for_pauses_where_a_segment_may_end(monkeypatch):
    asked = []

    class Counted(LoudIsSpeech):
        def process_array(self, window):
            asked.append(window)
            return super().process_array(window)

    monkeypatch.setattr(vad, "new_detector", Counted)
    assert len(cut(sound((False, 0.32), (True, 3.0)), 1000)) == 1
    assert len(asked) == 11


def test_uncut_recordings_are_one_segment_without_the_detector(monkeypatch):
    monkeypatch.setattr(vad, "new_detector", None)
    samples = sound((True, 30), (False, 5), (True, 30))
    [(start, segment)] = cut(samples, 4000, rules=UNCUT)
    assert start == 0
    np.testing.assert_array_equal(segment, samples)


def test_uncut_recordings_are_passed_on_as_they_come():
    cutter, blocks = SegmentCutter(RATE, UNCUT), np.split(np.zeros(5 * RATE, np.float32), 50)
    assert [sum(len(piece.samples) for piece in cutter.accept(block)) for block in blocks] == [len(blocks[0])] * 50


@pytest.mark.real_detector
def test_a_new_detector_does_not_share_state_with_others():
    rng = np.random.default_rng(1)
    windows = (0.3 * rng.standard_normal((40, vad.WINDOW))).astype(np.float32)
    first = [float(vad.new_detector().process_array(windows[0])) for _ in range(2)]
    used = vad.new_detector()
    heard = [float(used.process_array(window)) for window in windows]
    assert first == [heard[0]] * 2
    assert heard[0] != float(used.process_array(windows[0]))  # it does remember


@pytest.mark.real_detector
def test_the_real_detector_tells_a_vowel_from_silence():
    """A buzz with the formants of a vowel, in syllables, then nothing."""
    rng = np.random.default_rng(0)
    t = np.arange(6 * RATE) / RATE
    buzz = sum(np.sin(2 * np.pi * 120 * k * t) * np.exp(-(((120 * k - 700) / 300) ** 2)) for k in range(1, 30))
    syllables = 0.2 * buzz * (np.sin(2 * np.pi * 2 * t) > -0.5)
    samples = np.concatenate([syllables, np.zeros(2 * RATE), syllables]) + 1e-4 * rng.standard_normal(14 * RATE)
    (_, first), (second, _) = cut(samples.astype(np.float32), 1600, rules=RULES)[:2]
    assert 4 * RATE <= len(first) <= 8 * RATE
    assert second < len(first)
