"""Make the sets train, valid and test, as MIDI files with four tracks, from Bach's chorales (JSB Chorales).

    python3 local/prepare.py --corpus DIR --output data

DIR has Jsb16thSeparated.json, four voices on a grid of sixteenths with the sets of Boulanger-Lewandowski et al. 2012,
and jsb-chorales-quarter.json, the pitches of every quarter note, used for most published results. The corpus does not
distinguish held and repeated notes: equal consecutive pitches become one note.

Also writes the first four bars (openings) and the highest voice (melodies) of the test chorales, as input for models,
and the sets of the quarter file (quarter), with the pitches of each frame as voices from the highest down. The
quarter file has another order, and all pieces in C.

Every file is read back and compared with the corpus. The script prints for how many chorales every fourth row equals
the quarter file, directly, and in any order and key.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recitative.errors import DataError, RecitativeError, RunError
from recitative.music.frames import as_sets
from recitative.music.midi import read_midi, write_midi
from recitative.music.piece import HIGHEST, SILENT, Pitches, from_grid, tied, to_grid
from recitative.reading import read_json

SETS = ("train", "valid", "test")
VOICES = 4
STEPS_PER_QUARTER = 4
SEPARATED = "Jsb16thSeparated.json"
QUARTERS = "jsb-chorales-quarter.json"
OPENING = 64  # sixteenths, four bars

Frames = tuple[tuple[int, ...], ...]  # the distinct pitches of each frame, ascending


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True, help=f"folder with {SEPARATED} and {QUARTERS}")
    parser.add_argument("--output", type=Path, required=True, help="folder for the sets")
    arguments = parser.parse_args()
    try:
        grids = read_grids(arguments.corpus / SEPARATED)
        quarters = read_quarters(arguments.corpus / QUARTERS)
        for name in SETS:
            write_set(grids[name], arguments.output / name, STEPS_PER_QUARTER)
            write_set([grid_of(one) for one in quarters[name]], arguments.output / "quarter" / name, 1)
            print(f"{name}: {compared(grids[name], quarters[name])}", file=sys.stderr)
        write_set([pitches[:OPENING] for pitches in grids["test"]], arguments.output / "openings", STEPS_PER_QUARTER)
        write_set([highest(pitches) for pitches in grids["test"]], arguments.output / "melodies", STEPS_PER_QUARTER)
    except RecitativeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def read_grids(path: Path) -> dict[str, list[Pitches]]:
    """Read the grids (T, 4) of each set. Raises DataError for anything but pitches of four voices."""
    sets = _read_json(path)
    return {name: [_grid(f"{path}: {name} {number}", rows) for number, rows in enumerate(sets[name])] for name in SETS}


def read_quarters(path: Path) -> dict[str, list[Frames]]:
    """Read the pitches of every quarter note, by set. Raises DataError if there are more than four at a time."""
    sets = _read_json(path)
    return {
        name: [_quarters(f"{path}: {name} {number}", rows) for number, rows in enumerate(sets[name])] for name in SETS
    }


def write_set(grids: Sequence[Pitches], folder: Path, steps_per_quarter: int) -> None:
    """Write 000.mid, 001.mid, ... and read them back. Raises RunError if a grid differs."""
    for old in folder.glob("*.mid"):
        old.unlink()
    for number, pitches in enumerate(grids):
        path = folder / f"{number:03d}.mid"
        write_midi(from_grid(tied(pitches), steps_per_quarter, name=f"{folder.name} {number:03d}"), path)
        back = to_grid(read_midi(path, steps_per_quarter), VOICES)
        if not np.array_equal(back.pitches, pitches):
            raise RunError(f"{path}: differs from the grid that was written")
    steps = sum(len(pitches) for pitches in grids)
    unit = "quarters" if steps_per_quarter == 1 else "sixteenths"
    print(f"{folder}: {len(grids)} pieces, {steps} {unit}, read back and compared", file=sys.stderr)


def grid_of(frames: Frames) -> Pitches:
    """(T, 4): the pitches of each frame from the highest down."""
    rows = [[*row, *[SILENT] * (VOICES - len(row))] for row in frames]
    return as_sets(np.array(rows, np.int16).reshape(-1, VOICES), VOICES)


def highest(pitches: Pitches) -> Pitches:
    """The first voice, the others silent."""
    alone = np.full_like(pitches, SILENT)
    alone[:, 0] = pitches[:, 0]
    return alone


def compared(grids: Sequence[Pitches], quarters: Sequence[Frames]) -> str:
    """Describe for how many chorales every fourth row equals the quarter file."""
    ours = [frames_of(pitches[::STEPS_PER_QUARTER].tolist()) for pitches in grids]
    equal = sum(mine == theirs for mine, theirs in zip(ours, quarters, strict=False))
    found = {from_first(frames) for frames in quarters}
    moved = sum(from_first(frames) in found for frames in ours)
    return f"{QUARTERS} equals every fourth row of {equal} of {len(ours)} chorales; in any order and key of {moved}"


def frames_of(rows: Sequence[Sequence[int]]) -> Frames:
    """The pitches of each row, without voices."""
    return tuple(tuple(sorted({pitch for pitch in row if pitch != SILENT})) for row in rows)


def from_first(frames: Frames) -> Frames:
    """Pitches relative to the first one, equal in every key."""
    first = next((row[0] for row in frames if row), 0)
    return tuple(tuple(pitch - first for pitch in row) for row in frames)


def _read_json(path: Path) -> dict[str, list[Any]]:
    """A list of chorales for each set."""
    allowed, remedy = "the JSB Chorales", "pass its folder as --corpus"
    sets = read_json(path, allowed, remedy)
    if not isinstance(sets, dict) or not all(isinstance(sets.get(name), list) for name in SETS):
        raise DataError(str(path), "has other keys", f"lists {', '.join(SETS)}", "download the corpus again")
    return {name: sets[name] for name in SETS}


def _grid(where: str, rows: object) -> Pitches:
    try:
        pitches = np.array(rows)
    except ValueError:  # rows of different lengths
        pitches = np.zeros(0)
    shaped = pitches.ndim == 2 and pitches.shape[1] == VOICES and np.issubdtype(pitches.dtype, np.integer)
    if not shaped or pitches.min() < SILENT or pitches.max() > HIGHEST or not (pitches != SILENT).any():
        allowed = f"rows of {VOICES} pitches, {SILENT} to {HIGHEST}, not all silent"
        raise DataError(where, "is not a grid of voices", allowed, "download the corpus again")
    return pitches.astype(np.int16)


def _quarters(where: str, rows: Sequence[Sequence[int]]) -> Frames:
    try:
        frames = frames_of(rows)
        sound = all(len(row) <= VOICES and all(0 <= pitch <= HIGHEST for pitch in row) for row in frames)
    except TypeError:
        sound = False
    if not sound or not any(frames):
        allowed = f"at most {VOICES} pitches at a time, 0 to {HIGHEST}, not all silent"
        raise DataError(where, "does not consist of pitches", allowed, "download the corpus again")
    return frames


if __name__ == "__main__":
    sys.exit(main())
