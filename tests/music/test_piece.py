"""Notes and grids: how one becomes the other, and what is lost on a coarser grid."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recitative.music.piece import SILENT, Grid, Note, Piece, from_grid, tied, to_grid

PITCHES = st.lists(st.lists(st.sampled_from([SILENT, 60, 62]), min_size=2, max_size=2), min_size=1, max_size=12)
NOTES = st.builds(Note, st.integers(0, 20), st.integers(0, 127), st.integers(1, 9), st.integers(0, 2))


def _sounding(piece: Piece, step: int, voice: int) -> int:
    """What a voice sings at a step, the slow way: of its notes there, the one that began last, then the highest."""
    there = [note for note in piece.notes if note.voice == voice and note.start <= step < note.end]
    return max(there, key=lambda note: (note.start, note.pitch)).pitch if there else SILENT


@given(notes=st.lists(NOTES, max_size=10))
def test_a_grid_has_in_each_step_what_began_last(notes: list[Note]) -> None:
    piece = Piece.of(notes, 4, 100.0, "p")
    grid = to_grid(piece, 3)
    for step in range(piece.length):
        for voice in range(3):
            assert grid.pitches[step, voice] == _sounding(piece, step, voice)
            begins = any(note.start == step and note.voice == voice for note in notes)
            assert grid.onsets[step, voice] == begins


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
