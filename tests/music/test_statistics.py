"""Statistics of pieces: small ones counted by hand, sums, and distances."""

from __future__ import annotations

import json
import math
from collections import Counter
from fractions import Fraction

import pytest

from recitative.music.piece import Note, Piece
from recitative.music.statistics import NO_RANGE, Share, distances, statistics, total_variation

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
