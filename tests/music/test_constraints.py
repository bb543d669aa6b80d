"""Given notes are looked for one by one, new ones in their ranges."""

from __future__ import annotations

from recitative.music.composition import ConstraintCheck, check_constraints
from recitative.music.piece import Note, Piece
from recitative.music.statistics import Share

RANGES = [(60, 72), (48, 60)]


def _piece(*notes: Note) -> Piece:
    return Piece.of(notes, 48, 100.0, "p")


def test_a_given_note_counts_with_start_length_and_pitch_whoever_has_it() -> None:
    given = [Note(0, 64, 12), Note(12, 65, 12), Note(24, 67, 12), Note(36, 69, 12)]
    there = _piece(Note(0, 64, 12, 1), Note(13, 65, 12), Note(24, 67, 11), Note(36, 68, 12))
    assert check_constraints(there, given, RANGES) == ConstraintCheck(Share(1, 4), Share(3, 3))


def test_a_note_given_twice_must_be_there_twice() -> None:
    twice = [Note(0, 64, 12), Note(0, 64, 12, 1)]
    assert check_constraints(_piece(twice[0]), twice, RANGES).given == Share(1, 2)
    assert check_constraints(_piece(*twice), twice, RANGES).given == Share(2, 2)


def test_only_new_notes_must_be_in_range() -> None:
    given = [Note(0, 100, 12)]
    new = [Note(12, 60, 12), Note(12, 59, 12), Note(12, 60, 12, 1), Note(12, 61, 12, 1), Note(12, 60, 12, 2)]
    assert check_constraints(_piece(*given, *new), given, RANGES) == ConstraintCheck(Share(1, 1), Share(2, 5))


def test_shares_of_several_pieces_add_up() -> None:
    assert ConstraintCheck(Share(1, 2), Share(3, 4)) + ConstraintCheck(Share(1, 1), Share(0, 2)) == ConstraintCheck(
        Share(2, 3), Share(3, 6)
    )
