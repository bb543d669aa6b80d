"""``recitative generate music``: pieces from nothing, continued, harmonised, or rewritten in part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from recitative import pretrained
from recitative.cli.music_drafts import Wanted
from recitative.cli.music_files import Written, require_folder, write_pieces
from recitative.cli.music_models import OthersOption, open_composer, open_events, refuse_others
from recitative.cli.music_wishes import parse_key, parse_pitches, parse_sampling
from recitative.cli.music_writers import NEW, Drawing, Writer, events_writer, voices_writer
from recitative.cli.progress import progress_bar
from recitative.errors import DataError, Problem, UsageError
from recitative.kinds import MUSIC_KINDS, kind_of
from recitative.music.composition import Limits
from recitative.music.event_composer import EventLimits
from recitative.music.event_kind import EVENTS
from recitative.music.folder import read_file
from recitative.music.piece import Piece

QUARTERS_PER_MINUTE = 100.0  # of new pieces, if the tempo is to be the file's
SLOWEST = 10
FILLING_TEMPERATURE = 0.7  # temperature: of notes that are drawn again and again, the unlikely ones would gather


def music(
    files: Annotated[
        list[Path] | None, typer.Argument(help="MIDI or ABC files to continue, or for --harmonise and --rewrite.")
    ] = None,
    output: Annotated[Path, typer.Option(help="Output folder.")] = Path("music"),
    model: Annotated[str, typer.Option(help="Music model: folder, exported file, or pretrained name.")] = "",
    others: OthersOption = None,
    bars: Annotated[
        int,
        typer.Option(
            min=1, max=1000, help="Number of new bars of four quarter notes. A model of events may end before."
        ),
    ] = 12,
    count: Annotated[int, typer.Option(min=1, max=1000, help="Number of pieces, or of versions of each file.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Random seed. Equal seeds give identical files.")] = 1,
    temperature: Annotated[
        float | None,
        typer.Option(help=f"Above 1 more daring, below 1 more usual; 1, or {FILLING_TEMPERATURE} for filling in."),
    ] = None,
    top_p: Annotated[float, typer.Option(help="Nucleus (top-p) sampling threshold.")] = 0.98,
    harmonise: Annotated[
        str, typer.Option(metavar="VOICE", help="Add the other voices to files that hold this voice.")
    ] = "",
    rewrite: Annotated[
        str, typer.Option(metavar="VOICES", help="Regenerate these voices of the files, such as alto,tenor or all.")
    ] = "",
    rewrite_bars: Annotated[
        str, typer.Option(metavar="FIRST-LAST", help="With --rewrite: only these bars, such as 5-8.")
    ] = "",
    key: Annotated[str, typer.Option(help="Use only notes of this key, such as G, Bb or F#m.")] = "",
    pitches: Annotated[
        str, typer.Option(metavar="LOW-HIGH", help="Use only these MIDI pitches, such as 60-84. Only models of events.")
    ] = "",
    tempo: Annotated[float, typer.Option(min=0, max=400, help="Quarter notes per minute. 0: as in the file.")] = 100.0,
    sweeps: Annotated[int, typer.Option(min=1, help="Gibbs sampling passes, with --harmonise or --rewrite.")] = 100,
    rests: Annotated[bool, typer.Option("--rests", help="Allow rests. Only models of voices.")] = False,
    soundfont: Annotated[Path | None, typer.Option(help="SoundFont (sf2 or sf3) for the sound.")] = None,
    sound: Annotated[bool, typer.Option("--sound/--no-sound", help="Write WAV files.")] = True,
) -> None:
    """Generate music: MIDI, WAV, pictures, and a page OUTPUT/index.html.

    Without files, new pieces. Given files are continued; --harmonise adds voices, --rewrite replaces parts.
    Given notes never change.

    \b
    recitative generate music --count 4 --key G
    recitative generate music tune.mid --bars 8
    recitative generate music melody.mid --harmonise soprano
    """
    wanted = Wanted(harmonise, rewrite, rewrite_bars, bars)
    usual = FILLING_TEMPERATURE if wanted.option else 1.0
    drawing = Drawing(parse_sampling(usual if temperature is None else temperature, top_p), count, seed, sweeps)
    if wanted.option and not files:
        raise UsageError(f"{wanted.option}: needs files to work on")
    if 0 < tempo < SLOWEST:
        raise UsageError(f"--tempo {tempo:g}: must be at least {SLOWEST}, or 0 for the file's")
    path = pretrained.find(model or (pretrained.FILLING if wanted.option else pretrained.MUSIC))
    if kind_of(path, MUSIC_KINDS) is EVENTS:
        refuse_others(others, path)
        _require_no_voices(path, {wanted.option: wanted.option, "--rests": rests})
        limits = EventLimits(parse_key(key), *parse_pitches(pitches))
        writer = events_writer(open_events(path), bars, limits, drawing)
    else:
        if pitches:
            raise UsageError(f"--pitches: {path} writes in voices, each of which has its range; use a model of events")
        paths = [path, *map(pretrained.find, others or ())]
        composer = open_composer(paths, fills=bool(wanted.option))
        writer = voices_writer(composer, wanted, Limits(parse_key(key), rests), drawing)
    require_folder(output)
    pieces, problems = _written(files or [], writer, tempo)
    write_pieces(pieces, output, sound=sound, soundfont=soundfont)
    if problems:
        raise DataError.collect(problems)


def _require_no_voices(path: Path, options: Mapping[str, object]) -> None:
    for option, given in options.items():
        if given:
            raise UsageError(f"{option}: {path} writes events and knows no parts to be filled; use a model of voices")


def _written(files: Sequence[Path], writer: Writer, tempo: float) -> tuple[list[Written], list[Problem]]:
    """What comes of each file, or of none; a bad file is a problem, and the others go on."""
    pieces: list[Written] = []
    problems: list[Problem] = []
    for path in files or (None,):
        try:
            piece = _read(path, writer.steps_per_quarter, tempo) if path else None
            with progress_bar(path.stem if path else NEW) as on_progress:
                pieces += writer.write(piece, tempo or QUARTERS_PER_MINUTE, on_progress)
        except DataError as error:
            problems.extend(error.problems)
    return pieces, problems


def _read(path: Path, steps_per_quarter: int, tempo: float) -> Piece:
    """The only piece in a file, on the fine grid, named after the file; tempo 0: as it is."""
    pieces, errors = read_file(path, steps_per_quarter)
    if errors:
        raise DataError.collect([problem for error in errors for problem in error.problems])
    piece = replace(pieces[0].at_resolution(steps_per_quarter), name=path.stem)
    return replace(piece, quarters_per_minute=tempo) if tempo else piece
