"""``recitative report``: generated pieces beside a corpus, in numbers, pictures and sound."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from recitative.atomic import write_text
from recitative.cli.music_files import require_folder
from recitative.cli.progress import track
from recitative.cli.results import (
    CommandOption,
    HowOption,
    NameOption,
    Record,
    ResultsOption,
    SetOption,
    TableOption,
)
from recitative.errors import DataError, Problem
from recitative.music import synth
from recitative.music.copies import Copy, Originals, longest_copy
from recitative.music.folder import read_folder
from recitative.music.midi import midi_bytes
from recitative.music.page import Comparison, Exhibit, music_page
from recitative.music.piece import Piece
from recitative.music.statistics import distances, statistics
from recitative.music.synth import find_soundfont
from recitative.score.results import Measurement


def report(
    generated: Annotated[Path, typer.Argument(help="A folder of generated pieces.")],
    originals: Annotated[Path, typer.Option(help="A folder of the pieces that they should be like.")],
    output: Annotated[
        Path | None, typer.Option(help="The page to write; GENERATED/report.html by default, none with --json.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers as an object.")] = False,
    players: Annotated[int, typer.Option(min=0, help="Pieces that are shown and played.")] = 12,
    sound: Annotated[bool, typer.Option("--sound/--no-sound", help="Put sound into the page.")] = True,
    soundfont: Annotated[Path | None, typer.Option(help="SoundFont (sf2 or sf3) for the sound.")] = None,
    steps_per_quarter: Annotated[int, typer.Option(min=1, max=48, help="Of the grid on which both are compared.")] = 4,
    results: ResultsOption = None,
    results_md: TableOption = None,
    name: NameOption = "",
    set_name: SetOption = "",
    decoding: HowOption = "-",
    command: CommandOption = "-",
) -> None:
    """Compare generated pieces with a corpus: statistics, the longest copies, piano rolls and players, on one page.

    A copy is the longest stretch of a piece that stands in an original, all voices, note for note, in any key. A bad
    file is named, the others are compared, and the exit status is 1.
    """
    record = Record(results, results_md, name, set_name, decoding, command)
    path = output or (None if as_json else generated / "report.html")
    if path:
        require_folder(path.parent)
    pieces, problems = _read(generated, steps_per_quarter)
    corpus, more = _read(originals, steps_per_quarter)
    comparison = _compared(pieces, corpus, originals.name)
    record.write(_measured(comparison, steps_per_quarter))
    if as_json:
        print(json.dumps(_numbers(comparison)))
    if path:
        font = soundfont or (find_soundfont() if sound else None)
        shown = [_exhibit(piece, sound, font) for piece in track(pieces[:players], "sound", len(pieces[:players]))]
        write_text(path, music_page(shown, title=f"Music of {generated.name}", comparison=comparison))
        print(path, file=sys.stderr if as_json else sys.stdout)
    if problems or more:
        raise DataError.collect([*problems, *more])


def _read(folder: Path, steps_per_quarter: int) -> tuple[list[Piece], list[Problem]]:
    """The pieces, on one grid, and what is wrong with the other files. Raises DataError if all are bad."""
    pieces, errors = read_folder(folder, steps_per_quarter)
    problems = [problem for error in errors for problem in error.problems]
    pieces = [piece.at_resolution(steps_per_quarter) for piece in pieces]
    if not any(piece.notes for piece in pieces):
        raise DataError.collect(problems or [Problem(str(folder), "has no notes in it", "music", "correct the path")])
    return pieces, problems


def _compared(pieces: Sequence[Piece], corpus: Sequence[Piece], corpus_name: str) -> Comparison:
    voices = max(piece.voices for piece in (*pieces, *corpus))
    known = Originals.of(corpus, voices=voices)
    copies = [(piece.name, longest_copy(piece, known)) for piece in track(pieces, "copies", len(pieces))]
    return Comparison(statistics(pieces, voices), statistics(corpus, voices), corpus_name, copies)


def _exhibit(piece: Piece, sound: bool, soundfont: Path | None) -> Exhibit:
    played = synth.mp3_bytes(synth.render(piece, soundfont=soundfont)) if sound else b""
    return Exhibit(piece.name, piece, midi_bytes(piece), played)


def _measured(comparison: Comparison, steps_per_quarter: int) -> list[Measurement]:
    """How far both are apart, from 0 to 1, in what both have; and how much was copied."""
    counts = f"{comparison.generated.pieces} and {comparison.corpus.pieces} pieces"
    apart = distances(comparison.generated, comparison.corpus).to_dict()
    quarters = sorted(copy.length / steps_per_quarter for _, copy in comparison.copies)
    numbers = {f"distance of {name.replace('_', ' ')}": value for name, value in apart.items()}
    numbers |= {"longest copy, quarters": quarters[-1], "longest copy, median": quarters[len(quarters) // 2]}
    return [Measurement(metric, value, counts) for metric, value in numbers.items() if value is not None]


def _numbers(comparison: Comparison) -> dict[str, Any]:
    longest = max((copy for _, copy in comparison.copies), key=lambda copy: copy.length, default=Copy())
    return {
        "generated": comparison.generated.to_dict(),
        "originals": comparison.corpus.to_dict(),
        "distances": distances(comparison.generated, comparison.corpus).to_dict(),
        "longest_copy": longest.to_dict(),
        "copies": {name: copy.to_dict() for name, copy in comparison.copies},
    }
