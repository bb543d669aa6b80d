"""Music without PyTorch: an exported model is the same stage, gives the same scores and writes the same notes."""

import importlib
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

import small_music
from contract import AsTorch, verify_contract
from recitative.errors import UsageError
from recitative.lm.recurrent import Sampling
from recitative.model.export import build_file
from recitative.model.folder import run_model
from recitative.model.onnx_stage import open_file
from recitative.music.composer import likelihood_of
from recitative.music.composition import compose
from recitative.music.frames import MaskedCode
from recitative.music.settings import MUSIC, Constraints, blank, to_rewrite
from recitative.music.task import likelihood
from recitative.stage import Padded

DIRECTIONS = pytest.mark.parametrize("direction", ["forward", "bidirectional"])


def of(direction, *overrides):
    return small_music.model(f"model.recurrent.direction={direction}", *overrides)


def exported(model, int8=False):
    return open_file(build_file(model, int8=int8).SerializeToString(), MUSIC)


def make_ids(model):
    """Features of random frames, each within its range of the table."""
    code = model.settings.frames.code
    sizes = (MaskedCode(code) if model.fills else code).context_sizes
    starts = torch.tensor(np.cumsum([0, *sizes[:-1]]))

    def ids(shape, generator):
        return torch.stack([torch.randint(0, size, shape, generator=generator) for size in sizes], -1) + starts

    return ids


@DIRECTIONS
def test_the_network_that_reads_keeps_the_contract(direction):
    model = of(direction)
    context = model.network.context.requires_grad_(False)
    verify_contract(context, make_ids(model), longest=15, cuttings=3, gradients=False)


@DIRECTIONS
def test_an_exported_one_keeps_it_too(direction):
    model = of(direction)
    verify_contract(AsTorch(exported(model).context), make_ids(model), longest=15, cuttings=3, gradients=False)


@DIRECTIONS
def test_both_read_and_choose_the_same(direction):
    model = of(direction)
    ours, theirs = exported(model), run_model(model)
    ids = make_ids(model)((3, 9), torch.Generator().manual_seed(1)).numpy()
    x = Padded(ids, np.array([9, 4, 0]))
    both = [made.context.step(x, made.context.initial_state(3), last=True)[0] for made in (ours, theirs)]
    for row, length in enumerate(x.lengths):
        np.testing.assert_allclose(both[0].data[row, :length], both[1].data[row, :length], atol=1e-5)
    rng = np.random.default_rng(0)
    code = MaskedCode(model.settings.frames.code) if model.fills else model.settings.frames.code
    hidden = both[1].data[0]
    choice = rng.integers(0, sum(code.choice_sizes), (9, len(code.choice_sizes)))
    related = rng.integers(0, model.settings.frames.code.hidden + 1, (9, code.related))
    np.testing.assert_allclose(
        ours.scores(hidden, choice, related), theirs.scores(hidden, choice, related), atol=1e-4, rtol=1e-4
    )


@DIRECTIONS
def test_both_write_the_same_notes(direction):
    model = of(direction)
    request = blank(model.settings.frames, 16, "new", 100.0)
    first, second = (
        compose(made, request, Constraints(), Sampling(1.2, 0.95), count=3, seed=4, gibbs_steps=10)
        for made in (exported(model), run_model(model))
    )
    assert first == second


def test_both_rewrite_the_same_notes():
    model = of("bidirectional")
    (given,) = compose(
        run_model(of("forward")),
        blank(model.settings.frames, 12, "song", 100.0),
        Constraints(),
        Sampling(),
        count=1,
        seed=1,
    )
    request = to_rewrite(given, model.settings.frames, [1], 4, 8)
    first, second = (
        compose(made, request, Constraints(), Sampling(), count=1, seed=4, gibbs_steps=8)
        for made in (exported(model), run_model(model))
    )
    assert first == second


@pytest.mark.parametrize("extra", [(), ("frames.sets=true", "pieces.key=2"), ("frames.outer_first=false",)])
def test_the_likelihood_of_a_file_is_that_of_the_folder(extra):
    model = of("forward", *extra)
    pieces = small_music.pieces([9, 4, 17, 1])
    if model.settings.frames.sets:
        for piece in pieces:
            piece.tokens[:] = falling(piece.tokens)
    expected = likelihood(model, pieces)
    tokens = [piece.tokens for piece in pieces]
    for made in (exported(model), run_model(model)):
        found = likelihood_of(made, tokens, model.settings.pieces.key)
        assert (found.frames, found.tokens) == (expected.frames, expected.tokens)
        assert found.nats == pytest.approx(expected.nats, rel=1e-5)
    assert likelihood_of(exported(model, int8=True), tokens, model.settings.pieces.key).per_token == pytest.approx(
        expected.per_token, rel=0.02
    )


def falling(tokens):
    """Each frame as a set: different pitches from the highest on, then rests (token 12)."""
    rows = [sorted({int(token) for token in frame if token < 12}, reverse=True) for frame in tokens]
    return np.array([row + [12] * (3 - len(row)) for row in rows])


def test_a_model_that_fills_in_refuses_pieces():
    made = exported(of("bidirectional"))
    with pytest.raises(UsageError, match="cannot be stepped in pieces: it needs the whole recording or piece"):
        made.context.step(Padded(np.zeros((1, 2, 5), np.int64), np.array([2])), {}, last=False)


def test_the_speed_is_that_of_the_whole_music(monkeypatch):
    made = small_music.Constant(small_music.settings().frames, np.zeros(13))
    clock = iter(range(100))
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[2] / "tools")
    bench = importlib.import_module("bench_models")
    monkeypatch.setattr(bench.time, "perf_counter", lambda: float(next(clock)))
    found = bench.music_speed(made, bars=5, pieces=3, runs=4)
    assert (found.seconds, found.pieces) == (1.0, 3)
    assert found.music_s == pytest.approx(3 * 5 * 4 * 60 / 100 / 4)  # bars of 4 steps, 4 steps a quarter, 100 a minute
    assert found.real_time_factor == pytest.approx(1 / 9)
    assert found.pieces_per_second == 3


# Files in int8


LARGE = ("model.width=96", "model.choice_width=96", "model.recurrent.hidden=96")


def scores_of(content, code):
    """Of random choices, for random hidden vectors."""
    made, rng = open_file(content, MUSIC), np.random.default_rng(0)
    hidden = rng.normal(0, 0.5, (20, 96)).astype(np.float32)
    ids = np.stack([rng.integers(0, size, 20) for size in code.choice_sizes], -1) + np.cumsum(
        [0, *code.choice_sizes[:-1]]
    )
    return made.scores(hidden, ids, rng.integers(0, code.hidden, (20, code.related)))


def test_int8_takes_a_third_of_the_room_and_says_nearly_the_same():
    model = small_music.model(*LARGE)
    plain, small = (build_file(model, int8=int8).SerializeToString() for int8 in (False, True))
    assert len(small) < len(plain) / 3
    code = model.settings.frames.code
    expected, found = scores_of(plain, code), scores_of(small, code)
    error = found - expected
    assert 0 < np.square(error).mean() < 0.03**2 * np.square(expected).mean()


def test_both_graphs_are_sound():
    for int8 in (False, True):
        file = build_file(small_music.model(*LARGE), int8=int8)
        onnx.checker.check_model(file, full_check=True)
        assert [entry.key for entry in file.metadata_props if "graph" in entry.key]  # the second one is within
