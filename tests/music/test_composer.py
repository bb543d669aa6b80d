"""Generation of notes: against probabilities worked out by hand, frequencies, and the network itself."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import small_music
from recitative.lm.recurrent import Sampling, distribution
from recitative.model.folder import run_model
from recitative.music.frames import Conditioning, MaskedCode
from recitative.music.generation import BLOCKS, TokenGrid, continue_music, fill_music, random_blocks
from recitative.music.task import score_frames
from recitative.stage import Padded

FRAMES = small_music.settings().frames
CODE = FRAMES.code
ALL = np.ones((1, 4), bool)
GREEDY = Sampling(temperature=1e-6)  # the likeliest is as good as certain


def sheet(rows=1, steps=5, key=0, given=None, allowed=None):
    """Everything free but what ``given`` (T, V) has."""
    free = np.full((steps, CODE.voices), CODE.hidden, np.int64)
    tokens = free if given is None else given
    allowed = np.ones((CODE.voices, CODE.outputs), bool) if allowed is None else allowed
    return TokenGrid(np.repeat(tokens[None], rows, axis=0), allowed, np.full(rows, key))


def partly_given(steps=9, seed=3):
    """Half of the places are given; the rest is hidden."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(0, CODE.outputs, (steps, CODE.voices))
    return np.where(rng.random(tokens.shape) < 0.5, tokens, CODE.hidden)


def scorer(fills=False):
    return run_model(small_music.model(f"model.recurrent.direction={'bidirectional' if fills else 'forward'}"))


def write(kind, page, sampling=Sampling(), seed=1):
    if kind == "continue":
        return continue_music(scorer(), page, sampling, seed)
    return fill_music(scorer(fills=True), page, sampling, seed, 6)


KINDS = pytest.mark.parametrize("kind", ["continue", "fill"])

# distribution


@pytest.mark.parametrize(
    ("temperature", "expected"),
    [(1.0, [0.5, 0.3, 0.15, 0.05]), (0.5, [0.25, 0.09, 0.0225, 0.0025]), (2.0, [0.7071, 0.5477, 0.3873, 0.2236])],
)  # fmt: skip
def test_a_temperature_is_a_power_of_the_probabilities(temperature, expected):
    scores = np.log([[0.5, 0.3, 0.15, 0.05]]) + 7
    found = distribution(scores, ALL, Sampling(temperature))
    np.testing.assert_allclose(found[0], np.array(expected) / sum(expected), rtol=1e-4)  # roots to four digits


@pytest.mark.parametrize(
    ("top_p", "expected"),
    [(0.49, [0.5, 0, 0, 0]), (0.51, [0.5, 0.3, 0, 0]), (0.79, [0.5, 0.3, 0, 0]), (0.81, [0.5, 0.3, 0.15, 0]),
     (0.96, [0.5, 0.3, 0.15, 0.05]), (1e-9, [0.5, 0, 0, 0])],
)  # fmt: skip
def test_top_p_keeps_the_likeliest_that_together_reach_it(top_p, expected):
    order = [2, 0, 3, 1]
    found = distribution(np.log([[0.5, 0.3, 0.15, 0.05]])[:, order], ALL, Sampling(top_p=top_p))
    np.testing.assert_allclose(found[0], np.array(expected)[order])


def test_what_may_not_be_has_no_part_in_it_however_likely_it_is():
    may = np.array([[False, True, True, False]])
    found = distribution(np.array([[900.0, math.log(3), 0.0, 5.0]]), may, Sampling())
    np.testing.assert_allclose(found, [[0, 0.75, 0.25, 0]])


@pytest.mark.parametrize("temperature", [5e-324, 1e-300, 1e-9, 1e9, 1e300, math.inf])
def test_at_any_temperature_there_are_probabilities(temperature):
    scores = np.array([[3.0, -2.0, 900.0, 0.5]], np.float32)
    may = np.array([[True, True, False, True]])
    found = distribution(scores, may, Sampling(temperature))
    assert found[0, 2] == 0
    np.testing.assert_allclose(found.sum(), 1)
    expected = [1, 0, 0, 0] if temperature < 1 else [1 / 3, 1 / 3, 0, 1 / 3]
    np.testing.assert_allclose(found[0], expected, atol=1e-6)


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(0.7), Sampling(1.5, 0.8)])
@KINDS
def test_notes_are_sampled_with_the_frequencies_of_their_distribution(kind, sampling):
    scores = np.random.default_rng(0).normal(0, 1.5, CODE.outputs)
    made = small_music.Constant(FRAMES, scores, fills=kind == "fill")
    page = sheet(rows=60, steps=40)
    sampled = (
        continue_music(made, page, sampling, 5) if kind == "continue" else fill_music(made, page, sampling, 5, steps=1)
    )
    expected = distribution(scores[None], np.ones((1, CODE.outputs), bool), sampling)[0]
    expected *= sampled.size / expected.sum()
    counts = np.bincount(sampled.ravel(), minlength=CODE.outputs)
    assert not counts[expected == 0].any()
    possible = expected > 0
    chi_square = ((counts - expected)[possible] ** 2 / expected[possible]).sum()
    assert chi_square < 32.9  # the 99.9 % quantile with 12 degrees of freedom; the draws are always the same


def test_a_set_goes_down_from_its_highest_note_and_ends_in_rests():
    settings = small_music.settings("frames.sets=true")
    page = sheet(rows=6, steps=20)
    made = continue_music(run_model(small_music.model("frames.sets=true")), page, Sampling(2.0), 1)
    assert settings.frames.code.silence == CODE.silence
    for frame in made.reshape(-1, CODE.voices):
        notes = frame[frame < CODE.silence]
        assert (np.diff(notes) < 0).all()
        assert (frame[len(notes) :] == CODE.silence).all()


# Randomness


@KINDS
def test_a_piece_does_not_depend_on_how_many_are_written(kind):
    alone, among = (write(kind, sheet(rows=rows, steps=12, given=partly_given(12))) for rows in (1, 7))
    np.testing.assert_array_equal(alone[0], among[0])


@pytest.mark.parametrize("length", BLOCKS)
def test_blocks_hide_a_share_of_the_places_some_frames_of_a_voice_together(length):
    rng = np.random.default_rng(0)
    hidden = np.stack([random_blocks(rng, 0.3, 40, 3, length) for _ in range(400)])
    assert hidden.shape == (400, 40, 3)
    assert abs(hidden.mean() - 0.3) < 0.02
    for one in hidden[:20]:
        changes = np.flatnonzero((np.diff(one.astype(int), axis=0) != 0).any(axis=1)) + 1
        assert len(set(changes % length)) <= 1, "blocks of all voices begin together"


# Against the network itself


@pytest.mark.parametrize("key", [0, 5])
def test_at_temperature_0_each_note_is_the_likeliest_given_those_before_it(key):
    page = sheet(rows=2, steps=11, key=key, given=np.vstack([partly_given(5, 7), partly_given(6, 8)]))
    made = continue_music(scorer(), page, GREEDY, 1)
    left = np.broadcast_to(np.arange(11, 0, -1), made.shape[:2])
    context = CODE.contexts(made, CODE.initial_history(2), Conditioning(left, page.key))
    network = small_music.model().network
    with torch.no_grad():
        scores = score_frames(network, CODE, made, context, np.full(2, 11), network.initial_state(2))
    likeliest = scores.values.argmax(-1).numpy().reshape(2, 11, -1)[..., np.argsort(CODE.order)]
    free = page.tokens == CODE.hidden
    np.testing.assert_array_equal(made[free], likeliest[free])


def test_one_step_of_filling_samples_each_note_given_only_what_was_there():
    page = sheet(rows=2, given=partly_given(7), key=4)
    made = fill_music(scorer(fills=True), page, GREEDY, 1, steps=1)
    code, network = MaskedCode(CODE), small_music.model("model.recurrent.direction=bidirectional").network
    ids = torch.from_numpy(code.context_ids(page.tokens, page.key))
    with torch.no_grad():
        h, _ = network.context.step(Padded(ids, torch.full((2,), 7)), {}, last=True)
        for voice in range(CODE.voices):
            choice, related = (torch.from_numpy(entry) for entry in code.choice_ids(page.tokens, voice))
            likeliest = network.scores(h.data, choice, related).argmax(-1).numpy()
            free = page.tokens[..., voice] == CODE.hidden
            np.testing.assert_array_equal(made[..., voice][free], likeliest[free])


def test_where_nothing_is_missing_nothing_is_sampled():
    page = sheet(rows=1, steps=6)
    made = fill_music(scorer(fills=True), page, GREEDY, 1, steps=3)
    assert (made < CODE.outputs).all()
    once_more = fill_music(scorer(fills=True), replace(page, tokens=made), GREEDY, 1, steps=5)
    np.testing.assert_array_equal(once_more, made)  # nothing is hidden, so nothing is sampled


@KINDS
def test_progress_goes_to_the_end(kind):
    seen = []
    page, on_progress = sheet(rows=2, steps=4), lambda done, total: seen.append((done, total))
    if kind == "continue":
        continue_music(scorer(), page, Sampling(), 1, on_progress)
    else:
        fill_music(scorer(fills=True), page, Sampling(), 1, 4, on_progress)
    assert seen == [(done, 4) for done in (1, 2, 3, 4)]
