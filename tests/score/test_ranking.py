"""The area under the ROC curve, by counting pairs."""

import itertools
import math

import numpy as np
import pytest

from recitative.score.ranking import area_error, area_measured, area_under_curve


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
    assert measured.counts.startswith("2 unusual, 3 usual; 95 %: +- 0.")
    assert area_error(1.0, 5, 5) == 0.0
    assert math.isfinite(area_error(0.0, 5, 5))
