"""Pieces to be written: whatever is given is in the outcome to the last note, and what is new keeps to its limits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import small_music
from recitative.errors import DataError, UsageError
from recitative.lm.recurrent import Sampling
from recitative.model.folder import run_model
from recitative.music.composition import ConstraintCheck, check_constraints, compose, harmonize
from recitative.music.midi import midi_bytes
from recitative.music.piece import Key, Notation, Note, Piece, from_grid, tied
from recitative.music.settings import (
    TICKS_PER_STEP,
    Constraints,
    EditOptions,
    blank,
    request_of,
    to_continue,
    to_rewrite,
)
from recitative.music.statistics import Share

SETTINGS = small_music.settings("frames.ranges=[[59,66],[57,64],[55,62]]")
FRAMES = SETTINGS.frames
FINE = FRAMES.steps_per_quarter * TICKS_PER_STEP
CONTINUES = run_model(small_music.model("frames.ranges=[[59,66],[57,64],[55,62]]"))
FILLS = run_model(
    small_music.model("frames.ranges=[[59,66],[57,64],[55,62]]", "model.recurrent.direction=bidirectional")
)

# Lengths and starts that fall between the steps of the model as often as not; chords and overlaps within a voice too.
NOTES = st.builds(
    Note,
    st.integers(0, 8 * TICKS_PER_STEP),
    st.integers(FRAMES.lowest, FRAMES.highest),
    st.integers(1, 3 * TICKS_PER_STEP),
    st.integers(0, 2),
)
PIECES = st.lists(NOTES, min_size=1, max_size=12).map(lambda notes: Piece.of(notes, FINE, 100.0, "given"))
KEYS = st.one_of(st.none(), st.builds(Key, st.integers(0, 11), st.booleans()))
SAMPLINGS = st.builds(Sampling, st.sampled_from([1e-9, 0.5, 1.0, 50.0, 1e9]), st.sampled_from([0.01, 0.9, 1.0]))
LAWS = settings(max_examples=25, deadline=None)


def new_notes(piece, before):
    """Those of a piece that were not given, as a list: two may be alike."""
    rest = list(piece.notes)
    for note in before:
        rest.remove(note)  # a given note that is not there is an error here
    return rest


def assert_within(notes, limits):
    for note in notes:
        low, high = FRAMES.ranges[note.voice]
        assert low <= note.pitch <= high
        assert not limits.key or note.pitch % 12 in limits.key.pitch_classes


def assert_one_note_at_a_time(new, everything):
    for note in new:
        others = [other for other in everything if other.voice == note.voice and other is not note]
        assert not any(other.start < note.end and note.start < other.end for other in others)


@given(piece=PIECES, key=KEYS, sampling=SAMPLINGS, steps=st.integers(1, 6), seed=st.integers(0, 99))
@LAWS
def test_a_continued_piece_begins_with_every_given_note(piece, key, sampling, steps, seed):
    limits = Constraints(key)
    (made,) = compose(CONTINUES, to_continue(piece, FRAMES, steps), limits, sampling, count=1, seed=seed)
    new = new_notes(made, piece.notes)
    context_steps = -(-piece.length // TICKS_PER_STEP)
    assert all(note.start >= context_steps * TICKS_PER_STEP for note in new)
    assert made.length == (context_steps + steps) * TICKS_PER_STEP
    assert sum(note.length for note in new) == steps * TICKS_PER_STEP * FRAMES.voices, (
        "without rests every voice sings on"
    )
    assert_within(new, limits)
    assert_one_note_at_a_time(new, made.notes)


@given(
    piece=PIECES, key=KEYS, sampling=SAMPLINGS, seed=st.integers(0, 99), data=st.data(),
    voices=st.sets(st.integers(0, 2), min_size=1),
)  # fmt: skip
@LAWS
def test_a_rewritten_piece_keeps_every_note_that_was_not_to_be_rewritten(piece, key, sampling, seed, data, voices):
    steps = -(-piece.length // TICKS_PER_STEP)
    first = data.draw(st.integers(0, steps - 1))
    last = data.draw(st.integers(first + 1, steps))
    request = to_rewrite(piece, FRAMES, sorted(voices), first, last)
    (made,) = compose(FILLS, request, Constraints(key), sampling, count=1, seed=seed, gibbs_steps=2)
    begins = range(first * TICKS_PER_STEP, last * TICKS_PER_STEP)
    stays = [note for note in piece.notes if note.voice not in voices or note.start not in begins]
    new = new_notes(made, stays)
    assert all(note.voice in voices and note.start >= begins.start and note.end <= begins.stop for note in new)
    assert_within(new, Constraints(key))
    assert_one_note_at_a_time(new, made.notes)


def test_a_piece_from_nothing_fills_its_bars():
    made = compose(CONTINUES, blank(FRAMES, 8, "new", 90.0), Constraints(), Sampling(), count=3, seed=1)
    assert [piece.name for piece in made] == ["new-1", "new-2", "new-3"]
    assert {piece.quarters_per_minute for piece in made} == {90.0}
    for piece in made:
        assert_within(piece.notes, Constraints())
        assert sum(note.length for note in piece.notes) == 3 * piece.length == 3 * 8 * TICKS_PER_STEP


def test_the_same_seed_gives_the_same_bytes_however_many_there_are():
    def made(count, seed=1):
        return [midi_bytes(replace(piece, name="x")) for piece in compose(
            CONTINUES, blank(FRAMES, 16, "new", 90.0), Constraints(), Sampling(), count=count, seed=seed
        )]  # fmt: skip

    assert made(4) == made(4)
    assert made(1) == made(4)[:1]
    assert made(4) != made(4, seed=2)
    assert len(set(made(4))) == 4


def test_voices_pause_only_if_they_may():
    restful = small_music.Constant(FRAMES, np.array([*[0.0] * 12, 5.0]))
    request = blank(FRAMES, 12, "new", 100.0)
    (singing,) = compose(restful, request, Constraints(), Sampling(), count=1, seed=1)
    (pausing,) = compose(restful, request, Constraints(rests=True), Sampling(), count=1, seed=1)
    assert sum(note.length for note in singing.notes) == 3 * 12 * TICKS_PER_STEP
    assert sum(note.length for note in pausing.notes) < 12 * TICKS_PER_STEP


@pytest.mark.parametrize(
    ("key", "scale"),
    [(Key(0), "C D E F G A B"), (Key(7), "G A B C D E F#"), (Key(9, minor=True), "A B C D E F F# G G#")],
)
def test_a_key_has_the_notes_of_its_scales(key, scale):
    names = ["C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B"]
    assert key.pitch_classes == {names.index(name) for name in scale.split()}


def test_a_step_has_the_note_that_sounds_at_its_start_or_starts_in_it():
    notes = [Note(0, 60, 5), Note(6, 62, 6), Note(TICKS_PER_STEP + 5, 64, 3), Note(3 * TICKS_PER_STEP - 1, 65, 2)]
    request = to_continue(Piece.of(notes, FINE, 100.0, "p"), FRAMES, 1)
    assert request.context[:, 0].tolist() == [60, 64, 65, 65, -1]
    assert request.free.tolist() == [[False] * 3] * 4 + [[True] * 3]


def test_a_model_of_sets_reads_the_notes_of_all_voices_from_the_highest():
    sets = small_music.settings("frames.sets=true")
    notes = [Note(0, 60, TICKS_PER_STEP, 0), Note(0, 64, TICKS_PER_STEP, 1), Note(0, 60, TICKS_PER_STEP, 4)]
    piece = Piece.of(notes, FINE, 100.0, "p")
    assert to_continue(piece, sets.frames, 1).context[0].tolist() == [64, 60, -1]
    made = run_model(small_music.model("frames.sets=true"))
    (written,) = compose(made, to_continue(piece, sets.frames, 3), Constraints(), Sampling(), count=1, seed=1)
    new_notes(written, piece.notes)
    crowd = Piece.of([Note(0, 60 + voice, TICKS_PER_STEP, voice) for voice in range(4)], FINE, 100.0, "p")
    with pytest.raises(DataError, match="p: a frame has 4 notes, more than 3; at most 3 notes at a time"):
        to_continue(crowd, sets.frames, 1)
    with pytest.raises(UsageError, match="the model has sets of notes without voices"):
        to_rewrite(piece, sets.frames, [1])


def test_a_melody_is_continued_in_the_voice_that_has_its_pitches():
    edit, lines = EditOptions("", "", "", 1), []
    low, high = (66, 64, 65), (57, 55, 56)
    for voices, seats in (([low], [0]), ([high], [2]), ([low, high], [0, 2])):
        notes = [Note(12 * n, pitch, 12, voice) for voice, row in enumerate(voices) for n, pitch in enumerate(row)]
        piece = replace(Piece.of(notes, FINE, 100.0, "few"), notation=Notation(parts=("Tune",)))
        given = request_of(piece, edit, FRAMES, lines.append).given
        assert {note.voice for note in given.notes} == set(seats)
        assert given.notation.part(seats[0]) == "Tune"
    chords = Piece.of([Note(0, pitch, 12) for pitch in (66, 60, 57)], FINE, 100.0, "chords")
    assert {note.voice for note in request_of(chords, edit, FRAMES).given.notes} == {0, 1, 2}
    assert lines == []


def test_a_melody_beyond_its_voice_gets_a_way_on():
    lines = []
    piece = Piece.of([Note(0, 50, 12), Note(12, 54, 12)], FINE, 100.0, "deep")
    with pytest.raises(DataError, match=r"deep: has pitch 50 \(D3\)"):
        request_of(piece, EditOptions("1", "", ""), FRAMES, lines.append)
    assert (
        lines[1]
        == "deep: beyond the range of a voice 1, B3 to F#4; the voices may cross; --transpose 12 brings it there"
    )


# Bad input

GIVEN = Piece.of([Note(0, 60, 4 * TICKS_PER_STEP, 0), Note(0, 57, 4 * TICKS_PER_STEP, 2)], FINE, 100.0, "song")


def test_a_note_beyond_the_model_is_named():
    high = Piece.of([Note(0, 67, TICKS_PER_STEP)], FINE, 100.0, "high")
    message = r"high: has pitch 67 \(G4\); pitches from 55 \(G3\) to 66 \(F#4\); transpose it, or leave that voice out"
    with pytest.raises(DataError, match=message):
        to_continue(high, FRAMES, 4)
    with pytest.raises(DataError, match=message):
        to_rewrite(high, FRAMES, [1])


def test_too_many_voices_are_refused():
    crowd = Piece.of([Note(0, 60, TICKS_PER_STEP, 3)], FINE, 100.0, "crowd")
    with pytest.raises(DataError, match="crowd: has 4 voices; at most 3; leave some out"):
        to_continue(crowd, FRAMES, 4)


def test_a_piece_of_a_thousand_bars_is_enough():
    long = Piece.of([Note(1001 * 4 * TICKS_PER_STEP, 60, TICKS_PER_STEP)], FINE, 100.0, "long")
    with pytest.raises(DataError, match="long: has 1001 bars; at most 1000; shorten it"):
        to_continue(long, FRAMES, 4)


@pytest.mark.parametrize(("first", "last"), [(2, 2), (3, 2), (0, 5), (4, 5), (-1, 2)])
def test_steps_that_the_piece_has_not_are_refused(first, last):
    with pytest.raises(UsageError, match=f"song: has no steps {first} to {last}; it has 4"):
        to_rewrite(GIVEN, FRAMES, [0], first, last)


@pytest.mark.parametrize("voices", [[3], [0, -1]])
def test_voices_that_the_model_has_not_are_refused(voices):
    with pytest.raises(UsageError, match="cannot be rewritten; the model has voices 1 to 3"):
        to_rewrite(GIVEN, FRAMES, voices)


def test_there_is_nothing_to_rewrite_in_an_empty_piece():
    with pytest.raises(DataError, match="empty: has no notes"):
        to_rewrite(Piece((), 0, FINE, 100.0, "empty"), FRAMES, [0])


def test_a_key_that_leaves_a_voice_nothing_is_refused():
    narrow = small_music.settings("frames.ranges=[[61,61],[55,66],[55,66]]").frames
    with pytest.raises(UsageError, match="voice 1: no pitch from 61 to 61 belongs to the key"):
        compose(
            small_music.Constant(narrow, np.zeros(13)), blank(narrow, 4, "new", 100.0), Constraints(Key(0)), Sampling(),
            count=1, seed=1,
        )  # fmt: skip


def test_a_piece_on_another_grid_is_a_mistake_of_the_caller():
    coarse = from_grid(tied(np.array([[60, 60, 60]], np.int16)), 4, name="coarse")
    with pytest.raises(ValueError, match="coarse: 4 steps per quarter, not in ticks"):
        to_continue(coarse, FRAMES, 4)


# The check of constraints


RANGES = [(60, 72), (48, 60)]


def _checked(*notes: Note) -> Piece:
    return Piece.of(notes, 48, 100.0, "p")


def test_a_given_note_counts_with_start_length_and_pitch_whoever_has_it() -> None:
    given = [Note(0, 64, 12), Note(12, 65, 12), Note(24, 67, 12), Note(36, 69, 12)]
    there = _checked(Note(0, 64, 12, 1), Note(13, 65, 12), Note(24, 67, 11), Note(36, 68, 12))
    assert check_constraints(there, given, RANGES) == ConstraintCheck(Share(1, 4), Share(3, 3))


@pytest.mark.parametrize(
    ("melody", "voice", "message"),
    [
        (
            [(60, 1), (62, 0)],
            0,
            r"note \(62, 0\) of the melody: must be a pitch from 0 to 127 or None, and a length above 0",
        ),
        ([(60.5, 1)], 0, r"note \(60\.5, 1\) of the melody"),
        ([(128, 1)], 0, r"note \(128, 1\) of the melody"),
        ([(60, float("nan"))], 0, r"note \(60, nan\) of the melody"),
        ([(60, 1)], FILLS.frames.voices, "voice .: the model has voices 0 to"),
        (Piece.of([Note(0, 60, 4), Note(0, 57, 4, 1)], 4, 100.0, "two"), 0, "two: has 2 voices; give a piece of one"),
    ],
)
def test_what_is_no_melody_to_harmonize_is_named(melody, voice, message) -> None:
    with pytest.raises(UsageError, match=message):
        harmonize(FILLS, melody, voice=voice, gibbs_steps=1)


def test_a_note_given_twice_must_be_there_twice() -> None:
    twice = [Note(0, 64, 12), Note(0, 64, 12, 1)]
    assert check_constraints(_checked(twice[0]), twice, RANGES).given == Share(1, 2)
    assert check_constraints(_checked(*twice), twice, RANGES).given == Share(2, 2)


def test_only_new_notes_must_be_in_range() -> None:
    given = [Note(0, 100, 12)]
    new = [Note(12, 60, 12), Note(12, 59, 12), Note(12, 60, 12, 1), Note(12, 61, 12, 1), Note(12, 60, 12, 2)]
    assert check_constraints(_checked(*given, *new), given, RANGES) == ConstraintCheck(Share(1, 1), Share(2, 5))


def test_shares_of_several_pieces_add_up() -> None:
    assert ConstraintCheck(Share(1, 2), Share(3, 4)) + ConstraintCheck(Share(1, 1), Share(0, 2)) == ConstraintCheck(
        Share(2, 3), Share(3, 6)
    )
