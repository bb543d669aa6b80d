"""Counting hits, thresholds for a rate, and exact intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest

from recitative.score.classification import LEVELS, DetectionCounts, choose_level, count_found, poisson_interval


@pytest.mark.parametrize(
    ("hits", "found"),
    [
        ([], 0),
        ([(1.1, 1.3)], 1),
        ([(1.45, 1.6)], 1),  # within the tolerance behind it
        ([(1.65, 1.8)], 0),
        ([(1.1, 1.3), (1.2, 1.4)], 1),  # once is enough
        ([(1.1, 1.3), (3.0, 3.2)], 2),
    ],
)
def test_a_hit_finds_what_it_overlaps_and_each_only_once(hits, found) -> None:
    assert count_found([(1.0, 1.5), (3.1, 3.4)], hits) == found


def at(found, false_alarms):
    return DetectionCounts(10, found, false_alarms, hours=2.0)


def test_the_threshold_is_the_middle_of_those_that_miss_the_least_at_the_rate() -> None:
    at_levels = [at(10, 9), at(10, 3), at(9, 2), at(9, 1), at(9, 0), at(5, 0)]
    assert choose_level(at_levels, 1.0) == 3
    assert choose_level(at_levels, 2.0) == 1
    assert choose_level(at_levels, 0.0) == 4
    assert choose_level([at(5, 3)], 1.0) is None


def test_a_rate_is_kept_by_the_nearest_whole_number_of_false_alarms() -> None:
    at_levels = [DetectionCounts(4, 4, 2, 0.7), DetectionCounts(4, 3, 1, 0.7), DetectionCounts(4, 2, 0, 0.7)]
    assert choose_level(at_levels, 1.0) == 1
    assert choose_level(at_levels, 0.7) == 2


def test_a_rate_must_be_kept_at_all_higher_thresholds() -> None:
    assert choose_level([at(10, 0), at(10, 5), at(9, 0)], 0.0) == 2


def test_levels_rise_within_0_and_1() -> None:
    assert np.all(np.diff(LEVELS) > 0)
    assert 0.0 < LEVELS[0] < 0.05
    assert 0.9998 < LEVELS[-1] < 1.0


def test_several_keywords_count_as_one_with_their_hours_together() -> None:
    together = DetectionCounts.together([DetectionCounts(4, 3, 1, 2.0), DetectionCounts(0, 0, 2, 2.0)])
    assert together == DetectionCounts(4, 3, 3, 4.0)
    assert (together.miss_rate, together.per_hour) == (0.25, 0.75)
    assert [(one.metric, one.value) for one in together.measured()] == [
        ("% missed", 25.0), ("false alarms per hour and keyword", 0.75),
    ]  # fmt: skip
    assert math.isnan(DetectionCounts(0, 0, 0, 1.0).miss_rate)


@pytest.mark.parametrize(("count", "low", "high"), [(0, 0.0, 3.689), (1, 0.0253, 5.572), (10, 4.795, 18.390)])
def test_poisson_intervals_are_those_of_the_tables(count, low, high) -> None:
    assert poisson_interval(count) == (pytest.approx(low, abs=2e-3), pytest.approx(high, abs=2e-3))
