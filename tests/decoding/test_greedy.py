"""Greedy decoding: a path anyone can check by hand, the contract, and the one-line definition as oracle."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from contract import AsTorch, verify_contract
from recitative.decoding.greedy import BestPath, GreedyDecoder
from recitative.stage import Padded


def decode(path, tokens=4):
    log_probs = np.log(np.eye(tokens)[np.array(path, int)] * 0.9 + 0.025)[None]
    decoder = GreedyDecoder()
    y, _ = decoder.step(Padded(log_probs, np.array([len(path)])), decoder.initial_state(1), last=True)
    return y.data[0].tolist()


def test_runs_are_one_label_that_begins_where_the_run_does():
    assert decode([0, 1, 1, 0, 1, 2, 2, 0]) == [0, 1, 0, 0, 1, 2, 0, 0]


def test_random_paths_collapse_as_defined():
    rng = np.random.default_rng(1)
    for _ in range(50):
        path = rng.integers(0, 4, 12).tolist()
        assert [label for label in decode(path) if label] == [k for k, _ in itertools.groupby(path) if k]


def test_greedy_decoding_keeps_the_contract():
    def frames(shape, generator):
        return torch.randn(*shape, 3, generator=generator)

    verify_contract(AsTorch(GreedyDecoder()), frames, gradients=False, atol=0)


def runs_of(*pieces):
    path = BestPath()
    for piece in pieces:
        path.extend(piece)
    assert path.num_frames == sum(map(len, pieces))
    return path.runs


def test_a_best_path_collapses_into_runs_with_their_largest_probability() -> None:
    probabilities = np.array([[0.6, 0.4], [0.1, 0.9], [0.3, 0.7], [0.8, 0.2], [0.2, 0.8]])
    runs = runs_of(np.log(probabilities))
    assert [(run.label, run.begin, run.end) for run in runs] == [(1, 1, 3), (1, 4, 5)]
    assert [run.confidence for run in runs] == pytest.approx([0.9, 0.8])
    assert runs_of(np.zeros((0, 2))) == []


def test_runs_begin_where_the_decoder_says() -> None:
    rng = np.random.default_rng(1)
    log_probs = np.log(rng.dirichlet(np.ones(3), 50))
    decoder = GreedyDecoder()
    labels, _ = decoder.step(Padded(log_probs[None], np.array([50])), decoder.initial_state(1), last=True)
    runs = runs_of(log_probs)
    assert [(run.begin, run.label) for run in runs] == [(t, v) for t, v in enumerate(labels.data[0].tolist()) if v]


def test_a_path_that_grows_piece_by_piece_has_the_same_runs() -> None:
    rng = np.random.default_rng(2)
    log_probs = np.log(rng.dirichlet(np.ones(3) / 2, 200).repeat(2, axis=0))
    for _ in range(20):
        cuts = np.sort(rng.integers(0, 401, 30))
        assert runs_of(*np.split(log_probs, cuts)) == runs_of(log_probs)
