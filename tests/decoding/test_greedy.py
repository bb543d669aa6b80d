"""Greedy decoding: a path anyone can check by hand, and the one-line definition as oracle."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from recitative.decoding.hypotheses import BestPath, best_labels
from recitative.stage import Padded


def runs_of(*pieces):
    path = BestPath()
    for piece in pieces:
        path.extend(piece)
    assert path.num_frames == sum(map(len, pieces))
    return path.runs


def test_random_paths_collapse_as_defined_each_row_at_its_own_length():
    paths = np.random.default_rng(1).integers(0, 4, (50, 12))
    lengths = np.arange(50) % 13
    log_probs = np.log(np.eye(4)[paths] * 0.9 + 0.025)
    defined = [
        [k for k, _ in itertools.groupby(path[:n].tolist()) if k] for path, n in zip(paths, lengths, strict=True)
    ]
    assert best_labels(Padded(log_probs, lengths)) == defined
    assert [[run.label for run in runs_of(row[:n])] for row, n in zip(log_probs, lengths, strict=True)] == defined


def test_a_best_path_collapses_into_runs_with_their_largest_probability() -> None:
    probabilities = np.array([[0.6, 0.4], [0.1, 0.9], [0.3, 0.7], [0.8, 0.2], [0.2, 0.8]])
    runs = runs_of(np.log(probabilities))
    assert [(run.label, run.begin, run.end) for run in runs] == [(1, 1, 3), (1, 4, 5)]
    assert [run.confidence for run in runs] == pytest.approx([0.9, 0.8])
    assert runs_of(np.zeros((0, 2))) == []


def test_a_path_that_grows_piece_by_piece_has_the_same_runs() -> None:
    rng = np.random.default_rng(2)
    log_probs = np.log(rng.dirichlet(np.ones(3) / 2, 200).repeat(2, axis=0))
    for _ in range(20):
        cuts = np.sort(rng.integers(0, 401, 30))
        assert runs_of(*np.split(log_probs, cuts)) == runs_of(log_probs)
