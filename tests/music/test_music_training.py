"""Training on music: exact likelihoods, segments that carry their state, exact resume, a source of known entropy."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

import small_music
from recitative.errors import DataError
from recitative.model.folder import load_model
from recitative.music import task as music_task
from recitative.music.composer import Frames, frames_of, read_pieces
from recitative.music.frames import Conditioning
from recitative.music.midi import write_midi
from recitative.music.piece import SILENT, Piece, from_grid, tied
from recitative.music.settings import MUSIC, MusicData
from recitative.music.task import (
    DEV_SEED,
    FillingTask,
    MusicTask,
    likelihood,
    masked_batch,
    masked_losses,
    random_mask,
    score_frames,
)
from recitative.nn.ragged import valid_mask
from recitative.stage import Padded
from recitative.train.run import train_model
from resuming import assert_resumes

CPU = torch.device("cpu")
CODE = small_music.settings().frames.code


def data_in(folder):
    return MusicData(train=folder / "train", dev=folder / "dev")


def task_of(pieces, *overrides):
    return MusicTask(small_music.model(*overrides), pieces, pieces, CPU)


def context_of(frames, left=0, key=0):
    rows, steps, _ = frames.shape
    return CODE.contexts(
        frames, CODE.initial_history(rows), Conditioning(np.full((rows, steps), left), np.full(rows, key))
    )


def scores_of(model, frames, lengths=None):
    lengths = np.full(len(frames), frames.shape[1]) if lengths is None else np.array(lengths)
    with torch.no_grad():
        return score_frames(
            model.network, CODE, frames, context_of(frames), lengths, model.network.initial_state(len(frames))
        )


def step_by_step(model, frames):
    """Nats of one row (T, V), each note decided alone from what was written before it: the slow and obvious way."""
    history, state = CODE.initial_history(1), model.network.initial_state(1)
    nats = []
    for frame in frames[None].transpose(1, 0, 2)[:, :, None]:  # (1, 1, V) each
        context = CODE.contexts(frame, history, Conditioning(np.zeros((1, 1), np.int64), np.zeros(1, np.int64)))
        ids = torch.from_numpy(CODE.context_ids(context))
        h, state = model.network.context.step(Padded(ids, torch.ones(1, dtype=torch.int64)), state, last=False)
        for number, voice in enumerate(CODE.order):
            choice, related = (torch.from_numpy(entry) for entry in CODE.choice_ids(frame, context, number))
            scores = model.network.scores(h.data, choice, related)[0, 0]
            nats.append(-float(F.log_softmax(scores, dim=-1)[frame[0, 0, voice]]))
        history = CODE.read(history, frame[:, 0])
    return nats


def test_teacher_forcing_equals_writing_step_by_step():
    model = small_music.model()
    frames = small_music.pieces([7, 7])
    with torch.no_grad():
        alone = [step_by_step(model, piece.tokens) for piece in frames]
    together = scores_of(model, np.stack([piece.tokens for piece in frames])).losses
    assert_close(together.flatten().tolist(), [nats for row in alone for nats in row], rtol=1e-5, atol=1e-5)


def test_the_likelihood_of_many_pieces_is_the_sum_of_theirs():
    model = small_music.model()
    pieces = small_music.pieces([5, 1, 9])
    found = likelihood(model, pieces)
    with torch.no_grad():
        expected = sum(sum(step_by_step(model, piece.tokens)) for piece in pieces)
    assert math.isclose(found.nats, expected, rel_tol=1e-5)
    assert (found.frames, found.tokens) == (15, 45)
    assert math.isclose(found.per_frame, 3 * found.per_token)


def test_probabilities_of_all_sets_sum_to_one():
    """Each set has one order, so the chain over its notes is a distribution over sets."""
    model = small_music.model("frames.sets=true", "frames.lowest=60", "frames.highest=63", "frames.voices=2")
    code = model.settings.frames.code
    sets = [(a, b) for a in range(4) for b in (*range(a), 4)] + [(4, 4)]  # 4: silence
    frames = np.array(sets)[:, None]
    context = code.contexts(
        frames,
        code.initial_history(len(sets)),
        Conditioning(np.zeros((len(sets), 1), np.int64), np.zeros(len(sets), np.int64)),
    )
    state = model.network.initial_state(len(sets))
    with torch.no_grad():
        losses = score_frames(model.network, code, frames, context, np.ones(len(sets), np.int64), state).losses
    assert math.isclose(float(torch.exp(-losses.sum(-1)).sum()), 1.0, rel_tol=1e-5)


def test_padding_changes_nothing():
    model = small_music.model()
    long, short = (piece.tokens for piece in small_music.pieces([6, 3]))
    frames = np.stack([long, np.concatenate([short, long[3:]])])
    both = scores_of(model, frames, [6, 3]).losses
    assert_close(both[6:], scores_of(model, short[None]).losses)


@pytest.mark.parametrize("bptt", [1, 4, 100])
def test_the_segments_of_an_epoch_hold_every_piece_once(bptt):
    pieces = small_music.pieces([5, 9, 1, 4, 4])
    task = task_of(pieces, f"pieces.bptt={bptt}", "pieces.transpose=0", "pieces.rows=3")
    found = {}
    rows = None
    segments = list(task.batches(0, 0))
    assert len(segments) == task.num_batches(0)
    for segment in segments:
        if segment.first:
            rows = [[] for _ in segment.names]
            found |= dict(zip(segment.names, rows, strict=True))
        for row, frames, length in zip(rows, segment.frames, segment.lengths, strict=False):
            row.extend(frames[:length].tolist())
    assert found == {piece.name: piece.tokens.tolist() for piece in pieces}


def test_an_epoch_can_begin_at_any_segment():
    task = task_of(small_music.pieces([5, 9, 1, 4, 4]))
    whole = list(task.batches(1, 0))
    for start in range(len(whole)):
        rest = list(task.batches(1, start))
        assert len(rest) == len(whole) - start
        np.testing.assert_array_equal(rest[0].frames, whole[start].frames)
        np.testing.assert_array_equal(rest[0].context.held, whole[start].context.held)
        assert rest[0].first == whole[start].first


def test_a_piece_is_moved_as_a_whole_and_its_tonic_with_it():
    pieces = [Frames("p", np.array([[5, 4, 12], [6, 4, 3]]), 7)]  # 12: silence
    task = task_of(pieces, "pieces.tell_key=1", "pieces.tell_end=1")
    shifts = set()
    for epoch in range(60):
        (segment,) = task.batches(epoch, 0)
        shift = int(segment.frames[0, 0, 0]) - 5
        shifts.add(shift)
        expected = np.where(pieces[0].tokens == 12, 12, pieces[0].tokens + shift)
        np.testing.assert_array_equal(segment.frames[0], expected)
        assert segment.context.key[0].tolist() == [1 + (7 + shift) % 12] * 2
        assert segment.context.left[0].tolist() == [2, 1]
    assert shifts == set(range(-3, 6))  # as far as the range of pitches lets it


def test_the_state_is_carried_from_segment_to_segment_and_begins_anew_with_each_group():
    pieces = small_music.pieces([7, 5, 6])
    task = task_of(
        pieces, "pieces.bptt=3", "pieces.rows=2", "pieces.transpose=0", "pieces.tell_key=0", "pieces.tell_end=0"
    )
    total = sum(float(task.loss(segment)[0].detach()) for segment in task.batches(0, 0))
    assert math.isclose(total, likelihood(task.model, pieces).nats, rel_tol=1e-5)


def test_with_scheduled_sampling_some_frames_are_the_model_s_own():
    task = task_of(small_music.pieces([40, 40]), "pieces.scheduled_sampling=0.5", "pieces.bptt=64")
    segment = next(task.batches(0, 0))
    torch.manual_seed(0)
    context = task._sampled_context(segment, 0.5)
    changed = (context.last[:, 1:] != segment.context.last[:, 1:]).any(-1).mean()
    assert 0.3 < changed < 0.6  # half of them, less those that it wrote as they are
    np.testing.assert_array_equal(context.left, segment.context.left)


def test_hidden_places_are_never_none():
    rng = np.random.default_rng(0)
    assert all(random_mask(rng, 3, 2).any() for _ in range(300))


def test_the_loss_of_filling_is_that_of_each_hidden_note_given_what_is_not_hidden():
    model = small_music.model("model.recurrent.direction=bidirectional")
    (piece,) = small_music.pieces([6])
    hidden = random_mask(np.random.default_rng([DEV_SEED, 0]), 6, 3)
    batch = masked_batch(CODE, [(piece.tokens, hidden, 0)], ("p",))
    with torch.no_grad():
        before = masked_losses(model, batch)
        other = np.where(hidden, (piece.tokens + 1) % 13, piece.tokens)  # other targets, the same view
        after = masked_losses(model, masked_batch(CODE, [(other, hidden, 0)], ("p",)))
    assert len(before) == hidden.sum()
    assert not torch.allclose(before, after)
    with torch.no_grad():
        every = [np.where(hidden, pitch, piece.tokens) for pitch in range(13)]
        total = sum(torch.exp(-masked_losses(model, masked_batch(CODE, [(one, hidden, 0)], ("p",)))) for one in every)
    assert_close(total, torch.ones(len(before)))  # a distribution, so the view does not depend on what is hidden


def test_a_batch_of_masked_pieces_is_its_rows():
    model = small_music.model("model.recurrent.direction=bidirectional", "pieces.rows=3")
    pieces = small_music.pieces([6, 3, 5])
    task = FillingTask(model, pieces, pieces, CPU)
    batch = next(task.batches(0, 0))
    with torch.no_grad():
        whole = float(task.loss(batch)[0])
        parts = sum(float(task.loss(part)[0]) for part in batch.split(2))
    assert math.isclose(whole, parts, rel_tol=1e-5)
    assert valid_mask(Padded(torch.zeros(3, 6), torch.from_numpy(batch.lengths))).sum() == sum(batch.lengths)


def write_folder(folder, pieces):
    folder.mkdir(parents=True)
    for piece in pieces:
        grid = tied(CODE.midi(piece.tokens))
        write_midi(from_grid(grid, 4, name=piece.name), folder / f"{piece.name}.mid")


@pytest.fixture
def corpus(tmp_path):
    write_folder(tmp_path / "train", small_music.pieces([9, 6, 7, 12]))
    write_folder(tmp_path / "dev", small_music.pieces([5, 6], seed=9))
    return tmp_path


@pytest.mark.parametrize(("direction", "task"), [("forward", MusicTask), ("bidirectional", FillingTask)])
def test_a_run_stopped_in_mid_epoch_ends_in_the_same_weights(corpus, direction, task):
    made = small_music.settings(f"model.recurrent.direction={direction}", "model.dropout=0.3")
    assert_resumes(MUSIC, made, data_in(corpus), corpus, task)


def test_pieces_that_the_settings_cannot_hold_are_all_named(tmp_path):
    (tmp_path / "broken.mid").write_bytes(b"no music")
    write_midi(Piece.of([], 4, 100.0, "empty"), tmp_path / "empty.mid")
    high = from_grid(tied(np.array([[90, 60, SILENT]], np.int16)), 4, name="high")
    write_midi(high, tmp_path / "high.mid")
    with pytest.raises(DataError) as error:
        read_pieces(tmp_path, small_music.settings())
    assert [problem.where.rsplit("/", 1)[-1] for problem in error.value.problems][:2] == ["broken.mid", "empty.mid"]
    assert "pitch 90 is not from 55 to 66" in str(error.value.problems[2])
    reported = []
    with pytest.raises(DataError, match=r"broken\.mid"):
        read_pieces(tmp_path, small_music.settings(), reported.append)  # nothing would be left
    write_midi(from_grid(tied(np.array([[60, 60, SILENT]], np.int16)), 4, name="low"), tmp_path / "low.mid")
    assert [piece.name for piece in read_pieces(tmp_path, small_music.settings(), reported.append)] == ["low"]
    assert tuple(reported) == error.value.problems


def test_a_piece_with_too_many_voices_is_named():
    piece = from_grid(tied(np.full((2, 4), 60, np.int16)), 4, name="four")
    with pytest.raises(DataError, match="four: a note of voice 4 of 3"):
        frames_of(piece, small_music.settings())


def source(rng, steps):
    """Two voices. The upper goes up a step with probability 0.7, else down; the lower is 3, 4 or 7 below it, each as
    often: the entropy of a frame is H(0.7) + ln 3."""
    pitch, rows = 6, []
    for _ in range(steps):
        pitch = (pitch + (1 if rng.random() < 0.7 else -1)) % 12
        rows.append((pitch + 8, pitch + 8 - int(rng.choice([3, 4, 7]))))
    return np.array(rows)


def test_a_model_reaches_the_entropy_of_its_source(tmp_path, monkeypatch):
    made = small_music.settings(
        "frames.voices=2", "frames.lowest=50", "frames.highest=70", "model.width=32", "model.choice_width=32",
        "model.recurrent.hidden=32", "model.recurrent.layers=1", "pieces.rows=8", "pieces.bptt=50",
        "pieces.transpose=0", "pieces.tell_end=0", "pieces.tell_key=0", "train.epochs=8",
        "train.learning_rate=0.01", "train.ema=0.9", "train.bf16=false",
    )  # fmt: skip
    rng = np.random.default_rng(0)
    sets = {"train": [Frames(f"t{i}", source(rng, 100), 0) for i in range(160)],
            "dev": [Frames(f"d{i}", source(rng, 100), 0) for i in range(40)]}  # fmt: skip
    monkeypatch.setattr(music_task, "read_pieces", lambda folder, settings, on_problem: sets[folder.name])
    run = train_model(MUSIC, made, data_in(tmp_path), tmp_path / "exp", quiet=True)
    entropy = -0.7 * math.log(0.7) - 0.3 * math.log(0.3) + math.log(3)
    unseen = [Frames(f"u{i}", source(rng, 100), 0) for i in range(100)]
    found = likelihood(load_model(run.folder, MUSIC), unseen).per_frame
    assert abs(found / entropy - 1) < 0.02
