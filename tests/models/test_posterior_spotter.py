"""Keywords from posteriors: the formulas of Chen et al. 2014 as loops, one hit a word, and any cutting."""

from __future__ import annotations

import math

import numpy as np
import pytest

from recitative.models.posterior_spotter import PosteriorRules, PosteriorSpotter

RULES = PosteriorRules(smooth_frames=3, window_frames=5, hold_frames=4)
PATIENT = PosteriorRules(smooth_frames=3, window_frames=5, hold_frames=99)


def confidence_at(posteriors, t, columns):
    """The paper's two formulas, frame by frame."""

    def smoothed(i, j):
        past = [posteriors[k, j] for k in range(max(0, i - 2), i + 1)]
        return sum(past) / len(past)

    parts = [max(smoothed(k, j) for k in range(max(0, t - 4), t + 1)) for j in columns]
    return math.prod(parts) ** (1 / len(parts))


def spot(spotter, pieces, labels):
    state, hits = spotter.start(labels), []
    for piece in pieces:
        more, state = spotter.step(piece, state)
        hits += more
    return hits + spotter.finish(state)


@pytest.mark.parametrize("columns", [(1,), (1, 2)])
def test_confidences_are_those_of_the_paper(columns) -> None:
    posteriors = np.random.default_rng(1).dirichlet(np.ones(3), 20)
    spotter = PosteriorSpotter([columns], [1e-9], PATIENT)
    found = []
    state = spotter.start(3)
    for frame in posteriors:  # a stream that ends here tells of what it has heard so far
        _, state = spotter.step(frame[None], state)
        found.append(spotter.finish(state)[-1].confidence)
    best_so_far = np.maximum.accumulate([confidence_at(posteriors, t, columns) for t in range(20)])
    assert found == pytest.approx(best_so_far)


def test_a_word_that_is_said_twice_is_two_hits_where_it_was_said() -> None:
    posteriors = np.tile([0.9, 0.05, 0.05], (60, 1))
    posteriors[10:16] = posteriors[40:46] = [0.02, 0.96, 0.02]
    hits = spot(PosteriorSpotter([(1,), (2,)], [0.6, 0.6], RULES), [posteriors], 3)
    assert [hit.keyword for hit in hits] == [0, 0]
    assert 8 <= hits[0].begin < hits[0].end <= 16  # smoothing reaches two frames back
    assert 38 <= hits[1].begin < hits[1].end <= 46


def test_one_frame_alone_is_smoothed_away() -> None:
    posteriors = np.tile([1.0, 0.0], (30, 1))
    posteriors[12] = [0.0, 1.0]
    assert spot(PosteriorSpotter([(1,)], [0.5], RULES), [posteriors], 2) == []


def test_hits_do_not_depend_on_how_the_stream_is_cut() -> None:
    rng = np.random.default_rng(2)
    posteriors = rng.dirichlet(np.full(4, 0.15), 400)
    spotter = PosteriorSpotter([(1,), (2, 3)], [0.6, 0.4], RULES)
    whole = spot(spotter, [posteriors], 4)
    assert len(whole) > 5
    for _ in range(8):
        cut = np.split(posteriors, np.sort(rng.integers(0, 401, 30)))
        assert spot(spotter, cut, 4) == whole
