"""Training on events: streams in other keys, exact likelihoods, exact resume, a source of known entropy, bad input."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

import small_events
from recitative.errors import DataError, UsageError
from recitative.model.folder import TorchStage, load_model
from recitative.music import task as music_task
from recitative.music.composer import EventPieces, event_likelihood, fit_to_events, read_event_pieces
from recitative.music.midi import write_midi
from recitative.music.piece import Note, Piece
from recitative.music.settings import EVENTS as EVENTS_KIND
from recitative.music.settings import MusicData
from recitative.music.task import EventsTask, TransposedEvents, event_streams
from recitative.stage import Padded
from recitative.text.tokens import END
from recitative.train.run import train_model
from resuming import assert_resumes

CPU = torch.device("cpu")
EVENTS = small_events.settings().events
VOCABULARY = EVENTS.vocabulary


def data_in(folder):
    return MusicData(train=folder / "train", dev=folder / "dev")


def texts_of(streams, epoch):
    """The sentences of an epoch, put together again from its segments."""
    rows = {}
    for segment in streams.segments(epoch, 0):
        for row, length in enumerate(segment.targets.lengths.tolist()):
            rows.setdefault(row, []).extend(segment.targets.data[row, :length].tolist())
    joined = " ".join(str(token) for row in sorted(rows) for token in rows[row])
    return [part.strip() for part in f" {joined} ".split(f" {END} ")][:-1]


def written(ids):
    return " ".join(map(str, ids))


def transposed(piece, semitones):
    return replace(piece, notes=tuple(replace(note, pitch=note.pitch + semitones) for note in piece.notes))


@pytest.mark.parametrize(("streams", "bptt"), [(1, 1000), (3, 16), (7, 5)])
def test_every_piece_comes_once_an_epoch_and_is_moved_as_a_whole(streams, bptt):
    made = small_events.settings(f"pieces.streams={streams}", f"pieces.bptt={bptt}")
    pieces = small_events.pieces([3, 9, 1, 6])
    versions = [
        {written(VOCABULARY.encode(transposed(piece, shift))): (number, shift) for shift in range(-2, 3)}
        for number, piece in enumerate(pieces)
    ]
    known = {text: place for version in versions for text, place in version.items()}
    text = event_streams(pieces, made)
    shifts = set()
    for epoch in range(20):
        found = [known[sentence] for sentence in texts_of(text, epoch)]
        assert sorted(number for number, _ in found) == [0, 1, 2, 3]
        shifts |= {shift for _, shift in found}
    assert shifts == {-2, -1, 0, 1, 2}


def test_the_key_depends_on_seed_epoch_and_piece_alone():
    pieces = small_events.pieces([5, 5, 5])
    one, other = (TransposedEvents(pieces, VOCABULARY, 2, seed) for seed in (1, 2))
    alone = TransposedEvents(pieces[:2], VOCABULARY, 2, 1)
    epochs = range(30)
    np.testing.assert_array_equal([one(e, 1) for e in epochs], [alone(e, 1) for e in epochs])
    assert any((one(e, 1) != other(e, 1)).any() for e in epochs)


def test_all_keys_are_as_likely_and_none_leads_out_of_the_range():
    piece = Piece((Note(0, 56, 1), Note(1, 65, 1)), 2)  # of 55..70: one down and five up, of seven either way
    moved = TransposedEvents([piece], VOCABULARY, 7, seed=3)
    first = VOCABULARY.encode(piece)[0]
    shifts = np.array([moved(epoch, 0)[0] - first for epoch in range(1400)])
    counts = np.bincount(shifts + 1)
    assert len(counts) == 7
    assert ((counts - 200) ** 2 / 200).sum() < 22.5  # chi-square with 6 degrees of freedom: 0.1 %


def test_a_piece_without_notes_is_silence_in_every_key():
    assert TransposedEvents([Piece((), 9)], VOCABULARY, 5, seed=1)(0, 0).tolist() == VOCABULARY.encode(Piece((), 9))


def test_an_epoch_can_begin_at_any_segment():
    text = event_streams(small_events.pieces([5, 9, 2]), small_events.settings("pieces.bptt=7"))
    whole = list(text.segments(3, 0))
    for start in range(len(whole)):
        rest = next(text.segments(3, start))
        assert torch.equal(rest.inputs.data, whole[start].inputs.data)
        assert torch.equal(rest.targets.data, whole[start].targets.data)


def nats_of(network, tokens):
    """Token after token, the slow and obvious way."""
    state, nats, before = network.initial_state(1), 0.0, END
    for token in [*tokens, END]:
        y, state = network.step(Padded(np.array([[before]]), np.array([1])), state, last=False)
        nats -= float(y.data[0, 0, token])
        before = token
    return nats


def test_the_likelihood_of_many_pieces_is_the_sum_of_theirs(monkeypatch):
    monkeypatch.setattr("recitative.music.composer.SEGMENT", 7)
    monkeypatch.setattr("recitative.music.composer.BATCH", 2)
    network = TorchStage(small_events.model().network)
    pieces = [*small_events.pieces([3, 8, 1]), Piece((), 0)]
    found = event_likelihood(network, VOCABULARY, pieces)
    rows = [VOCABULARY.encode(piece) for piece in pieces]
    assert found.nats == pytest.approx(sum(nats_of(network, row) for row in rows), rel=1e-5)
    assert found.tokens == sum(len(row) + 1 for row in rows)
    assert found.notes == sum(len(piece.notes) for piece in pieces)
    assert found.per_note * found.notes == pytest.approx(found.per_token * found.tokens)


def test_the_state_is_carried_from_segment_to_segment():
    model = small_events.model("model.dropout=0")
    streams = event_streams(small_events.pieces([6, 4]), small_events.settings("pieces.streams=1", "pieces.bptt=5"))
    task = EventsTask(model, streams, [], CPU)
    segments = list(task.batches(0, 0))
    total = sum(float(task.loss(segment)[0].detach()) for segment in segments)
    targets = [
        token for segment in segments for token in segment.targets.data[0, : segment.targets.lengths[0]].tolist()
    ]
    assert total == pytest.approx(nats_of(TorchStage(model.network), targets[:-1]), rel=1e-5)


def write_folder(folder, pieces):
    folder.mkdir(parents=True)
    for piece in pieces:
        write_midi(piece, folder / f"{piece.name}.mid")


@pytest.fixture
def corpus(tmp_path):
    write_folder(tmp_path / "train", small_events.pieces([9, 6, 7, 12]))
    write_folder(tmp_path / "dev", small_events.pieces([5, 6], seed=9))
    return tmp_path


@pytest.mark.parametrize(("cell", "stop_at"), [("lstm", 4), ("gru", 7)])
def test_a_run_stopped_in_mid_epoch_ends_in_the_same_weights(corpus, cell, stop_at):
    made = small_events.settings(f"model.recurrent.cell={cell}")
    whole = assert_resumes(EVENTS_KIND, made, data_in(corpus), corpus, EventsTask, stop_at)
    assert whole.progress.step > 7


def test_pieces_that_the_settings_cannot_hold_are_all_named(tmp_path):
    (tmp_path / "broken.mid").write_bytes(b"no music")
    write_midi(Piece((), 4, name="empty"), tmp_path / "empty.mid")
    write_midi(Piece((Note(0, 90, 1),), 1, name="high"), tmp_path / "high.mid")
    with pytest.raises(DataError) as error:
        read_event_pieces(tmp_path, EVENTS)
    assert [problem.where.rsplit("/", 1)[-1] for problem in error.value.problems] == ["broken.mid", "empty.mid", "high"]
    assert "high: has pitch 90; pitches from 55 to 70; leave it out" in str(error.value.problems[2])
    write_midi(Piece((Note(0, 60, 1),), 1, name="low"), tmp_path / "low.mid")
    reported = []
    assert len(read_event_pieces(tmp_path, EVENTS, reported.append).pieces) == 1
    assert tuple(reported) == error.value.problems


def test_further_voices_join_the_last_and_long_notes_are_cut_and_counted(tmp_path):
    notes = (Note(0, 60, 20, 0), Note(0, 58, 3, 1), Note(0, 58, 5, 2), Note(2, 57, 4, 2))
    fitted = fit_to_events(Piece(notes, 20), EVENTS)
    assert fitted == Piece((Note(0, 58, 5, 1), Note(0, 60, 8, 0), Note(2, 57, 4, 1)), 20)
    write_midi(Piece(notes, 20, name="p"), tmp_path / "p.mid")
    assert read_event_pieces(tmp_path, EVENTS) == EventPieces([fit_to_events(Piece(notes, 20, name="p"), EVENTS)], 4, 1)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("events.lowest=80", "lowest=80 must be at most highest=70"),
        ("events.ranges=[[60, 65]]", "ranges has 1 entry for 2 voices"),
        ("events.ranges=[[60, 65], [50, 60]]", r"ranges=.* must be \[low, high\] from 55 to 70"),
        ("train.batch_s=10", "batch_s applies to audio only; see pieces.streams and pieces.bptt"),
        ("model.recurrent.direction=bidirectional", "model.recurrent.direction='bidirectional'"),
        ("events.step=4", "unknown setting 'events.step'; did you mean"),
    ],
)
def test_settings_that_make_no_model_are_refused(override, message):
    with pytest.raises(UsageError, match=message):
        small_events.settings(override)


def source(rng):
    """One note a step: a semitone up with probability 0.7, else down, and 62 after 60 and 64. Each is the last with
    probability 0.1."""
    pitches = [62]
    while rng.random() >= 0.1:
        pitches.append(62 if pitches[-1] in (60, 64) else pitches[-1] + (1 if rng.random() < 0.7 else -1))
    return Piece(tuple(Note(start, pitch, 1) for start, pitch in enumerate(pitches)), len(pitches))


def nats_of_source(piece):
    pairs = pairwise(note.pitch for note in piece.notes)
    steps = [after - before for before, after in pairs if before not in (60, 64)]
    ends = -math.log(0.1) - (len(piece.notes) - 1) * math.log(0.9)
    return ends - sum(math.log(0.7 if step == 1 else 0.3) for step in steps)


def test_a_model_reaches_the_entropy_of_its_source(tmp_path, monkeypatch):
    made = small_events.settings(
        "events.voices=1", "events.longest_length=2", "events.longest_shift=2", "pieces.streams=16", "pieces.bptt=16",
        "pieces.transpose=0", "model.embedding=16", "model.recurrent.hidden=32", "model.dropout=0", "model.tied=false",
        "train.epochs=10", "train.learning_rate=0.02", "train.checkpoint_every_steps=1000", "train.bf16=false",
    )  # fmt: skip
    rng = np.random.default_rng(0)
    sets = {name: [source(rng) for _ in range(count)] for name, count in (("train", 600), ("dev", 50))}
    monkeypatch.setattr(
        music_task, "read_event_pieces", lambda folder, settings, on_problem: EventPieces(sets[folder.name], 1, 0)
    )
    run = train_model(EVENTS_KIND, made, data_in(tmp_path), tmp_path / "exp", quiet=True)
    unseen = [source(rng) for _ in range(200)]
    network = TorchStage(load_model(run.folder, EVENTS_KIND).network)
    found = event_likelihood(network, made.events.vocabulary, unseen).nats
    assert 0.99 < found / sum(map(nats_of_source, unseen)) < 1.1  # nothing beats the source
