"""Folders of MIDI and ABC files, and their pieces in the form that the models read. No torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from recitative.errors import DataError, Problem
from recitative.music.abc import read_abc
from recitative.music.frames import as_sets
from recitative.music.midi import SUFFIXES as MIDI_SUFFIXES
from recitative.music.midi import read_midi
from recitative.music.piece import Note, Piece, key_of, to_grid
from recitative.music.settings import EventSettings, MusicSettings
from recitative.stage import Ids

ABC_SUFFIX = ".abc"
SUFFIXES = (*MIDI_SUFFIXES, ABC_SUFFIX)
SCORE_SUFFIXES = (".musicxml", ".mxl", ".xml", ".mscz", ".mscx", ".sib", ".mei")  # of notation programs

T = TypeVar("T")
OnProblem = Callable[[Problem], object]


def read_folder(folder: str | Path, steps_per_quarter: int = 4) -> tuple[list[Piece], list[DataError]]:
    """All MIDI and ABC files at any depth, sorted by path, and an error for each file or tune that cannot be read.

    Raises DataError if there is no such file.
    """
    paths = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not paths:
        found = "contains no music" if Path(folder).is_dir() else "is not a folder"
        if Path(folder).is_dir():
            os.listdir(folder)  # raises PermissionError, which glob hides
        raise DataError(str(folder), found, f"files {', '.join(SUFFIXES)}", "correct the path")
    results = [read_file(path, steps_per_quarter) for path in paths]
    return [piece for pieces, _ in results for piece in pieces], [error for _, errors in results for error in errors]


def read_file(path: Path, steps_per_quarter: int = 4) -> tuple[list[Piece], list[DataError]]:
    """The piece of a MIDI file, or the tunes of an ABC file, and an error for each that cannot be read."""
    if path.suffix.lower() == ABC_SUFFIX:
        tunes, errors = read_abc(path)
        return [tune.at_resolution(steps_per_quarter) for tune in tunes], errors
    if path.suffix.lower() in SCORE_SUFFIXES and path.is_file():
        remedy = "export it as MIDI; in MuseScore: File, Export, MIDI"
        return [], [DataError(str(path), "is the score of a notation program", f"files {', '.join(SUFFIXES)}", remedy)]
    try:
        return [read_midi(path, steps_per_quarter)], []
    except DataError as error:
        return [], [error]


def _read_each(
    folder: Path, steps_per_quarter: int, convert: Callable[[Piece], T], on_problem: OnProblem | None
) -> list[T]:
    """Convert all pieces in a folder. Raises DataError that lists all problems.

    on_problem: gets the problems instead, unless no piece is left.
    """
    pieces, errors = read_folder(folder, steps_per_quarter)
    found: list[T] = []
    problems = [problem for error in errors for problem in error.problems]
    for piece in pieces:
        try:
            found.append(convert(piece))
        except DataError as error:
            problems.extend(error.problems)
    if problems and (not on_problem or not found):
        raise DataError.collect(problems)
    if on_problem:
        for problem in problems:
            on_problem(problem)
    return found


# Pieces as frames


@dataclass(frozen=True)
class Frames:
    """A piece as tokens (T, V), and the pitch class of its tonic."""

    name: str
    tokens: Ids
    tonic: int


def read_pieces(folder: Path, settings: MusicSettings, on_problem: OnProblem | None = None) -> list[Frames]:
    """All pieces in a folder. Raises DataError that lists all that cannot be read or converted.

    on_problem: gets the problems instead, unless no piece is left.
    """
    return _read_each(folder, settings.frames.steps_per_quarter, lambda piece: frames_of(piece, settings), on_problem)


def frames_of(piece: Piece, settings: MusicSettings) -> Frames:
    """Raises DataError for a piece with too many voices or pitches out of range."""
    code = settings.frames.code
    piece = piece.at_resolution(settings.frames.steps_per_quarter)
    try:
        pitches = to_grid(piece, max(piece.voices, 1) if code.sets else code.voices).pitches
        pitches = as_sets(pitches, code.voices) if code.sets else pitches
        tokens = code.tokens(pitches)
    except ValueError as error:
        text = str(error).removeprefix(f"{piece.name}: ")
        allowed = f"{code.voices} voices from {code.lowest} to {code.highest}"
        raise DataError(piece.name, text, allowed, "leave it out, or change the settings frames") from None
    tonic = settings.pieces.key if settings.pieces.key >= 0 else key_of(pitches)[0]
    return Frames(piece.name, tokens, tonic)


# Pieces as events


@dataclass(frozen=True)
class EventPieces:
    """Pieces on the model's grid; see ``fit_to_events``. cut: how many of the ``notes`` were shortened."""

    pieces: Sequence[Piece]
    notes: int
    cut: int


def read_event_pieces(folder: Path, settings: EventSettings, on_problem: OnProblem | None = None) -> EventPieces:
    """All pieces in a folder. Raises DataError that lists all that cannot be read or converted.

    on_problem: gets the problems instead, unless no piece is left.
    """
    lengths: list[int] = []

    def convert(piece: Piece) -> Piece:
        lengths.extend(note.length for note in piece.at_resolution(settings.steps_per_quarter).notes)
        return fit_to_events(piece, settings)

    pieces = _read_each(folder, settings.steps_per_quarter, convert, on_problem)
    return EventPieces(pieces, len(lengths), sum(length > settings.longest_length for length in lengths))


def fit_to_events(piece: Piece, settings: EventSettings) -> Piece:
    """Move a piece to the model's grid and voices, and shorten notes to the maximum duration.

    Of several notes of one voice and pitch that then start together, the longest is kept.
    Raises DataError for a pitch out of range.
    """
    moved = piece.at_resolution(settings.steps_per_quarter)
    by_place: dict[tuple[int, int, int], Note] = {}
    for note in moved.notes:
        if not settings.lowest <= note.pitch <= settings.highest:
            allowed = f"pitches from {settings.lowest} to {settings.highest}"
            raise DataError(
                piece.name, f"has pitch {note.pitch}", allowed, "leave it out, or change the settings events"
            )
        voice = min(note.voice, settings.voices - 1)
        shortened = replace(note, voice=voice, length=min(note.length, settings.longest_length))
        place = shortened.start, shortened.pitch, voice
        by_place[place] = max(shortened, by_place.get(place, shortened))  # they differ only in length
    return replace(moved, notes=tuple(sorted(by_place.values())))
