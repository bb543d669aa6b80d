"""Dynamics of a piece: louder on strong beats, and rising and falling with the phrase. A function of the notes."""

from __future__ import annotations

import itertools
import math

from recitative.music.piece import Note, Piece

VELOCITY = 80  # MIDI, mean
LOUDEST = 127
_PHRASE = 7  # from the mean to the height of a phrase, and to its ends
_STRONG, _MIDDLE, _BEAT, _WEAK = 6, 3, 0, -4  # the first beat, the middle of a bar, other beats, and between beats
_TOP, _BOTTOM, _INNER = 5, 1, -3  # voices
_SHORTEST_PHRASE, _LONGEST_PHRASE = 4, 16  # quarters
_HELD = 2  # quarters: a note of the highest voice that ends a phrase
_HEIGHT = 1.3  # exponent: the height of a phrase is after its middle


def velocities(piece: Piece, level: int = VELOCITY) -> list[int]:
    """The MIDI velocity of each note, 1..127. level: the mean, before rounding and limits."""
    ends = phrase_ends(piece)
    top, bottom = (choose((note.voice for note in piece.notes), default=0) for choose in (min, max))
    found: list[float] = []
    for note in piece.notes:
        number = next(i for i, end in enumerate(ends) if note.start < end)
        begin = ends[number - 1] if number else 0
        place = (note.start - begin) / (ends[number] - begin)
        arch = _PHRASE * (2 * math.sin(math.pi * place**_HEIGHT) - 1)
        balance = 0 if top == bottom else _TOP if note.voice == top else _BOTTOM if note.voice == bottom else _INNER
        found.append(arch + _accent(piece, note.start) + balance)
    shift = level - sum(found) / max(1, len(found))
    return [min(LOUDEST, max(1, round(value + shift))) for value in found]


def _accent(piece: Piece, start: int) -> int:
    bar, beat = piece.notation.bar_quarters, piece.notation.beat_quarters
    within = start / piece.steps_per_quarter % bar
    if within == 0:
        return _STRONG
    if bar >= 4 * beat and within == bar / 2:
        return _MIDDLE
    return _BEAT if within % beat == 0 else _WEAK


def phrase_ends(piece: Piece) -> list[int]:
    """Steps at which phrases end, the last at or after the end of the piece.

    A phrase ends with a note of the highest voice that is long or before a rest, or after four bars of four quarters.
    """
    quarter = piece.steps_per_quarter
    top = min((note.voice for note in piece.notes), default=0)
    melody = [note for note in piece.notes if note.voice == top]
    ends: list[int] = []
    begin = 0
    for note, after in itertools.pairwise([*melody, Note(piece.length + 1, 0, 1)]):
        while note.start - begin >= _LONGEST_PHRASE * quarter:
            begin += _LONGEST_PHRASE * quarter
            ends.append(begin)
        ends_here = note.length >= _HELD * quarter or after.start - note.end >= quarter
        if ends_here and note.end - begin >= _SHORTEST_PHRASE * quarter:
            begin = max(note.end, begin + 1)
            ends.append(begin)
    return [*ends, max(begin, piece.length) + 1]
