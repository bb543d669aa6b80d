"""Keywords from posteriors: smoothing as a loop, one hit a word, thresholds chosen afterwards, and any cutting."""

from __future__ import annotations

import numpy as np
import pytest

from recitative.keywords.detections import pick
from recitative.keywords.posterior_spotter import PosteriorRules, PosteriorSpotter

RULES = PosteriorRules(smooth_frames=3, heard_frames=4, hold_frames=4, refractory_frames=2)
PATIENT = PosteriorRules(smooth_frames=3, heard_frames=4, hold_frames=99, refractory_frames=2)


def smoothed_at(posteriors, t, keyword):
    """The paper's first formula, frame by frame."""
    past = [posteriors[k, keyword] for k in range(max(0, t - 2), t + 1)]
    return sum(past) / len(past)


def spot(spotter, pieces):
    state, hits = spotter.start(), []
    for piece in pieces:
        more, state = spotter.step(piece, state)
        hits += more
    return hits + spotter.finish(state)


def test_confidences_are_the_smoothed_posteriors() -> None:
    posteriors = np.random.default_rng(1).dirichlet(np.ones(3), 20)
    spotter = PosteriorSpotter([1e-9] * 3, PATIENT)
    found, _ = spotter.candidates(posteriors, spotter.start())
    expected = [[smoothed_at(posteriors, t, keyword) for keyword in range(3)] for t in range(20)]
    assert np.reshape([candidate.confidence for candidate in found], (20, 3)) == pytest.approx(np.array(expected))
    assert [candidate.seen for candidate in found[::3]] == list(range(1, 21))


def test_a_hit_lies_on_the_frames_that_it_was_heard_in_and_a_word_said_twice_is_two() -> None:
    posteriors = np.full((60, 2), 0.05)
    posteriors[10:14, 0] = posteriors[40:44, 0] = 0.96
    hits = spot(PosteriorSpotter([0.6, 0.6], RULES), [posteriors])
    assert [hit.keyword for hit in hits] == [0, 0]
    assert [(hit.begin, hit.end) for hit in hits] == [
        (7, 14),
        (37, 44),
    ]  # smoothing and a posterior reach 6 frames back
    assert [hit.confidence for hit in hits] == pytest.approx([0.96, 0.96])


def test_a_word_that_is_heard_for_long_is_one_hit_until_it_was_not_heard_for_a_while() -> None:
    posteriors = np.full((90, 1), 0.9)
    posteriors[40:43] = 0.0  # below the threshold on the frames 40 to 43: smoothing reaches two frames on
    posteriors[70] = 0.0  # smoothed away
    hits = spot(PosteriorSpotter([0.5], RULES), [posteriors])
    assert [hit.begin < 40 for hit in hits] == [True, False]
    patient = PosteriorRules(smooth_frames=3, heard_frames=4, hold_frames=4, refractory_frames=9)
    assert len(spot(PosteriorSpotter([0.5], patient), [posteriors])) == 1


def test_one_frame_alone_is_smoothed_away() -> None:
    posteriors = np.zeros((30, 1))
    posteriors[12] = 1.0
    assert spot(PosteriorSpotter([0.5], RULES), [posteriors]) == []


def test_a_threshold_chosen_afterwards_has_the_hits_of_a_search_with_it() -> None:
    posteriors = np.random.default_rng(3).dirichlet(np.full(4, 0.3), 500)[:, :3]
    lowest = PosteriorSpotter([0.05] * 3, RULES)
    candidates, _ = lowest.candidates(posteriors, lowest.start())
    for thresholds in ([0.3] * 3, [0.6, 0.4, 0.5]):
        expected = spot(PosteriorSpotter(thresholds, RULES), [posteriors])
        assert len(expected) > 5
        assert pick(candidates, thresholds, lowest.rules) == expected


def test_hits_do_not_depend_on_how_the_stream_is_cut_and_little_is_kept() -> None:
    rng = np.random.default_rng(2)
    posteriors = rng.dirichlet(np.full(4, 0.15), 400)[:, 1:]
    spotter = PosteriorSpotter([0.6, 0.4, 0.4], RULES)
    whole = spot(spotter, [posteriors])
    assert len(whole) > 5
    for _ in range(8):
        cut = np.split(posteriors, np.sort(rng.integers(0, 401, 30)))
        assert spot(spotter, cut) == whole
    _, state = spotter.step(posteriors, spotter.start())
    assert state.recent.shape == (2, 3)
