"""Phrases of live audio are cut at pauses, in quiet and in noise, however the audio comes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recitative.music.melody import PhraseDetector

RATE = 8000


def tone(seconds, amplitude=0.3, hertz=330.0):
    return amplitude * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE).astype(np.float32)


def silence(seconds):
    return np.zeros(round(seconds * RATE), np.float32)


def phrases_of(samples, chunk=1280, **options):
    detector = PhraseDetector(RATE, **options)
    found = [phrase for at in range(0, len(samples), chunk) for phrase in detector.accept(samples[at : at + chunk])]
    return found + detector.finish()


def seconds(phrases):
    return [len(phrase) / RATE for phrase in phrases]


TWO = np.concatenate([silence(0.5), tone(1.0), silence(0.4), tone(0.6), silence(1.0), tone(2.0), silence(0.3)])


def test_a_phrase_has_its_short_rests_and_ends_with_a_pause():
    assert seconds(phrases_of(TWO)) == pytest.approx([0.1 + 2.0 + 0.2, 0.1 + 2.0 + 0.2], abs=0.03)


def test_noise_of_a_room_is_silence():
    noise = np.random.default_rng(0).normal(0, 0.01, len(TWO)).astype(np.float32)  # -40 dB, 27 dB below the tones
    found = phrases_of(np.concatenate([TWO + noise, noise]))
    assert len(found) == 2
    assert seconds(found)[1] == pytest.approx(2.3, abs=0.1)


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=10))
@settings(deadline=None, max_examples=10)
def test_chunks_do_not_matter(sizes):
    whole, detector, found = phrases_of(TWO), PhraseDetector(RATE), []
    bounds = np.cumsum([0, *sizes * (len(TWO) // sum(sizes) + 1)])
    for first, last in itertools.pairwise(bounds):
        found += detector.accept(TWO[first:last])
    found += detector.finish()
    assert len(found) == len(whole)
    assert all(np.array_equal(one, other) for one, other in zip(found, whole, strict=True))


def test_memory_is_bounded_and_a_long_phrase_is_cut():
    detector = PhraseDetector(RATE, longest_s=4.0)
    melody = np.concatenate([tone(0.5, hertz=hertz) for hertz in (300, 350)] + [silence(0.4)])  # has no pause
    found = [phrase for _ in range(10) for phrase in detector.accept(melody)]
    assert seconds(found) == pytest.approx([4.0] * 3, abs=0.5)
    assert sum(len(frame) for frame in detector._frames) <= 4.0 * RATE


@pytest.mark.parametrize("sound", [silence(5), tone(40, 0.02, 50), tone(0.02)], ids=["silence", "hum", "click"])
def test_silence_hum_and_clicks_are_no_phrases(sound):
    assert phrases_of(np.concatenate([silence(0.1), sound, silence(1)])) == []
    detector = PhraseDetector(RATE)
    assert detector.accept(sound) == []


def test_a_phrase_that_was_an_echo_is_forgotten():
    detector = PhraseDetector(RATE)
    detector.accept(tone(1.0))
    detector.reset()
    assert detector.accept(silence(2.0)) == []
