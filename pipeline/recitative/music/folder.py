"""A folder of written music, in MIDI files and in ABC notation."""

from __future__ import annotations

from pathlib import Path

from recitative.errors import DataError
from recitative.music import abc, midi
from recitative.music.piece import Piece

ABC_SUFFIX = ".abc"
SUFFIXES = (*midi.SUFFIXES, ABC_SUFFIX)


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
        tunes, errors = abc.read_abc(path)
        return [tune.at_resolution(steps_per_quarter) for tune in tunes], errors
    try:
        return [midi.read_midi(path, steps_per_quarter)], []
    except DataError as error:
        return [], [error]
