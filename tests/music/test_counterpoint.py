"""Counterpoint: examples of the textbooks, and slow definitions beside the fast counts."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from recitative.music.piece import SILENT, Pitches
from recitative.music.statistics import (
    CHORDS,
    FIFTH,
    OCTAVE,
    OTHER,
    Share,
    chord_name,
    crossings,
    parallels,
    sonorities,
)


def _grid(*rows: tuple[int, ...]) -> Pitches:
    return np.array(rows, np.int16)


def _random_grid(seed: int, steps: int = 300, voices: int = 4) -> Pitches:
    """Few pitches, so that everything happens often."""
    random = np.random.default_rng(seed)
    return random.choice([SILENT, 48, 50, 55, 57, 60, 62, 67], (steps, voices)).astype(np.int16)


def test_a_textbook_parallel_fifth() -> None:
    """C-G to D-A: both voices rise by a tone and stay a fifth apart."""
    assert parallels(_grid((67, 60), (69, 62)), FIFTH) == Share(1, 1)
    assert parallels(_grid((67, 60), (69, 62)), OCTAVE) == Share(0, 1)


@pytest.mark.parametrize(
    ("rows", "interval", "count"),
    [
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
