"""Accuracy, intervals, recalls, confusions and areas against their definitions; counts and thresholds of detections."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from recitative.score.classification import (
    LEVELS,
    NORMAL_95,
    Confusions,
    DetectionCounts,
    area_error,
    area_measured,
    area_under_curve,
    choose_level,
    count_found,
    poisson_interval,
    wilson_interval,
)

PAIRS = [(0, 0), (0, 0), (0, 1), (1, 1), (2, 1), (2, 2), (0, 0)]  # true, given


def test_confusions_are_counted_and_divided_as_they_should_be():
    found = Confusions.of(("a", "b", "c"), PAIRS)
    assert found.counts.tolist() == [[3, 1, 0], [0, 1, 0], [0, 1, 1]]
    assert (found.correct, found.total) == (5, 7)
    assert found.accuracy == 5 / 7
    assert found.recalls == {"a": 0.75, "b": 1.0, "c": 0.5}
    assert found.precisions == {"a": 1.0, "b": 1 / 3, "c": 1.0}
    assert found.unweighted_average_recall == pytest.approx((0.75 + 1.0 + 0.5) / 3)


def test_a_class_that_was_not_tested_has_no_recall():
    found = Confusions.of(("a", "b"), [(0, 0), (0, 1)])
    assert found.recalls == {"a": 0.5}
    assert found.unweighted_average_recall == 0.5


def test_the_table_has_a_line_for_each_label():
    assert Confusions.of(("yes", "no", "?"), [(0, 0), (0, 1), (1, 1)]).table().splitlines() == [
        "true \\ given  yes  no  ?  recall",
        "yes             1   1  0   50.0%",
        "no              0   1  0  100.0%",
        "?               0   0  0       -",
    ]


def test_results_are_in_per_cent_with_their_counts():
    accuracy, recall = Confusions.of(("a", "b", "c"), PAIRS).measured()
    assert (accuracy.metric, accuracy.value, accuracy.counts) == ("% accuracy", 71.4286, "5 / 7")
    assert (recall.metric, recall.value, recall.counts) == ("% unweighted average recall", 75.0, "3 classes")


@pytest.mark.parametrize(("correct", "total"), [(0, 10), (3, 10), (10, 10), (297, 300), (1, 1)])
def test_the_interval_contains_the_shares_within_z_of_their_own_deviations(correct, total):
    """Wilson's interval holds the shares p from which the one found lies at most z of p's own deviations."""
    shares = np.linspace(0, 1, 200_001)
    within = np.abs(correct / total - shares) <= NORMAL_95 * np.sqrt(shares * (1 - shares) / total)
    low, high = wilson_interval(correct, total)
    assert low == pytest.approx(shares[within].min(), abs=1e-5)
    assert high == pytest.approx(shares[within].max(), abs=1e-5)


def test_the_interval_shrinks_with_the_root_of_the_count():
    wide, narrow = (wilson_interval(n // 2, n) for n in (1000, 4000))
    assert math.isclose((wide[1] - wide[0]) / (narrow[1] - narrow[0]), 2, rel_tol=1e-2)


def slow_area(usual, unusual):
    """How many pairs are in the right order, a tie being half of one."""
    pairs = list(itertools.product(usual, unusual))
    return sum(1.0 if b > a else 0.5 if a == b else 0.0 for a, b in pairs) / len(pairs)


def test_the_area_is_the_share_of_pairs_in_order():
    rng = np.random.default_rng(0)
    usual, unusual = rng.integers(0, 9, 30).tolist(), rng.integers(3, 12, 20).tolist()
    assert area_under_curve(usual, unusual) == pytest.approx(slow_area(usual, unusual))


@pytest.mark.parametrize(("usual", "unusual", "area"), [
    ([1, 2], [3, 4], 1.0), ([3, 4], [1, 2], 0.0), ([1, 1], [1], 0.5), ([1, 3], [2], 0.5),
])  # fmt: skip
def test_areas_of_simple_cases(usual, unusual, area):
    assert area_under_curve(usual, unusual) == area


def test_the_area_is_that_under_the_roc_curve():
    rng = np.random.default_rng(1)
    usual, unusual = rng.normal(0, 1, 50), rng.normal(1, 1, 40)
    limits = np.sort(np.concatenate([usual, unusual, [-9, 9]]))[::-1]
    hits = [(unusual >= limit).mean() for limit in limits]
    alarms = [(usual >= limit).mean() for limit in limits]
    assert area_under_curve(usual.tolist(), unusual.tolist()) == pytest.approx(np.trapezoid(hits, alarms))


def test_the_error_is_near_what_the_areas_of_many_samples_differ_by():
    rng = np.random.default_rng(2)
    areas = [area_under_curve(rng.normal(0, 1, 30).tolist(), rng.normal(1, 1, 20).tolist()) for _ in range(500)]
    assert area_error(float(np.mean(areas)), 30, 20) == pytest.approx(np.std(areas), rel=0.15)


def test_what_goes_into_the_results_has_its_counts_and_interval():
    measured = area_measured([1.0, 2.0, 3.0], [2.5, 4.0])
    assert (measured.metric, measured.value) == ("AUC", pytest.approx(5 / 6, abs=1e-6))
    assert measured.counts.startswith("2 anomalous, 3 normal; 95 %: +- 0.")
    assert area_error(1.0, 5, 5) == 0.0
    assert math.isfinite(area_error(0.0, 5, 5))


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
def test_a_detection_finds_what_it_overlaps_and_each_occurrence_once(hits, found) -> None:
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
