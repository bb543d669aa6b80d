"""One detection for each occurrence of a keyword: which candidate is chosen, when it is reported, and rivals."""

from __future__ import annotations

import math

import numpy as np
import pytest

from recitative.keywords.search import DetectionCandidate, DetectionRules, finish, follow, new_tracks, pick

RULES = DetectionRules(hold_frames=5, margin=1.0)


def candidate(begin, end, confidence, *, seen=None, keyword=0, is_rival=False):
    return DetectionCandidate(keyword, begin, end, seen or end, -math.log(confidence), 1, is_rival)


def spans(hits):
    return [(hit.begin, hit.end) for hit in hits]


def test_the_best_of_overlapping_candidates_is_detected() -> None:
    candidates = [candidate(0, 3, 0.6), candidate(0, 4, 0.9), candidate(1, 5, 0.7)]
    assert spans(pick(candidates, [0.5], RULES)) == [(0, 4)]


def test_a_keyword_spoken_twice_gives_two_detections() -> None:
    assert spans(pick([candidate(0, 3, 0.6), candidate(3, 6, 0.9)], [0.5], RULES)) == [(0, 3), (3, 6)]


def test_a_candidate_below_its_threshold_is_not_detected() -> None:
    candidates = [candidate(0, 3, 0.6), candidate(0, 3, 0.6, keyword=1)]
    assert [hit.keyword for hit in pick(candidates, [0.7, 0.5], RULES)] == [1]


def test_a_detection_is_reported_after_the_hold_and_not_before() -> None:
    hits, tracks = follow(new_tracks(1), [candidate(0, 3, 0.6)], 7, RULES)
    assert hits == []
    hits, tracks = follow(tracks, [], 8, RULES)
    assert spans(hits) == [(0, 3)]
    hits, _ = follow(tracks, [candidate(2, 9, 0.9)], 9, RULES)
    assert hits == finish(tracks, [candidate(2, 9, 0.9)], 9, RULES) == []  # overlaps what was told


def test_a_long_candidate_is_reported_in_time_with_its_last_end() -> None:
    lasting = [candidate(0, end, 1.0) for end in range(3, 30)]
    hits, _ = follow(new_tracks(1), lasting[:6], 8, RULES)
    assert spans(hits) == [(0, 8)]
    assert spans(pick(lasting, [0.5], RULES)) == [(0, 8)]


@pytest.mark.parametrize(("confidence", "stands"), [(0.9, False), (0.4, False), (0.3, True)])
def test_a_longer_word_suppresses_a_detection_unless_it_is_less_probable_by_the_margin(confidence, stands) -> None:
    rival = candidate(0, 6, confidence, is_rival=True)
    assert spans(pick([candidate(0, 3, 0.9), rival], [0.5], RULES)) == ([(0, 3)] if stands else [])


def test_a_longer_word_that_does_not_overlap_or_comes_too_late_suppresses_nothing() -> None:
    for rival in (candidate(4, 6, 0.9, is_rival=True), candidate(0, 9, 0.9, is_rival=True)):
        assert spans(pick([candidate(0, 3, 0.9), rival], [0.5], RULES)) == [(0, 3)]


def test_hits_do_not_depend_on_how_the_stream_is_cut() -> None:
    rng = np.random.default_rng(1)
    begins = np.sort(rng.integers(0, 400, 150))
    candidates = sorted(
        (
            candidate(int(b), int(b + rng.integers(1, 9)), float(rng.uniform(0.3, 1)),
                      keyword=int(rng.integers(2)), is_rival=bool(rng.random() < 0.2))
            for b in begins
        ),
        key=lambda c: c.seen,
    )  # fmt: skip
    whole = finish(new_tracks(2), candidates, 420, RULES)
    assert len(whole) > 20
    for _ in range(10):
        tracks, hits, before = new_tracks(2), [], 0
        for frame in sorted(rng.integers(0, 420, 30).tolist()):
            more, tracks = follow(tracks, [c for c in candidates if before < c.seen <= frame], frame, RULES)
            hits, before = hits + more, frame
        hits += finish(tracks, [c for c in candidates if c.seen > before], 420, RULES)
        assert hits == whole
