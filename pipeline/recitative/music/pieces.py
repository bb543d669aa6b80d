"""Folders of music, in MIDI files and in ABC notation, and their pieces as the models read them. No torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

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


def read_folder(folder: str | Path, steps_per_quarter: int = 4) -> tuple[list[Piece], list[DataError]]:
    """All files of music, to any depth, sorted by their paths; each file or tune that is bad is one error.

    Raises DataError if there is no such file.
    """
    paths = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not paths:
        found = "has no music in it" if Path(folder).is_dir() else "is no folder"
        raise DataError(str(folder), found, f"files {', '.join(SUFFIXES)}", "correct the path")
    pieces: list[Piece] = []
    errors: list[DataError] = []
    for path in paths:
        found_here, faults = read_file(path, steps_per_quarter)
        pieces += found_here
        errors += faults
    return pieces, errors


def read_file(path: Path, steps_per_quarter: int = 4) -> tuple[list[Piece], list[DataError]]:
    """The piece of a MIDI file, or the tunes of one in ABC notation, and what is wrong with the others."""
    if path.suffix.lower() == ABC_SUFFIX:
        tunes, errors = read_abc(path)
        return [tune.at_resolution(steps_per_quarter) for tune in tunes], errors
    try:
        return [read_midi(path, steps_per_quarter)], []
    except DataError as error:
        return [], [error]


@dataclass(frozen=True)
class Frames:
    """A piece as tokens (T, V), and its tonic's pitch class."""

    name: str
    tokens: Ids
    tonic: int


def frames_of(piece: Piece, settings: MusicSettings) -> Frames:
    """Raises DataError for a piece that these settings have no frames for, such as one with more voices."""
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


def read_pieces(folder: Path, settings: MusicSettings, skip: Callable[[Problem], object] | None = None) -> list[Frames]:
    """Every piece in a folder. Raises DataError that lists the files which hold none that these settings can read.

    skip: is told these problems instead, as long as one piece is left.
    """
    pieces, errors = read_folder(folder, settings.frames.steps_per_quarter)
    found: list[Frames] = []
    problems = [problem for error in errors for problem in error.problems]
    for piece in pieces:
        try:
            found.append(frames_of(piece, settings))
        except DataError as error:
            problems.extend(error.problems)
    if problems and (not skip or not found):
        raise DataError.collect(problems)
    if skip:
        for problem in problems:
            skip(problem)
    return found


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
