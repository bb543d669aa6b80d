"""Make the sets train, valid, test and openings, as MIDI files of melody and chords, from a folder of folk tunes.

    python3 local/prepare.py --corpus DIR --output data

DIR has ABC or MIDI files, in any subfolders, such as the Nottingham Music Database. Eight tenths of the tunes go to
train, one each to valid and test, by a hash of the title, so that a tune stays in its set when others are added.
Tunes with the same melody, in any key, are in the same set: tunes are grouped, transitively, if they share half of
their melodic figures (five consecutive notes as intervals). openings has the first bars of each test tune.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path

from recitative.errors import DataError, RecitativeError
from recitative.music.composer import read_folder
from recitative.music.midi import read_midi, write_midi
from recitative.music.piece import Piece

STEPS_PER_QUARTER = 12  # triplets and sixteenths fall on it
TENTHS = {"train": 8, "valid": 1, "test": 1}
FIGURE = 4  # intervals; longer figures miss variants of a tune, and with these few tunes are grouped wrongly
SHARED = 0.5  # share of the figures of the tune with fewer figures
MOST_BAD = 0.05
OPENING_QUARTERS = 16

Figure = tuple[int, ...]  # semitones from note to note


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True, help="folder with .abc, .mid or .midi files")
    parser.add_argument("--output", type=Path, required=True, help="folder for the sets")
    parser.add_argument("--seed", type=int, default=1, help="random seed of the sets")
    arguments = parser.parse_args()
    try:
        pieces = read_corpus(arguments.corpus)
        groups = same_melodies(pieces)
        print(f"{len(pieces)} tunes, {len(groups)} melodies", file=sys.stderr)
        write_sets(pieces, groups, arguments.output, arguments.seed)
        write_openings(arguments.output / "test", arguments.output / "openings")
    except RecitativeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def read_corpus(folder: Path) -> list[Piece]:
    """Read all tunes; report invalid ones. Raises DataError if they are more than a twentieth."""
    pieces, errors = read_folder(folder, STEPS_PER_QUARTER)
    for error in errors:
        print(f"left out: {error}", file=sys.stderr)
    if len(errors) > MOST_BAD * (len(pieces) + len(errors)):
        found = f"{len(errors)} of {len(pieces) + len(errors)} tunes are not understood"
        raise DataError(str(folder), found, "at most one in twenty", "correct or remove the files above")
    return pieces


def same_melodies(pieces: Sequence[Piece]) -> list[list[int]]:
    """Group the numbers of pieces with the same melody, in order."""
    figures = [melodic_figures(piece) for piece in pieces]
    leader = list(range(len(pieces)))  # of the group (union-find)
    for (one, other), count in _shared_figures(figures).items():
        if count >= SHARED * min(len(figures[one]), len(figures[other])):
            first, second = sorted((_leader_of(leader, one), _leader_of(leader, other)))
            leader[second] = first
    groups: dict[int, list[int]] = {}
    for number in range(len(pieces)):
        groups.setdefault(_leader_of(leader, number), []).append(number)
    return list(groups.values())


def melodic_figures(piece: Piece) -> set[Figure]:
    """All runs of FIGURE intervals between the highest notes of the first voice; for a shorter tune one run."""
    tops = {note.start: note.pitch for note in sorted(piece.notes) if note.voice == 0}
    steps = [after - before for before, after in pairwise(tops.values())]
    return {tuple(steps[start : start + FIGURE]) for start in range(max(1, len(steps) - FIGURE + 1))}


def write_sets(pieces: Sequence[Piece], groups: Sequence[Sequence[int]], output: Path, seed: int) -> None:
    """Write output/{train,valid,test}/NNNN.mid; the number is that of the tune in the corpus."""
    names = {number: set_of(min(pieces[n].name for n in group), seed) for group in groups for number in group}
    for name in TENTHS:
        for old in (output / name).glob("*.mid"):
            old.unlink()
        chosen = [number for number in range(len(pieces)) if names[number] == name]
        for number in chosen:
            write_midi(pieces[number], output / name / f"{number:04d}.mid")
        notes = sum(len(pieces[number].notes) for number in chosen)
        minutes = sum(pieces[number].seconds for number in chosen) / 60
        print(f"{output / name}: {len(chosen)} tunes, {notes} notes, {minutes:.0f} minutes", file=sys.stderr)


def write_openings(test: Path, output: Path) -> None:
    """Write the first bars of each tune under the same name; skip tunes that are not longer."""
    output.mkdir(parents=True, exist_ok=True)
    for old in output.glob("*.mid"):
        old.unlink()
    for path in sorted(test.glob("*.mid")):
        if opening := opening_of(read_midi(path, STEPS_PER_QUARTER)):
            write_midi(opening, output / path.name)


def opening_of(piece: Piece) -> Piece | None:
    """The first quarter notes of a piece, cut at the end. None if it is not longer, or has no note there."""
    length = OPENING_QUARTERS * STEPS_PER_QUARTER
    started = [note for note in piece.notes if note.start < length]
    if piece.length <= length or not started:
        return None
    cut = tuple(replace(note, length=min(note.length, length - note.start)) for note in started)
    return replace(piece, notes=cut, length=length)


def set_of(title: str, seed: int) -> str:
    """The set of a title, given the seed."""
    place = int.from_bytes(hashlib.sha256(f"{seed} {title}".encode()).digest()[:8], "big") % sum(TENTHS.values())
    return next(name for name, limit in _limits() if place < limit)


def _limits() -> list[tuple[str, int]]:
    names = list(TENTHS)
    return [(name, sum(TENTHS[earlier] for earlier in names[: number + 1])) for number, name in enumerate(names)]


def _shared_figures(figures: Sequence[set[Figure]]) -> Counter[tuple[int, int]]:
    """Count the shared figures of all pairs of pieces that share any."""
    having: dict[Figure, list[int]] = {}
    for number, found in enumerate(figures):
        for figure in found:
            having.setdefault(figure, []).append(number)
    return Counter(pair for numbers in having.values() for pair in combinations(numbers, 2))


def _leader_of(leader: list[int], number: int) -> int:
    while leader[number] != number:
        number = leader[number]
    return number


if __name__ == "__main__":
    sys.exit(main())
