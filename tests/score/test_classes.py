"""Accuracy, its interval, recalls and confusions, against their definitions."""

import math

import numpy as np
import pytest

from recitative.score.classes import NORMAL_95, Confusions, wilson_interval

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
