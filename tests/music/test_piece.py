"""Pieces: notes and grids, keys, voices, and dynamics."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recitative.errors import UsageError
from recitative.music.piece import (
    SILENT,
    Grid,
    Notation,
    Note,
    Piece,
    from_grid,
    key_of,
    phrase_ends,
    pitch_name,
    separated,
    tied,
    to_grid,
    transposed,
    velocities,
)

PITCHES = st.lists(st.lists(st.sampled_from([SILENT, 60, 62]), min_size=2, max_size=2), min_size=1, max_size=12)
NOTES = st.builds(Note, st.integers(0, 20), st.integers(0, 127), st.integers(1, 9), st.integers(0, 2))


def _sounding(piece: Piece, step: int, voice: int) -> int:
    """What a voice sings at a step, the slow way: of its notes there, the one that began last, then the highest."""
    there = [note for note in piece.notes if note.voice == voice and note.start <= step < note.end]
    return max(there, key=lambda note: (note.start, note.pitch)).pitch if there else SILENT


@settings(deadline=None)
@given(notes=st.lists(NOTES, max_size=10))
def test_a_grid_has_in_each_step_what_began_last(notes: list[Note]) -> None:
    piece = Piece.of(notes, 4, 100.0, "p")
    grid = to_grid(piece, 3)
    for step in range(piece.length):
        for voice in range(3):
            assert grid.pitches[step, voice] == _sounding(piece, step, voice)
            begins = any(note.start == step and note.voice == voice for note in notes)
            assert grid.onsets[step, voice] == begins


@settings(deadline=None)
@given(pitches=PITCHES, onsets=st.integers(0, 2**24 - 1))
def test_a_grid_is_its_notes(pitches: list[list[int]], onsets: int) -> None:
    array = np.array(pitches, np.int16)
    struck = np.array([onsets >> bit & 1 for bit in range(array.size)], bool).reshape(array.shape)
    grid = Grid(array, tied(array).onsets | (struck & (array != SILENT)))
    back = to_grid(from_grid(grid, 4), 2)
    np.testing.assert_array_equal(back.pitches, grid.pitches)
    np.testing.assert_array_equal(back.onsets, grid.onsets)


def test_equal_pitches_in_a_row_are_tied() -> None:
    grid = tied(np.array([[60], [60], [SILENT], [60], [62]], np.int16))
    assert grid.onsets[:, 0].tolist() == [True, False, False, True, True]
    assert from_grid(grid, 4).notes == (Note(0, 60, 2), Note(3, 60, 1), Note(4, 62, 1))


def test_a_piece_is_as_long_as_its_notes_and_in_their_order() -> None:
    piece = Piece.of([Note(4, 60, 4, 1), Note(0, 72, 10)], 4, 120.0, "p")
    assert piece.notes == (Note(0, 72, 10), Note(4, 60, 4, 1))
    assert (piece.length, piece.voices) == (10, 2)
    assert piece.seconds == pytest.approx(10 / 4 / 2)
    assert Piece.of([], 4, 120.0, "empty").voices == 0


@settings(deadline=None)
@given(notes=st.lists(NOTES, max_size=8), factor=st.integers(2, 12))
def test_a_finer_grid_and_back_changes_nothing(notes: list[Note], factor: int) -> None:
    piece = Piece.of(notes, 4, 100.0, "p")
    finer = piece.at_resolution(4 * factor)
    assert finer.notes == tuple(
        Note(note.start * factor, note.pitch, note.length * factor, note.voice) for note in piece.notes
    )
    assert finer.at_resolution(4) == piece


def test_on_a_coarser_grid_every_note_keeps_a_step() -> None:
    piece = Piece.of([Note(0, 60, 1), Note(5, 62, 1), Note(7, 64, 5)], 12, 100.0, "p")
    assert piece.at_resolution(4).notes == (Note(0, 60, 1), Note(2, 62, 1), Note(2, 64, 2))


def test_a_note_of_a_voice_too_many_is_named() -> None:
    with pytest.raises(ValueError, match="p: a note of voice 3 of 2"):
        to_grid(Piece.of([Note(0, 60, 1, 2)], 4, 100.0, "p"), 2)


# Keys


SCALES = {False: (0, 2, 4, 5, 7, 9, 11), True: (0, 2, 3, 5, 7, 8, 11)}


@pytest.mark.parametrize("minor", [False, True])
@pytest.mark.parametrize("tonic", range(12))
def test_a_scale_that_dwells_on_tonic_and_fifth_is_in_its_key(tonic, minor):
    scale = [60 + tonic + step for step in SCALES[minor]]
    pitches = np.array([*scale, scale[0], scale[0], scale[4], scale[4], scale[2]], np.int16)[:, None]
    assert key_of(pitches) == (tonic, minor)


def test_a_piece_without_notes_has_some_key():
    assert key_of(np.full((4, 2), SILENT, np.int16)) == (0, False)


def test_a_piece_is_transposed_with_its_key_signature():
    piece = Piece((Note(0, 62, 4), Note(4, 66, 4)), 8, name="D major", notation=Notation((4, 4), 2, False))
    higher = transposed(piece, 3)
    assert [note.pitch for note in higher.notes] == [65, 69]
    assert higher.notation == Notation((4, 4), -1, False)  # F major
    assert transposed(higher, -3) == piece
    assert transposed(replace(piece, notation=Notation()), -12).notation == Notation()
    with pytest.raises(UsageError, match="D major: \\+62 semitones lead to pitch 124 or 128; 0 to 127"):
        transposed(piece, 62)


# Voices for music that has none


def _alone(piece: Piece) -> Piece:
    return Piece(tuple(sorted(Note(n.start, n.pitch, n.length) for n in piece.notes)), piece.length, name="piano")


def test_four_voices_that_never_cross_are_found_again() -> None:
    random = np.random.default_rng(1)
    pitches = (np.array([76, 67, 58, 48]) + random.integers(-2, 3, (40, 4))).astype(np.int16)
    piece = from_grid(Grid(pitches, np.ones_like(pitches, bool)), 4, name="piano")
    assert separated(_alone(piece), 4) == piece


def test_a_held_note_keeps_its_voice_and_new_ones_stay_on_their_side() -> None:
    notes = (Note(0, 60, 8), Note(2, 72, 2), Note(4, 48, 2))
    found = separated(Piece(notes, 8), 3).notes
    by_pitch = [note.voice for note in sorted(found, key=lambda note: -note.pitch)]
    assert by_pitch == sorted(by_pitch)
    assert len(set(by_pitch)) == 3


def test_more_notes_than_voices_share_them_from_top_to_bottom() -> None:
    notes = tuple(Note(0, pitch, 4) for pitch in (48, 52, 55, 60, 72))
    found = [note.voice for note in separated(Piece(notes, 4), 2).notes]
    assert found == sorted(found, reverse=True)
    assert set(found) == {0, 1}


notes_of = st.builds(Note, st.integers(0, 12), st.integers(30, 90), st.integers(1, 6))


@settings(deadline=None)
@given(st.lists(notes_of, unique_by=lambda note: (note.start, note.pitch)), st.integers(1, 4))
def test_notes_change_in_nothing_but_their_voice(notes: list[Note], voices: int) -> None:
    piece = Piece.of(notes, 4, 100.0, "piano")
    found = separated(piece, voices)
    assert _alone(found).notes == piece.notes
    assert found.voices <= voices
    for start in {note.start for note in notes}:
        begun = sorted((note for note in found.notes if note.start == start), key=lambda note: -note.pitch)
        assert [note.voice for note in begun] == sorted(note.voice for note in begun)


def test_no_voices_are_refused() -> None:
    with pytest.raises(ValueError, match="piano: 0 voices; at least 1"):
        separated(Piece((), 0, name="piano"), 0)


# Dynamics


def test_dynamics_follow_meter_phrase_and_voice():
    scale = [Note(4 * n, 60 + n, 4) for n in range(12)]
    piece = Piece.of([*scale, Note(0, 40, 48, 1)], 4, 100.0, "x")
    loud = velocities(piece, 70)
    melody = [value for note, value in zip(piece.notes, loud, strict=True) if note.voice == 0]
    assert len(set(melody)) > 3
    assert melody[4] > melody[5]  # a downbeat
    assert max(melody) in melody[4:9]  # the height of the phrase
    assert loud == velocities(piece, 70)
    assert abs(np.mean(loud) - 70) < 0.5
    assert min(velocities(piece, 1)) == 1
    assert max(velocities(piece, 127)) == 127


def test_downbeats_are_those_of_the_meter():
    notes = [Note(4 * n, 60, 4) for n in range(12)]
    waltz = Piece(tuple(notes), 48, 4, 100.0, "x", Notation((3, 4)))
    march = Piece(tuple(notes), 48, 4, 100.0, "x", Notation((4, 4)))
    assert velocities(waltz)[3] > velocities(march)[3]
    assert velocities(waltz)[4] < velocities(march)[4]


def test_phrases_end_at_long_notes_and_rests():
    lengths = (4, 4, 4, 8, 4, 4, 4, 4, 16)
    starts = np.cumsum([0, *lengths[:-1]])
    notes = [Note(int(start), 60, length) for start, length in zip(starts, lengths, strict=True)]
    assert phrase_ends(Piece.of(notes, 4, 100.0, "x")) == [20, 52, 53]
    assert velocities(Piece((), 4)) == []


def test_a_pitch_has_the_name_of_its_key() -> None:
    assert [pitch_name(pitch) for pitch in (0, 60, 61, 66, 70, 127)] == ["C-1", "C4", "C#4", "F#4", "Bb4", "G9"]
    assert [pitch_name(pitch, -6) for pitch in (59, 66, 70, 71)] == ["Cb4", "Gb4", "Bb4", "Cb5"]  # G flat major
    assert [pitch_name(pitch, 5) for pitch in (60, 70)] == ["B#3", "A#4"]  # B major
