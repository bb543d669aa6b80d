"""Pieces as tokens: one sequence for each, and a grammar that a sampler cannot leave."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recitative.music.frames import EventVocabulary, GrammarState
from recitative.music.piece import Note, Piece
from recitative.text.tokens import END

VOCABULARY = EventVocabulary(4, longest_length=6, longest_shift=3, voices=3, lowest=60, highest=65)


@st.composite
def _pieces(draw: st.DrawFn) -> Piece:
    note = st.builds(Note, st.integers(0, 20), st.integers(60, 65), st.integers(1, 6), st.integers(0, 2))
    notes = draw(st.lists(note, max_size=12, unique_by=lambda note: (note.start, note.pitch, note.voice)))
    length = max((note.end for note in notes), default=0) + draw(st.integers(0, 10))
    return Piece(tuple(sorted(notes)), length, 4)


def _symbols(piece: Piece) -> list[str]:
    return [VOCABULARY.symbols[number] for number in VOCABULARY.encode(piece)]


def test_a_small_piece_is_what_one_would_write_by_hand() -> None:
    piece = Piece((Note(1, 60, 2, 1), Note(1, 62, 2, 1), Note(1, 65, 1, 0), Note(6, 60, 1, 0)), 8)
    assert " ".join(_symbols(piece)) == (
        "shift:1 note:65 length:1 voice:1 note:60 length:2 note:62 length:2 shift:3 shift:2 note:60 length:1 shift:2"
    )


@settings(deadline=None)
@given(_pieces())
def test_a_piece_comes_back_and_every_token_was_legal(piece: Piece) -> None:
    ids = VOCABULARY.encode(piece)
    assert VOCABULARY.decode(ids) == piece
    assert VOCABULARY.finished(ids) == ids
    state = GrammarState()
    for number in [*ids, END]:
        assert VOCABULARY.legal(state)[number]
        state = state.after(VOCABULARY.events[number])
    assert state == GrammarState()


@settings(deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 40))
def test_whatever_is_drawn_among_legal_tokens_is_the_one_sequence_of_a_piece(seed: int, most: int) -> None:
    random, state, ids = np.random.default_rng(seed), GrammarState(), list[int]()
    for _ in range(most):
        number = int(random.choice(np.flatnonzero(VOCABULARY.legal(state))))
        if number == END:
            break
        ids.append(number)
        state = state.after(VOCABULARY.events[number])
    ids = VOCABULARY.finished(ids)
    assert VOCABULARY.encode(VOCABULARY.decode(ids)) == ids


def test_a_sequence_that_was_cut_off_keeps_its_whole_notes() -> None:
    ids = [VOCABULARY.symbols.index(symbol) for symbol in ("note:60", "length:5", "shift:1", "voice:1", "note:61")]
    assert VOCABULARY.decode(VOCABULARY.finished(ids)) == Piece((Note(0, 60, 5),), 5)


@pytest.mark.parametrize(
    ("symbols", "message"),
    [
        (["length:1"], "token 1, 'length:1', is not allowed after end:0"),
        (["note:60"], "the piece cannot end after note:60"),
        (["note:60", "length:2", "shift:1"], "cannot end after shift:1"),
        (["note:62", "length:1", "note:60"], "token 3, 'note:60', is not allowed after length:1"),
        (["note:62", "length:1", "note:62"], "token 3, 'note:62'"),
        (["shift:1", "shift:1"], "token 2, 'shift:1', is not allowed after shift:1"),
        (["voice:1", "shift:1"], "token 2, 'shift:1'"),
        (["voice:2", "note:60", "length:1", "voice:1"], "token 4, 'voice:1'"),
        (["<blank>"], "token 1, '<blank>'"),
    ],
)
def test_a_sequence_that_breaks_the_rules_is_refused(symbols: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VOCABULARY.decode([VOCABULARY.symbols.index(symbol) for symbol in symbols])


def test_a_number_that_is_no_token_is_refused() -> None:
    with pytest.raises(ValueError, match="token 1, '99', is not allowed"):
        VOCABULARY.decode([99])


@pytest.mark.parametrize(
    ("note", "message"),
    [
        (Note(0, 59, 1), r"song: Note\(start=0, pitch=59.* beyond the vocabulary: pitches 60 to 65, 6 steps, 3 voices"),
        (Note(0, 66, 1), "pitch=66"),
        (Note(0, 60, 7), "length=7"),
        (Note(0, 60, 1, 3), "voice=3"),
    ],
)
def test_a_note_beyond_the_limits_names_its_piece(note: Note, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VOCABULARY.encode(Piece((note,), note.end, name="song"))


@pytest.mark.parametrize(
    ("piece", "message"),
    [
        (Piece((Note(0, 60, 1), Note(0, 60, 2)), 2, name="song"), "song: .* begins together with another"),
        (Piece((Note(0, 60, 4),), 2, name="song"), "song: a note ends after the piece"),
        (Piece((), 0, 12, name="song"), "song: 12 steps per quarter; 4; change it with at_resolution"),
    ],
)
def test_a_piece_that_no_sequence_has_is_refused(piece: Piece, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VOCABULARY.encode(piece)
