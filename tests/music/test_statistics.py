"""Statistics of pieces, voice leading, chords, and copies from a corpus."""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recitative.music.piece import SILENT, Note, Piece, Pitches, from_grid, tied, to_grid
from recitative.music.statistics import (
    CHORDS,
    FIFTH,
    NO_RANGE,
    OCTAVE,
    OTHER,
    Copy,
    Originals,
    Share,
    chord_name,
    crossings,
    distances,
    longest_copy,
    parallels,
    sonorities,
    statistics,
    total_variation,
)

# Soprano G4 A4 rest C5, bass C3 D3 held: the first step to the second is a parallel twelfth.
SMALL = Piece((Note(0, 67, 2, 0), Note(2, 69, 2, 0), Note(6, 72, 2, 0), Note(0, 48, 2, 1), Note(2, 50, 6, 1)), 8, 2)
TRIAD = Piece((Note(0, 67, 4, 0), Note(0, 64, 4, 1), Note(0, 60, 4, 2)), 4)


def test_a_small_piece_counted_by_hand() -> None:
    found = statistics([SMALL], 2)
    assert (found.pieces, found.notes, found.quarters) == (1, 5, Fraction(4))
    assert found.pitch_classes == {7: 2, 9: 2, 0: 4, 2: 6}
    assert found.intervals == ({2: 1}, {2: 1})  # not over the rest
    assert found.note_lengths == {Fraction(1): 4, Fraction(3): 1}
    assert found.ranges == ((67, 72), (48, 50))
    assert found.fifths == Share(1, 3)  # changes: at step 2, at the rest and after it
    assert found.octaves == Share(0, 3)
    assert found.crossings == Share(0, 6)
    assert not found.sonorities


def test_chords_are_counted_by_their_duration() -> None:
    found = statistics([TRIAD], 3)
    assert found.triads == Share(4, 4)
    assert found.sevenths == Share(0, 4)


def test_a_corpus_is_the_sum_of_its_pieces() -> None:
    both, one, other = statistics([SMALL, TRIAD], 3), statistics([SMALL], 3), statistics([TRIAD], 3)
    assert both.pitch_classes == one.pitch_classes + other.pitch_classes
    assert both.note_lengths == one.note_lengths + other.note_lengths
    assert both.fifths == one.fifths + other.fifths
    assert both.ranges == ((67, 72), (48, 64), (60, 60))
    assert one.ranges[2] == NO_RANGE
    assert both.pieces == 2


def test_lengths_are_the_same_on_any_grid() -> None:
    fine = SMALL.at_resolution(12)
    assert statistics([fine], 2).note_lengths == statistics([SMALL], 2).note_lengths


def test_total_variation_by_hand_and_at_its_ends() -> None:
    assert total_variation({"a": 1, "b": 1}, {"a": 3, "b": 1}) == 0.25
    assert total_variation({"a": 2, "b": 4}, {"a": 1, "b": 2}) == 0.0
    assert total_variation({"a": 2}, {"b": 5}) == 1.0
    assert math.isnan(total_variation({}, {"a": 1}))


def test_total_variation_is_the_largest_difference_over_all_events() -> None:
    first, second = Counter("aabbbc"), Counter("abccd")
    p, q = ({x: counts[x] / counts.total() for x in "abcd"} for counts in (first, second))
    events = [[x for n, x in enumerate("abcd") if mask >> n & 1] for mask in range(16)]
    slow = max(abs(sum(p[x] for x in event) - sum(q[x] for x in event)) for event in events)
    assert total_variation(first, second) == pytest.approx(slow, abs=1e-12)


def test_a_corpus_is_at_no_distance_from_itself() -> None:
    found = statistics([SMALL, TRIAD], 3)
    assert set(distances(found, found).to_dict().values()) == {0.0}


def test_what_was_not_counted_is_null_in_json() -> None:
    found = statistics([SMALL], 2)
    as_json = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert as_json["triads"] == {"count": 0, "of": 0, "rate": None}
    assert as_json["parallel_fifths"] == {"count": 1, "of": 3, "rate": 1 / 3}
    assert as_json["note_lengths"] == {"1": 4, "3": 1}
    assert json.loads(json.dumps(distances(found, found).to_dict(), allow_nan=False))["sonorities"] is None


def test_no_pieces_are_no_error_and_a_voice_too_many_is_one() -> None:
    assert statistics([], 4).pieces == 0
    with pytest.raises(ValueError, match="a note of voice 3 of 2"):
        statistics([TRIAD], 2)


# Voice leading and chords: examples of the textbooks, and definitions by loops


def _grid(*rows: tuple[int, ...]) -> Pitches:
    return np.array(rows, np.int16)


def _random_grid(seed: int, steps: int = 300, voices: int = 4) -> Pitches:
    """Few pitches, so that everything happens often."""
    random = np.random.default_rng(seed)
    return random.choice([SILENT, 48, 50, 55, 57, 60, 62, 67], (steps, voices)).astype(np.int16)


@pytest.mark.parametrize(
    ("rows", "interval", "count"),
    [
        (((67, 60), (69, 62)), FIFTH, 1),  # C-G to D-A: both voices rise by a tone and stay a fifth apart
        (((67, 60), (69, 62)), OCTAVE, 0),
        (((72, 60), (74, 62)), OCTAVE, 1),  # C-C to D-D
        (((60, 60), (62, 62)), OCTAVE, 1),  # unisons
        (((79, 60), (81, 62)), FIFTH, 1),  # twelfths
        (((67, 60), (81, 62)), FIFTH, 1),  # from a fifth to a twelfth, both upwards
        (((79, 60), (74, 67)), FIFTH, 0),  # from a twelfth to a fifth in contrary motion
        (((67, 60), (67, 60)), FIFTH, 0),  # nobody moves
        (((67, 60), (67, 48)), FIFTH, 0),  # one moves: a fifth, then a twelfth
        (((67, 60), (69, 60)), FIFTH, 0),  # the fifth is left
        (((67, 60), (SILENT, SILENT), (69, 62)), FIFTH, 0),  # a rest between
        (((60, 67), (62, 69)), FIFTH, 1),  # crossed voices
        (((67, 60), (68, 62)), FIFTH, 0),  # a diminished fifth follows
    ],
)
def test_what_is_parallel_and_what_is_not(rows: tuple[tuple[int, ...], ...], interval: int, count: int) -> None:
    assert parallels(_grid(*rows), interval).count == count


def _slow_parallels(pitches: Pitches, interval: int) -> int:
    count = 0
    for now, then in itertools.pairwise(pitches.tolist()):
        for i, j in itertools.combinations(range(len(now)), 2):
            if SILENT in (now[i], now[j], then[i], then[j]):
                continue
            up_i, up_j = then[i] - now[i], then[j] - now[j]
            kept = abs(now[i] - now[j]) % 12 == interval and abs(then[i] - then[j]) % 12 == interval
            count += kept and up_i * up_j > 0
    return count


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("interval", [FIFTH, OCTAVE])
def test_parallels_are_those_of_the_definition(seed: int, interval: int) -> None:
    pitches = _random_grid(seed)
    assert parallels(pitches, interval).count == _slow_parallels(pitches, interval) > 0


def test_a_change_of_chord_is_any_change_of_pitch() -> None:
    assert parallels(_grid((60, 48), (60, 48), (62, 48), (SILENT, 48), (SILENT, 48)), FIFTH).of == 2
    assert parallels(_grid((60, 48)), FIFTH).of == 0
    assert parallels(_grid((60, 48)), FIFTH) == Share(0, 0)


def test_crossed_steps_are_counted_once_of_those_with_two_voices() -> None:
    pitches = _grid((67, 60, 48), (60, 67, 70), (SILENT, 60, 48), (SILENT, SILENT, 48), (60, 60, 60))
    assert crossings(pitches) == Share(1, 4)


@pytest.mark.parametrize("seed", range(3))
def test_crossings_are_those_of_the_definition(seed: int) -> None:
    pitches = _random_grid(seed)
    sounding = [[pitch for pitch in row if pitch != SILENT] for row in pitches.tolist()]
    slow = sum(row != sorted(row, reverse=True) for row in sounding)
    assert crossings(pitches) == Share(slow, sum(len(row) >= 2 for row in sounding))


@pytest.mark.parametrize(
    ("sounding", "name"),
    [
        ([72, 67, 64, 48], "major"),
        ([67, 64, 48, 76], "major"),
        ([64, 60, 55], "major"),  # second inversion
        ([69, 64, 60, 57], "minor"),
        ([65, 62, 59], "diminished"),
        ([68, 64, 60], "augmented"),
        ([65, 62, 59, 55], "dominant seventh"),
        ([71, 67, 64, 60], "major seventh"),
        ([60, 64, 67, 69], "minor seventh"),  # C E G A: a minor seventh on A
        ([59, 62, 65, 69], "half-diminished seventh"),
        ([60, 63, 66, 69], "diminished seventh"),
        ([60, 67, 72], OTHER),
        ([60, 61, 62, 63], OTHER),
    ],
)
def test_chords_have_their_names_in_any_inversion(sounding: list[int], name: str) -> None:
    assert chord_name(sounding) == name
    assert chord_name([pitch + 5 for pitch in sounding]) == name


def test_no_two_chords_have_the_same_pitch_classes() -> None:
    turned = {
        name: {frozenset((pitch + shift) % 12 for pitch in above) for shift in range(12)}
        for name, above in CHORDS.items()
    }
    assert all(not turned[one] & turned[other] for one, other in itertools.combinations(turned, 2))


def test_sonorities_of_fewer_than_three_notes_are_left_out() -> None:
    counts = sonorities(_grid((67, 64, 60), (67, 64, 60), (67, SILENT, 60), (61, 60, 62), (72, 60, 48)))
    assert counts == {"major": 2, OTHER: 2}


def test_shares_add_up_and_nothing_has_no_rate() -> None:
    assert Share(1, 4) + Share(2, 4) == Share(3, 8)
    assert Share(3, 8).rate == 0.375
    assert np.isnan(Share(0, 0).rate)


# Longest copies, against a search through all pairs of passages


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
