"""Ensembles of models."""

import numpy as np
import pytest

import small_music
from recitative.errors import UsageError
from recitative.lm.recurrent import Sampling
from recitative.model.folder import run_model
from recitative.music.composer import Ensemble, likelihood_of
from recitative.music.frames import Conditioning
from recitative.music.generation import TokenGrid, continue_music, fill_music
from recitative.stage import Padded


def scorer(seed, *overrides):
    return run_model(small_music.model(*overrides, seed=seed))


def probabilities(of, frames):
    """P of every note of one piece (T, V), each asked for alone."""
    code, found = of.frames.code, []
    conditioning = Conditioning(np.zeros((1, len(frames)), np.int64), np.zeros(1, np.int64))
    context = code.contexts(frames[None], code.initial_history(1), conditioning)
    h, _ = of.context.step(
        Padded(code.context_ids(context), np.array([len(frames)])), of.context.initial_state(1), last=True
    )
    for number, voice in enumerate(code.order):
        ids, related = code.choice_ids(frames[None], context, number)
        scores = of.scores(h.data[0], ids[0], related[0]).astype(np.float64)
        shares = np.exp(scores - np.logaddexp.reduce(scores, axis=-1, keepdims=True))
        found.append(shares[np.arange(len(frames)), frames[:, voice]])
    return np.stack(found)


def test_a_note_is_as_probable_as_the_models_find_it_on_average():
    small, large = scorer(1), scorer(2, "model.recurrent.hidden=12")
    frames = small_music.pieces([9])[0].tokens
    expected = (probabilities(small, frames) + probabilities(large, frames)) / 2
    np.testing.assert_allclose(probabilities(Ensemble([small, large]), frames), expected, rtol=1e-5)


def test_the_likelihood_of_an_ensemble_is_better_than_the_mean_of_theirs():
    both = [scorer(1), scorer(2)]
    pieces = [piece.tokens for piece in small_music.pieces([9, 4, 7])]
    alone = [likelihood_of(one, pieces).nats for one in both]
    assert likelihood_of(Ensemble(both), pieces).nats < sum(alone) / 2


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_a_model_combined_with_itself_is_the_same_model(direction):
    one = scorer(1, f"model.recurrent.direction={direction}")
    code = one.frames.code
    tokens = np.full((2, 8, code.voices), code.hidden, np.int64)
    page = TokenGrid(tokens, np.ones((code.voices, code.outputs), bool), np.zeros(2, np.int64))
    write = (lambda of: fill_music(of, page, Sampling(), 1, 5)) if one.fills else (
        lambda of: continue_music(of, page, Sampling(), 1)
    )  # fmt: skip
    np.testing.assert_array_equal(write(Ensemble([one, one])), write(one))


@pytest.mark.parametrize(
    "other", ["frames.highest=70", "model.recurrent.direction=bidirectional", "pieces.key=0", "frames.recall=0"]
)
def test_models_that_do_not_fit_are_refused(other):
    with pytest.raises(UsageError, match="must have equal 'frames' and"):
        Ensemble([scorer(1), scorer(2, other)])
