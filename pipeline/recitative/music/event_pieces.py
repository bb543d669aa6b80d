"""Pieces as a model of events hears them: on its grid, in its voices, no note longer than its longest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from recitative.errors import DataError, Problem
from recitative.music.event_settings import EventSettings
from recitative.music.folder import read_folder
from recitative.music.piece import Note, Piece


@dataclass(frozen=True)
class EventPieces:
    """What is in a folder, ``fitted``. cut: notes that were longer than the longest, of all ``notes`` there are."""

    pieces: Sequence[Piece]
    notes: int
    cut: int


def read_event_pieces(
    folder: Path, settings: EventSettings, skip: Callable[[Problem], object] | None = None
) -> EventPieces:
    """Every piece in a folder. Raises DataError that lists the files which hold none that these settings can read.

    skip: is told these problems instead, as long as one piece is left.
    """
    pieces, errors = read_folder(folder, settings.steps_per_quarter)
    found: list[Piece] = []
    problems = [problem for error in errors for problem in error.problems]
    for piece in pieces:
        try:
            found.append(fitted(piece, settings))
        except DataError as error:
            problems.extend(error.problems)
    if problems and (not skip or not found):
        raise DataError.collect(problems)
    if skip:
        for problem in problems:
            skip(problem)
    return EventPieces(found, sum(len(p.notes) for p in pieces), sum(_too_long(p, settings) for p in pieces))


def fitted(piece: Piece, settings: EventSettings) -> Piece:
    """On the model's grid, with its voices, and no note longer than its longest.

    Of several notes of a voice and pitch that begin together there, the longest stays.
    Raises DataError for a pitch that the model does not know.
    """
    moved = piece.at_resolution(settings.steps_per_quarter)
    for note in moved.notes:
        if not settings.lowest <= note.pitch <= settings.highest:
            allowed = f"pitches from {settings.lowest} to {settings.highest}"
            raise DataError(
                piece.name, f"has pitch {note.pitch}", allowed, "leave it out, or change the settings events"
            )
    by_place: dict[tuple[int, int, int], Note] = {}
    for note in moved.notes:
        voice = min(note.voice, settings.voices - 1)
        heard = replace(note, voice=voice, length=min(note.length, settings.longest_length))
        place = heard.start, heard.pitch, voice
        by_place[place] = max(heard, by_place.get(place, heard))  # equal but for their lengths
    return replace(moved, notes=tuple(sorted(by_place.values())))


def _too_long(piece: Piece, settings: EventSettings) -> int:
    """How many notes ``fitted`` makes shorter."""
    longest = settings.longest_length
    return sum(note.length > longest for note in piece.at_resolution(settings.steps_per_quarter).notes)
