"""Counting hits, thresholds for a rate, exact intervals, and the picture of the trade-off."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from recitative.score.det_curve import Curve, det_svg, deviate
from recitative.score.spotting import LEVELS, Detections, choose_level, count_found, poisson_interval


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
    return Detections(10, found, false_alarms, hours=2.0)


def test_the_threshold_is_the_middle_of_those_that_miss_the_least_at_the_rate() -> None:
    at_levels = [at(10, 9), at(10, 3), at(9, 2), at(9, 1), at(9, 0), at(5, 0)]
    assert choose_level(at_levels, 1.0) == 3
    assert choose_level(at_levels, 2.0) == 1
    assert choose_level(at_levels, 0.0) == 4
    assert choose_level([at(5, 3)], 1.0) is None


def test_a_rate_is_kept_by_the_nearest_whole_number_of_false_alarms() -> None:
    at_levels = [Detections(4, 4, 2, 0.7), Detections(4, 3, 1, 0.7), Detections(4, 2, 0, 0.7)]
    assert choose_level(at_levels, 1.0) == 1
    assert choose_level(at_levels, 0.7) == 2


def test_a_rate_must_be_kept_at_all_higher_thresholds() -> None:
    assert choose_level([at(10, 0), at(10, 5), at(9, 0)], 0.0) == 2


def test_levels_rise_within_0_and_1() -> None:
    assert np.all(np.diff(LEVELS) > 0)
    assert 0.0 < LEVELS[0] < 0.05
    assert 0.9998 < LEVELS[-1] < 1.0


def test_several_keywords_count_as_one_with_their_hours_together() -> None:
    together = Detections.together([Detections(4, 3, 1, 2.0), Detections(0, 0, 2, 2.0)])
    assert together == Detections(4, 3, 3, 4.0)
    assert (together.miss_rate, together.per_hour) == (0.25, 0.75)
    assert [(one.metric, one.value) for one in together.measured()] == [
        ("% missed", 25.0), ("false alarms per hour and keyword", 0.75),
    ]  # fmt: skip
    assert math.isnan(Detections(0, 0, 0, 1.0).miss_rate)


@pytest.mark.parametrize(("count", "low", "high"), [(0, 0.0, 3.689), (1, 0.0253, 5.572), (10, 4.795, 18.390)])
def test_poisson_intervals_are_those_of_the_tables(count, low, high) -> None:
    assert poisson_interval(count) == (pytest.approx(low, abs=2e-3), pytest.approx(high, abs=2e-3))


def test_a_deviate_is_that_of_the_normal_distribution() -> None:
    assert deviate(0.5) == pytest.approx(0.0)
    assert deviate(0.975) == pytest.approx(1.959964)


def points_of(svg, kind):
    [path] = re.findall(rf'<path class="{kind}" d="M([^"]*)"', svg)
    return np.array([[float(x) for x in pair.split()] for pair in path.split("L")])


def test_points_on_a_straight_line_of_deviates_are_drawn_on_one() -> None:
    normal = [-1.5, -0.5, 0.5, 1.2]
    cdf = [0.5 * math.erfc(-z / math.sqrt(2)) for z in normal]
    per_hour = [3600 * 0.5 * math.erfc((z + 2.5) / math.sqrt(2)) for z in normal]  # deviates -z - 2.5
    curve = Curve("a <b>", list(zip(per_hour, cdf, strict=True)))
    svg = det_svg("all & one", [], curve, (2.0, 0.1))
    ET.fromstring(svg)
    x, y = points_of(svg, "all").T
    assert np.allclose(np.diff(y) / np.diff(x), np.diff(y)[0] / np.diff(x)[0], rtol=0.02)


def test_what_lies_outside_the_axes_is_drawn_at_their_ends() -> None:
    svg = det_svg("t", [Curve("none", [])], Curve("all", [(0.0, 0.0), (5000.0, 1.0)]), None)
    (left, foot), (right, top) = points_of(svg, "all")
    assert left < right
    assert top < foot


def test_the_legend_names_what_is_drawn_and_nothing_else() -> None:
    curve = Curve("a", [(1.0, 0.5)])
    assert "each keyword" not in det_svg("t", [], curve, None)
    full = det_svg("t", [curve], curve, (1.0, 0.5))
    ET.fromstring(full)
    for name in ("all, at one threshold", "each keyword", "all, at the thresholds in use"):
        assert f">{name}</text>" in full
