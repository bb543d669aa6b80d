"""Voices for music that has none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recitative.music.piece import Grid, Note, Piece, from_grid, separated


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
