"""Recorded melodies become notes, whoever sings them, and what is no melody is named."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from singing import CLEAN, RATE, SUNG, note_f1, sing

from recitative.errors import DataError
from recitative.music.melody import TranscribedNote, estimate_tempo, quantized, transcribe_melody
from recitative.music.midi import render
from recitative.music.piece import Note, Piece

pytest.importorskip("librosa", reason="librosa tracks the pitch of recordings")

ROOT = Path(__file__).resolve().parents[2]
# A tune in the manner of a chorale, in G major.
PITCHES = (67, 67, 69, 71, 72, 74, 72, 71, 69, 71, 69, 67, 66, 67)
QUARTERS = (1, 1, 1, 1, 1, 0.5, 0.5, 1, 1, 0.5, 0.5, 1, 1, 2)


def tune(pitches=PITCHES, quarters=QUARTERS, tempo=100.0):
    starts = np.cumsum([0, *quarters[:-1]])
    notes = [
        Note(int(4 * start), pitch, int(4 * length))
        for start, pitch, length in zip(starts, pitches, quarters, strict=True)
    ]
    return Piece.of(notes, 4, tempo, "tune")


DIFFERENT = tune(PITCHES[1:], QUARTERS[1:])  # without a repeated note, as in the chorales of the corpus


def test_a_clean_melody_comes_back_with_its_tempo_and_key():
    found = transcribe_melody(sing(DIFFERENT, CLEAN), RATE)
    assert note_f1(found.notes, DIFFERENT) >= 0.95
    assert found.piece.notes == DIFFERENT.notes
    assert found.piece.quarters_per_minute == pytest.approx(100, abs=3)
    assert found.key == "G major"
    assert abs(found.tuning_cents) < 10
    assert str(found).startswith("13 notes, G major, ")


def test_a_sung_melody_comes_back_in_spite_of_vibrato_glides_drift_and_noise():
    found = transcribe_melody(sing(DIFFERENT, SUNG, seed=1, offset=0.3), RATE, tempo=100.0)
    assert note_f1(found.notes, DIFFERENT) >= 0.85
    assert found.piece.quarters_per_minute == 100
    equal = set(found.piece.notes) & set(DIFFERENT.notes)
    assert len(equal) >= 0.8 * len(DIFFERENT.notes)


def test_a_repeated_note_is_two_notes():
    piece = tune((67, 67, 67, 69), (1, 1, 0.5, 1.5))
    for sound in (sing(piece, CLEAN), render(piece, sample_rate=RATE).mean(axis=1)):
        assert [note.pitch for note in transcribe_melody(sound, RATE).notes] == [67, 67, 67, 69]


def noise(seconds):
    return 0.1 * np.random.default_rng(0).normal(size=round(seconds * RATE)).astype(np.float32)


def drums():
    time = np.arange(RATE // 2) / RATE
    return np.tile(noise(0.5) * np.exp(-time * 25), 8)


def chord(*pitches):
    notes = [Note(start, pitch, 8) for start in (0, 8) for pitch in pitches]
    return render(Piece.of(notes, 4, 100.0, "chord"), sample_rate=RATE).mean(axis=1)


@pytest.mark.parametrize(
    ("sound", "message"),
    [
        (np.zeros(RATE, np.float32), "is silent: no melody"),
        (noise(0.1), "is shorter than 0.2 s"),
        (noise(3), "noise, speech or percussion"),
        (drums(), "noise, speech or percussion"),
        (chord(60, 64, 67), "several notes sound at once"),
        (chord(57, 60, 64, 69), "several notes sound at once"),
        (chord(60, 67), "several notes sound at once"),
    ],
    ids=["silence", "too short", "noise", "drums", "major chord", "minor chord", "fifth"],
)
def test_what_is_no_melody_is_named(sound, message):
    with pytest.raises(DataError, match=message) as raised:
        transcribe_melody(sound, RATE)
    assert "record one line, sung, hummed, whistled or played" in str(raised.value)


@pytest.mark.parametrize(
    "recording", ["recipes/digits/corpus/audio/am_michael-00.ogg", "tests/field_cases/26_common_voice_1.mp3"]
)
def test_speech_is_no_melody(recording):
    with pytest.raises(DataError, match="few of its notes are held: speech"):
        transcribe_melody(ROOT / recording)


# Tempo and grid, without sound


def transcribed(quarters, tempo, rng=None, gap=0.05):
    starts = np.cumsum([0, *quarters]) * 60 / tempo
    if rng:
        starts = starts + rng.normal(0, 0.02, len(starts))
    return [TranscribedNote(float(a), float(b) - gap, 60, 0.0) for a, b in itertools.pairwise(starts)]


@given(st.lists(st.sampled_from([1.0, 1.0, 0.5, 2.0]), min_size=8, max_size=20), st.floats(70, 125), st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_notes_go_to_the_grid_at_a_known_tempo(quarters, tempo, seed):
    piece = quantized(transcribed(quarters, tempo, np.random.default_rng(seed)), tempo, "x")
    assert [note.start for note in piece.notes] == (4 * np.cumsum([0, *quarters[:-1]])).tolist()
    assert [note.length for note in piece.notes][:-1] == [4 * length for length in quarters[:-1]]


@pytest.mark.parametrize("tempo", [66, 84, 100, 120])
def test_the_tempo_is_that_of_common_note_values(tempo):
    quarters = [1, 1, 0.5, 0.5, 1, 2, 1, 1, 1, 1, 0.5, 0.5, 1, 2]
    onsets = [note.start_s for note in transcribed(quarters, tempo, np.random.default_rng(1))]
    assert estimate_tempo(onsets) == pytest.approx(tempo, rel=0.03)


def test_a_slowing_singer_keeps_the_note_values():
    times = np.cumsum([0, *np.geomspace(0.5, 0.8, 15)])
    notes = [TranscribedNote(float(a), float(b), 60, 0.0) for a, b in itertools.pairwise(times)]
    assert {note.length for note in quantized(notes, 0, "x").notes} == {4}


def test_a_pause_is_a_rest():
    notes = [
        TranscribedNote(0.0, 0.55, 60, 0.0),
        TranscribedNote(0.6, 1.15, 60, 0.0),
        TranscribedNote(2.4, 3.0, 60, 0.0),
    ]
    assert [(note.start, note.length) for note in quantized(notes, 100, "x").notes] == [(0, 4), (4, 4), (16, 4)]
