"""Longest copies: found as by trying every pair of stretches, up to transposition or at the original pitch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recitative.music.piece import SILENT, Piece, Pitches, from_grid, tied, to_grid
from recitative.music.statistics import Copy, Originals, longest_copy

rows = st.tuples(st.sampled_from([SILENT, 60, 62, 64]), st.sampled_from([SILENT, 48, 50, 52]))
grids = st.lists(rows, max_size=9).map(lambda drawn: np.array(drawn, np.int16).reshape(-1, 2))


def _piece(pitches: Pitches, name: str = "") -> Piece:
    return from_grid(tied(pitches), 4, name=name)


def _shift(first: Pitches, second: Pitches) -> int | None:
    """The transposition that makes the second stretch the first; None if there isn't one."""
    if ((first == SILENT) != (second == SILENT)).any():
        return None
    moves = set((first - second)[first != SILENT].tolist())
    return moves.pop() if len(moves) == 1 else None


def _slow_length(pitches: Pitches, originals: list[Pitches]) -> int:
    best = 0
    for original in originals:
        for at in range(len(pitches)):
            for start in range(len(original)):
                for length in range(best + 1, min(len(pitches) - at, len(original) - start) + 1):
                    part = pitches[at : at + length]
                    shift = _shift(part, original[start : start + length]) if (part[0] != SILENT).any() else None
                    if shift is not None:
                        best = length
    return best


@settings(max_examples=80, deadline=None)
@given(grids, st.lists(grids, max_size=3))
def test_it_is_the_longest_of_all_stretches(pitches: Pitches, originals: list[Pitches]) -> None:
    pieces = [_piece(grid, str(n)) for n, grid in enumerate(originals)]
    found = longest_copy(_piece(pitches), Originals.of(pieces, voices=2))
    assert found.length == _slow_length(pitches, originals)
    if found.length:
        original = originals[int(found.name)][found.start : found.start + found.length]
        assert _shift(pitches[found.at : found.at + found.length], original) == found.transposition


def _slow_first(pitches: Pitches, originals: list[Pitches], length: int) -> tuple[int, int, int]:
    """Of the copies of a length the first in the piece, then the first in the originals: at, which, start."""
    for at in range(len(pitches)):
        part = pitches[at : at + length]
        for number, original in enumerate(originals):
            for start in range(len(original) - length + 1):
                whole = len(part) == length and (part[0] != SILENT).any()
                if whole and _shift(part, original[start : start + length]) is not None:
                    return at, number, start
    raise AssertionError("there is one")


@settings(max_examples=80, deadline=None)
@given(grids, st.lists(grids, min_size=1, max_size=3), st.integers(1, 3))
def test_of_equally_long_ones_it_is_the_first(pitches: Pitches, originals: list[Pitches], held: int) -> None:
    pitches, originals = pitches.repeat(held, axis=0), [grid.repeat(held, axis=0)[1:] for grid in originals]
    pieces = [_piece(grid, str(n)) for n, grid in enumerate(originals)]
    found = longest_copy(_piece(pitches), Originals.of(pieces, voices=2))
    if found.length:
        assert (found.at, int(found.name), found.start) == _slow_first(pitches, originals, found.length)


def _chorale(seed: int, steps: int = 40) -> Pitches:
    random = np.random.default_rng(seed)
    return (random.integers(0, 12, (steps, 4)) + np.array([72, 62, 52, 40])).astype(np.int16)


def test_a_planted_stretch_is_found_with_its_place_and_transposition() -> None:
    original, generated = _chorale(1), _chorale(2)
    generated[5:17] = original[20:32] + 3
    pieces = [_piece(_chorale(3), "other"), _piece(original, "original")]
    assert longest_copy(_piece(generated), Originals.of(pieces, voices=4)) == Copy(12, "original", 20, 3, 5)


def test_a_piece_is_a_copy_of_itself_from_end_to_end() -> None:
    piece = _piece(_chorale(4), "same")
    found = longest_copy(piece, Originals.of([piece], voices=4))
    assert found == Copy(40, "same", 0, 0, 0)
    assert found.to_dict() == {"length": 40, "name": "same", "start": 0, "transposition": 0, "at": 0}


def test_a_stretch_does_not_run_from_one_original_into_the_next() -> None:
    whole = _chorale(5)
    halves = [_piece(whole[:20], "first"), _piece(whole[20:], "second")]
    assert longest_copy(_piece(whole), Originals.of(halves, voices=4)).length == 20


def test_a_pitch_that_is_struck_again_is_the_same_pitch() -> None:
    held = Piece.of(_piece(np.full((4, 1), 60, np.int16)).notes, 4, 100.0, "held")
    struck = _piece(np.full((4, 1), 60, np.int16))
    struck = Piece(tuple(type(note)(step, 60, 1) for note in struck.notes for step in range(4)), 4)
    assert to_grid(struck, 1).onsets.all()
    assert longest_copy(struck, Originals.of([held], voices=1)).length == 4


def test_silence_alone_is_no_copy_and_without_originals_there_is_none() -> None:
    silent = Piece((), 8)
    assert longest_copy(silent, Originals.of([silent], voices=2)) == Copy()
    assert longest_copy(_piece(_chorale(6)), Originals.of([], voices=4)) == Copy()


def test_a_voice_that_the_originals_lack_is_an_error() -> None:
    with pytest.raises(ValueError, match="of 2"):
        longest_copy(_piece(_chorale(7)), Originals.of([], voices=2))
