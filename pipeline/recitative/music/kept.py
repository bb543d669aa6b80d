"""Whether what was given to a writer of music is in what it wrote, and whether the rest lies where it should."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from recitative.music.counterpoint import Share
from recitative.music.piece import Note, Piece


@dataclass(frozen=True)
class Kept:
    """given: notes that were given, of them those that are there with start, length and pitch, whoever has them.

    new: all other notes of the piece, of them those within the range of their voice.
    """

    given: Share
    new: Share

    def __add__(self, other: Kept) -> Kept:
        return Kept(self.given + other.given, self.new + other.new)


def kept(piece: Piece, given: Iterable[Note], ranges: Sequence[tuple[int, int]]) -> Kept:
    """Of one piece; ``given`` notes have its steps. ranges: lowest and highest pitch of each voice, MIDI; a voice
    beyond them has none, so nothing of it is within."""
    wanted = Counter(_sound(note) for note in given)
    missing, new = wanted.copy(), []
    for note in piece.notes:
        if missing[_sound(note)]:
            missing[_sound(note)] -= 1
        else:
            new.append(note)
    inside = sum(_within(note, ranges) for note in new)
    return Kept(Share(wanted.total() - missing.total(), wanted.total()), Share(inside, len(new)))


def _sound(note: Note) -> tuple[int, int, int]:
    return note.start, note.length, note.pitch


def _within(note: Note, ranges: Sequence[tuple[int, int]]) -> bool:
    low, high = ranges[note.voice] if note.voice < len(ranges) else (1, 0)
    return low <= note.pitch <= high
