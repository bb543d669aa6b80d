"""The voices of polyphonic music that comes without them, such as a piano's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations, groupby

import numpy as np

from recitative.music.piece import Note, Piece


def separated(piece: Piece, voices: int) -> Piece:
    """Each note gets one of ``voices`` voices, from top to bottom at each moment.

    Notes that begin together are given, in the order of their pitches, to those free voices that keep the order with
    what is sounding and, among such, move least from their last pitches. More notes than free voices share them, the
    outer voices keeping the outer notes.
    Raises ValueError for fewer than one voice.
    """
    if voices < 1:
        raise ValueError(f"{piece.name}: {voices} voices; at least 1")
    last = _registers(piece, voices)
    ends = [0] * voices
    result: list[Note] = []
    for start, together in groupby(sorted(piece.notes), key=lambda note: note.start):
        chord = sorted(together, key=lambda note: note.pitch, reverse=True)
        for note, voice in zip(chord, _chosen(chord, start, last, ends), strict=True):
            result.append(replace(note, voice=voice))
            last[voice], ends[voice] = float(note.pitch), max(ends[voice], note.end)
    return replace(piece, notes=tuple(sorted(result)))


def _registers(piece: Piece, voices: int) -> list[float]:
    """Where each voice is thought to lie before its first note: the piece's pitches cut into equal parts."""
    pitches = [note.pitch for note in piece.notes] or [0]
    return [float(np.quantile(pitches, 1 - (voice + 0.5) / voices)) for voice in range(voices)]


def _chosen(chord: Sequence[Note], start: int, last: Sequence[float], ends: Sequence[int]) -> Sequence[int]:
    """A voice for each note of a chord, which is ordered from the top."""
    free = [voice for voice, end in enumerate(ends) if end <= start]
    if len(chord) > len(free):
        return _shared(chord, free or [_nearest(chord[0].pitch, last)])
    held = [(voice, last[voice]) for voice in range(len(ends)) if voice not in free]

    def cost(choice: Sequence[int]) -> tuple[int, float]:
        pairs = list(zip(chord, choice, strict=True))
        crossings = sum(_crosses(note.pitch, voice, *other) for note, voice in pairs for other in held)
        return crossings, sum(abs(note.pitch - last[voice]) for note, voice in pairs)

    return min(combinations(free, len(chord)), key=cost)


def _shared(chord: Sequence[Note], free: Sequence[int]) -> list[int]:
    """More notes than voices: the first voice has the top note, the last the lowest."""
    most = len(chord) - 1
    return [free[(number * (len(free) - 1) + most // 2) // most if most else 0] for number in range(len(chord))]


def _nearest(pitch: float, last: Sequence[float]) -> int:
    return min(range(len(last)), key=lambda voice: abs(last[voice] - pitch))


def _crosses(pitch: float, voice: int, other: int, other_pitch: float) -> bool:
    return (pitch - other_pitch) * (other - voice) < 0
