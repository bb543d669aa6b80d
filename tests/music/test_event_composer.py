"""Generation of events: given notes are kept, constraints hold, and rows are independent."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import small_events
from recitative.errors import DataError, UsageError
from recitative.lm.recurrent import Sampling, categorical
from recitative.model.folder import run_model
from recitative.music.composition import allowed_tokens, compose_events
from recitative.music.generation import Span
from recitative.music.midi import midi_bytes
from recitative.music.piece import Key, Note, Piece
from recitative.music.settings import TICKS_PER_STEP, EventConstraints, blank_events
from recitative.stage import Padded

EVENTS = small_events.settings().events
VOCABULARY = EVENTS.vocabulary
NOTHING = blank_events(EVENTS, "piece", 90.0)
ANY = EventConstraints()
RANDOM = run_model(small_events.model())


class Constant:
    """A model with the same ln P (V,) for every token."""

    stride, lookahead = 1, 0

    def __init__(self, scores, *overrides):
        self.settings = small_events.settings(*overrides)
        self.events = self.settings.events
        self.network = self
        self._scores = np.asarray(scores, np.float32)

    def output_lengths(self, lengths):
        return lengths

    def initial_state(self, n):
        return {"read": np.zeros((n, 1), np.float32)}

    def step(self, x, state, *, last):
        y = np.broadcast_to(self._scores, (*x.data.shape, len(self._scores)))
        return Padded(y, x.lengths), {"read": state["read"] + x.data.shape[1]}


def likely(**scores):
    """Scores of a model that prefers these symbols, such as note_60=3.0 or end=3.0, to all others, which are even."""
    symbols = ["end", *VOCABULARY.symbols[1:]]
    given = {name.replace("_", ":"): score for name, score in scores.items()}
    assert given.keys() <= set(symbols)
    return np.array([given.get(symbol, 0.0) for symbol in symbols])


def composed(scorer=RANDOM, given=NOTHING, limits=ANY, span=Span(32), sampling=Sampling(), count=1, seed=1):
    """Without meter and key, which are added to the notes."""
    pieces = compose_events(scorer, given, limits, span, sampling, count=count, seed=seed)
    return [replace(piece, notation=NOTHING.notation) for piece in pieces]


@st.composite
def given_pieces(draw):
    """On the fine grid, at odd times, with a rest at the end perhaps."""
    note = st.builds(Note, st.integers(0, 500), st.integers(55, 70), st.integers(1, 130), st.integers(0, 3))
    notes = draw(st.lists(note, min_size=1, max_size=8, unique_by=lambda note: (note.start, note.pitch, note.voice)))
    end = max(note.end for note in notes)
    return Piece(tuple(sorted(notes)), end + draw(st.integers(0, 60)), 4 * TICKS_PER_STEP, 90.0, "tune")


@given(given_pieces(), st.integers(0, 5), st.sampled_from([0.05, 1.0, 50.0]))
@settings(max_examples=25, deadline=None)
def test_every_given_note_stays_and_all_others_begin_behind_them(tune, seed, temperature):
    (piece,) = composed(given=tune, sampling=Sampling(temperature), seed=seed, span=Span(16, 4))
    assert not Counter(tune.notes) - Counter(piece.notes)
    new = Counter(piece.notes) - Counter(tune.notes)
    assert all(note.start >= tune.length for note in new)
    context_steps = -(-tune.length // TICKS_PER_STEP) + 1  # a note lasts at least a step of the model
    assert all(note.start < (context_steps + 16) * TICKS_PER_STEP for note in new)
    assert piece.length >= max(note.end for note in piece.notes)
    assert (piece.name, piece.quarters_per_minute, piece.steps_per_quarter) == ("tune", 90.0, 48)


@given(st.integers(0, 40), st.sampled_from([0.05, 1.0, 1000.0]), st.booleans())
@settings(max_examples=25, deadline=None)
def test_new_notes_keep_to_the_key_the_pitches_and_the_ranges_of_their_voices(seed, temperature, minor):
    scorer = run_model(small_events.model("events.ranges=[[60, 70], [55, 63]]", seed=seed))
    limits = EventConstraints(Key(seed % 12, minor), 57, 68)
    for piece in composed(scorer, limits=limits, sampling=Sampling(temperature), seed=seed, count=2):
        for note in piece.notes:
            assert note.pitch % 12 in limits.key.pitch_classes
            assert {0: 60, 1: 57}[note.voice] <= note.pitch <= {0: 68, 1: 63}[note.voice]


def test_a_voice_without_a_note_is_never_entered():
    limits = EventConstraints(lowest=64)
    scorer = Constant(likely(voice_1=20.0), "events.ranges=[[60, 70], [55, 63]]")
    (piece,) = composed(scorer, limits=limits)
    assert piece.notes
    assert {note.voice for note in piece.notes} == {0}


def test_the_second_voice_plays_alone_where_the_first_has_no_note():
    scorer = Constant(likely(), "events.ranges=[[65, 70], [55, 63]]")
    pieces = composed(scorer, limits=EventConstraints(highest=60), count=5)
    assert {note.voice for piece in pieces for note in piece.notes} == {1}


def test_limits_that_leave_no_note_are_refused():
    with pytest.raises(UsageError, match="no voice has a note in its range, the key and the requested pitches"):
        allowed_tokens(EVENTS, EventConstraints(lowest=90))
    with pytest.raises(UsageError, match="no voice has a note"):
        allowed_tokens(EVENTS, EventConstraints(Key(0), 61, 61))


def test_a_given_note_that_the_model_does_not_know_is_named():
    high = Piece((Note(0, 90, 48),), 48, 4 * TICKS_PER_STEP, name="tune")
    with pytest.raises(DataError, match="tune: has pitch 90; pitches from 55 to 70"):
        composed(given=high)


def test_the_same_seed_gives_the_same_bytes_and_another_gives_others():
    one, same, other = (midi_bytes(composed(seed=seed)[0]) for seed in (1, 1, 2))
    assert one == same
    assert one != other


def test_a_piece_does_not_depend_on_how_many_are_written():
    many = composed(count=5)
    assert [piece.name for piece in many] == [f"piece-{number}" for number in range(1, 6)]
    assert [piece.notes for piece in composed(count=3)] == [piece.notes for piece in many[:3]]
    assert composed()[0] == replace(many[0], name="piece")
    assert len({piece.notes for piece in many}) == 5


def test_the_model_ends_a_piece_after_a_note_and_not_before_the_shortest_length():
    scorer = Constant(likely(end=50.0, note_60=40.0, length_1=25.0, shift_4=25.0))
    notes = [Note(start * TICKS_PER_STEP, 60, TICKS_PER_STEP) for start in (0, 4)]
    assert composed(scorer) == [replace(NOTHING, notes=(notes[0],), length=4 * TICKS_PER_STEP)]
    assert composed(scorer, span=Span(32, shortest=5)) == [
        replace(NOTHING, notes=tuple(notes), length=8 * TICKS_PER_STEP)
    ]


def test_no_piece_is_silent():
    for scores in (likely(shift_4=50.0), likely(shift_1=50.0), likely(end=50.0)):
        assert all(piece.notes for piece in composed(Constant(scores), span=Span(7), count=5))
    assert composed(span=Span(0)) == [NOTHING], "nothing is asked for"


def test_notes_begin_within_the_span_and_sound_to_their_ends():
    scorer = Constant(likely(end=-100.0))  # it never ends of itself
    pieces = composed(scorer, span=Span(10), count=20)
    assert all(note.start < 10 * TICKS_PER_STEP for piece in pieces for note in piece.notes)
    assert all(piece.length >= 10 * TICKS_PER_STEP for piece in pieces)
    assert any(piece.length > 10 * TICKS_PER_STEP for piece in pieces)


def test_sampled_tokens_have_the_frequencies_of_the_model():
    """The first token of many pieces, of those that the rules allow at a beginning."""
    symbols = ["shift:1", "voice:1", "note:55", "note:56", "note:57"]
    scores = np.random.default_rng(0).normal(size=len(VOCABULARY))
    pieces = composed(Constant(scores), span=Span(2), count=4000, limits=EventConstraints(highest=57))
    found = Counter(first_symbol(piece) for piece in pieces)
    likelihoods = np.exp([scores[VOCABULARY.symbols.index(symbol)] for symbol in symbols])
    expected = 4000 * likelihoods / likelihoods.sum()
    counts = np.array([found[symbol] for symbol in symbols])
    assert counts.sum() == 4000
    assert ((counts - expected) ** 2 / expected).sum() < 18.5  # chi-square with 4 degrees of freedom: 0.1 %


def first_symbol(piece):
    note = min(piece.notes, key=lambda note: (note.start, note.voice, note.pitch))
    if note.start:
        return "shift:1"
    return "voice:1" if note.voice else f"note:{note.pitch}"


@pytest.mark.parametrize(
    ("number", "outcome"), [(0.0, 1), (0.2499, 1), (0.25, 3), (0.9999999, 3), (float(np.nextafter(1.0, 0.0)), 3)]
)
def test_a_number_falls_into_the_part_of_its_outcome_and_never_into_one_of_zero(number, outcome):
    assert categorical(np.array([0.0, 0.25, 0.0, 0.75, 0.0]), np.array(number)) == outcome


def test_progress_goes_to_the_end():
    said = []
    compose_events(
        RANDOM, NOTHING, ANY, Span(8), Sampling(), count=3, seed=1, on_progress=lambda *done: said.append(done)
    )
    assert said[-1] == (24, 24)
    assert said == sorted(said)
