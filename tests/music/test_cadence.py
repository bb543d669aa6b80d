"""Pieces that end with an authentic cadence, whatever the model would rather write."""

from __future__ import annotations

import numpy as np
import pytest

import small_music
from recitative.errors import DataError, UsageError
from recitative.lm.recurrent import Sampling
from recitative.model.folder import run_model
from recitative.music.composition import compose, harmonize
from recitative.music.piece import SILENT, Key, Note, Piece, to_grid
from recitative.music.settings import TICKS_PER_STEP, Constraints, blank, to_continue, to_rewrite
from small_music import is_authentic

CHOIR = (
    "frames.voices=4", "frames.lowest=40", "frames.highest=81", "frames.bar=16",
    "frames.ranges=[[60,81],[55,74],[48,67],[40,60]]",
)  # fmt: skip
FRAMES = small_music.settings(*CHOIR).frames
FINE = FRAMES.steps_per_quarter * TICKS_PER_STEP
CADENCE = Constraints(cadence=True)


@pytest.fixture(scope="module")
def continues():
    return run_model(small_music.model(*CHOIR))


@pytest.fixture(scope="module")
def fills():
    return run_model(small_music.model(*CHOIR, "model.recurrent.direction=bidirectional"))


def grid(piece):
    return to_grid(piece.at_resolution(4), 4).pitches


def key_of_signature(piece):
    notation = piece.notation
    return (notation.fifths * 7 + (9 if notation.minor else 0)) % 12, notation.minor


def melody(*pitches):
    return Piece.of([Note(n * FINE, pitch, FINE) for n, pitch in enumerate(pitches)], FINE, 100.0, "melody")


def test_new_pieces_end_with_a_cadence_in_their_key_or_in_the_given_one(continues):
    request = blank(FRAMES, 32, "new", 100.0)
    for key in (None, Key(7), Key(4, True)):
        for piece in compose(continues, request, Constraints(key, cadence=True), Sampling(), count=4, seed=3):
            wanted = (key.tonic, key.minor) if key else key_of_signature(piece)
            assert key_of_signature(piece) == wanted
            assert is_authentic(grid(piece), wanted)
            assert (grid(piece)[-8:] == grid(piece)[-1]).all()
            for note in piece.notes:
                low, high = FRAMES.ranges[note.voice]
                assert low <= note.pitch <= high


def test_without_the_constraint_a_random_model_writes_no_cadence(continues):
    request = blank(FRAMES, 32, "new", 100.0)
    pieces = compose(continues, request, Constraints(Key(7)), Sampling(), count=4, seed=3)
    assert not any(is_authentic(grid(piece), (7, False)) for piece in pieces)


@pytest.mark.parametrize(("end", "key"), [((69, 67), (7, False)), ((66, 67), (7, False)), ((71, 72), (0, False))])
def test_a_melody_is_harmonized_with_a_cadence_under_its_last_notes(fills, end, key):
    given = melody(67, 69, 71, 72, *end)
    constraints = Constraints(Key(*key), cadence=True)
    made = harmonize(fills, given, constraints=constraints, gibbs_steps=4)
    assert set(given.notes) <= set(made.notes)
    assert is_authentic(grid(made), key)


def test_the_key_of_a_melody_without_signature_is_a_likely_one_that_its_end_fits(fills):
    made = harmonize(fills, melody(67, 71, 74, 71, 69, 67, 69, 67), constraints=CADENCE, gibbs_steps=2)
    assert key_of_signature(made) == (7, False)
    assert is_authentic(grid(made), (7, False))


def test_what_has_no_place_for_a_cadence_is_one_line(continues, fills):
    with pytest.raises(DataError, match="melody: its last two notes fit no cadence V-I in C major; notes of the two"):
        harmonize(fills, melody(60, 64, 66, 68), constraints=Constraints(Key(0), cadence=True))
    with pytest.raises(DataError, match="is too short for a cadence"):
        harmonize(fills, melody(60), constraints=CADENCE)
    given = to_rewrite(melody(60, 62, 64, 65), FRAMES, [1, 2, 3], 0, 4)
    with pytest.raises(UsageError, match="the end of the piece is given"):
        compose(fills, given, CADENCE, Sampling(), count=1, seed=1)
    frames = small_music.settings("frames.sets=true").frames
    scorer = small_music.Constant(frames, np.zeros(13))
    with pytest.raises(UsageError, match="requires a model of at least 3 voices"):
        compose(scorer, to_continue(melody(60), frames, 4), CADENCE, Sampling(), count=1, seed=1)


def test_a_cadence_is_known_by_its_chords():
    dominant, tonic = [71, 67, 62, 43], [72, 67, 64, 48]
    assert is_authentic(np.array([dominant, tonic, tonic]), (0, False))
    assert is_authentic(np.array([[71, 65, 62, 43], tonic]), (0, False))  # a seventh chord
    assert is_authentic(np.array([dominant, tonic]), (0, True))  # a major chord may end a piece in minor
    assert not is_authentic(np.array([dominant, tonic]), (7, False))
    assert not is_authentic(np.array([[72, 69, 65, 53], tonic]), (0, False))  # plagal
    assert not is_authentic(np.array([dominant, [72, 67, 64, 52]]), (0, False))  # not in root position
    assert not is_authentic(np.array([dominant, [72, 67, 60, 48]]), (0, False))  # no third
    assert not is_authentic(np.array([tonic, tonic]), (0, False))
    assert not is_authentic(np.full((4, 4), SILENT), (0, False))
