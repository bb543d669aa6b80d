"""Accuracy, its interval, recalls and confusions, against their definitions."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from recitative.score.classification import (
    NORMAL_95,
    Confusions,
    area_error,
    area_measured,
    area_under_curve,
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
def test_the_ends_of_the_interval_are_as_far_from_what_was_found_as_it_says(correct, total):
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
def test_areas_that_are_seen_at_once(usual, unusual, area):
    assert area_under_curve(usual, unusual) == area


def test_the_area_is_that_under_the_curve_of_hits_over_false_alarms():
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
