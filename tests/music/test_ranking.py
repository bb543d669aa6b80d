"""Ranking of generated pieces: likely ones with few errors first."""

from __future__ import annotations

import numpy as np
import pytest

import small_music
from recitative.lm.recurrent import Sampling
from recitative.model.folder import run_model
from recitative.music.composer import likelihood_of
from recitative.music.composition import NATS_PER_ERROR, Candidate, RuleErrors, compose, rank, rule_errors
from recitative.music.piece import Note, Piece, from_grid, tied
from recitative.music.settings import TICKS_PER_STEP, Constraints, blank, to_rewrite

FRAMES = small_music.settings("frames.voices=4", "frames.lowest=40", "frames.highest=81").frames
RANGED = FRAMES.model_copy(update={"ranges": ((60, 81), (55, 74), (48, 67), (40, 60))})


def of_rows(*rows, frames=RANGED):
    return rule_errors(from_grid(tied(np.array(rows, np.int16)), frames.steps_per_quarter), frames)


def test_errors_of_voice_leading_are_counted():
    assert of_rows([72, 67, 64, 48], [71, 67, 62, 43]).total == 0
    assert str(of_rows([72, 67, 64, 48], [71, 67, 62, 43])) == "no rule errors"
    assert of_rows([72, 67, 64, 48], [74, 69, 64, 50]).octaves == 1
    assert of_rows([67, 64, 60, 45], [67, 64, 62, 47]).fifths == 0
    assert of_rows([67, 64, 60, 53], [69, 64, 60, 55]).total == 0
    assert of_rows([67, 64, 60, 53], [69, 64, 62, 55]).fifths == 2
    assert of_rows([79, 64, 60, 48]).spacing == 1  # the soprano is more than an octave above the alto
    assert of_rows([72, 67, 64, 41]).spacing == 0  # the bass may be
    assert of_rows([64, 67, 60, 48]).crossings == 1
    assert of_rows([72, 67, 64, 62]).out_of_range == 1
    assert str(RuleErrors(2, 1, 0, 0, 3)) == "2 parallel fifths, 1 parallel octave, 3 notes out of range"


def test_an_error_costs_as_much_as_a_rare_note():
    piece = Piece((Note(0, 60, 4),), 4)
    clean, faulty = (
        Candidate(piece, 10.0, 4, RuleErrors(0, 0, 0, 0, 0)),
        Candidate(piece, 8.0, 4, RuleErrors(1, 0, 0, 0, 0)),
    )
    assert clean.cost == 10.0
    assert faulty.cost == 8.0 + NATS_PER_ERROR
    assert str(faulty) == "2.000 nats per token, 1 parallel fifth"


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_candidates_are_ranked_by_their_cost(direction):
    scorer = run_model(small_music.model(f"model.recurrent.direction={direction}"))
    frames = scorer.frames
    request = blank(frames, 8, "new", 100.0)
    if scorer.fills:
        given = Piece.of([Note(0, 60, 8 * TICKS_PER_STEP)], 4 * TICKS_PER_STEP, 100.0, "new")
        request = to_rewrite(given, frames, [1, 2])
    pieces = compose(scorer, request, Constraints(), Sampling(), count=4, seed=1, gibbs_steps=2)
    candidates = rank(scorer, request, pieces)
    assert {candidate.piece.name for candidate in candidates} == {piece.name for piece in pieces}
    assert [candidate.cost for candidate in candidates] == sorted(candidate.cost for candidate in candidates)
    assert {candidate.unit for candidate in candidates} == {"note" if scorer.fills else "token"}
    if scorer.fills:
        new = [sum(note.voice != 0 for note in candidate.piece.notes) for candidate in candidates]
        assert [candidate.count for candidate in candidates] == new
    else:
        from recitative.music.settings import on_grid

        for candidate in candidates:
            tokens = frames.code.tokens(on_grid(candidate.piece, frames))
            assert candidate.nats == pytest.approx(likelihood_of(scorer, [tokens]).nats)
