"""``recitative generate music``: models, the request, what is given, and the files that are written."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from recitative import pretrained
from recitative.atomic import write_bytes, write_text
from recitative.audio.files import write_wav
from recitative.cli.options import require_folder
from recitative.cli.progress import progress_bar, track
from recitative.errors import DataError, Problem, UsageError
from recitative.kinds import MUSIC_KINDS, kind_of
from recitative.lm.sampling import Sampling
from recitative.music import synth
from recitative.music.composer import EventScorer, Mixture, OnProgress, Scorer, Span
from recitative.music.composition import (
    FINER,
    Draft,
    EventLimits,
    Key,
    Limits,
    blank,
    compose,
    compose_events,
    nothing_given,
    to_continue,
    to_rewrite,
)
from recitative.music.kind import EVENTS, MUSIC
from recitative.music.midi import midi_bytes
from recitative.music.page import Exhibit, music_page, piano_roll
from recitative.music.piece import HIGHEST, LOWEST, Note, Piece, separated
from recitative.music.pieces import read_file
from recitative.music.settings import FrameSettings
from recitative.music.synth import find_soundfont
from recitative.report.figure import save_figure

OthersOption = Annotated[
    list[str] | None,
    typer.Option("--with", help="Further model; the probabilities are averaged. Only models of voices."),
]


def open_events(path: Path) -> EventScorer:
    """Raises DataError for what is no model of events."""
    from recitative.export.opening import open_model

    scorer: EventScorer = open_model(path, [EVENTS])
    return scorer


def refuse_others(others: Sequence[str] | None, path: Path) -> None:
    """Raises UsageError if a model of events is to write with others."""
    if others:
        raise UsageError(f"--with: {path} writes events; only models of voices write together")


def open_voices(paths: Sequence[Path]) -> Scorer:
    """Models of voices that write as one. Raises DataError for what is none, UsageError for some that do not fit."""
    from recitative.export.opening import open_model

    scorers: list[Scorer] = [open_model(path, [MUSIC]) for path in paths]
    return scorers[0] if len(scorers) == 1 else Mixture(scorers)


def open_composer(paths: Sequence[Path], *, fills: bool) -> Scorer:
    """The same for a piece of work. Raises UsageError as well for models that do not do it."""
    scorer = open_voices(paths)
    if scorer.fills != fills:
        does = "fills music in: use it with --harmonise or --rewrite" if scorer.fills else "only continues music"
        raise UsageError(f"{paths[0]}: {does}")
    return scorer


# Options of sampling and range

TONICS = {"c": 0, "d": 2, "e": 4, "f": 5, "g": 7, "a": 9, "b": 11}
ACCIDENTALS = {"#": 1, "♯": 1, "b": -1, "♭": -1, "": 0}


def parse_key(text: str) -> Key | None:
    """G, Bb, F#m, 'e minor', a; nothing is any key. Raises UsageError for anything else."""
    if not text:
        return None
    found = re.fullmatch(r"([A-Ga-g])([#b♯♭]?)\s*(m|min|minor|maj|major|)", text.strip())
    if not found:
        raise UsageError(f"--key {text}: is no key; such as C, Bb, F#m or 'e minor'")
    tonic = TONICS[found[1].lower()] + ACCIDENTALS[found[2]]
    return Key(tonic % 12, found[3] in ("m", "min", "minor"))


def parse_pitches(text: str) -> tuple[int, int]:
    """LOW-HIGH, MIDI numbers; nothing is any. Raises UsageError for anything else."""
    if not text:
        return LOWEST, HIGHEST
    found = re.fullmatch(r"(\d+)-(\d+)", text.strip())
    if not found or not int(found[1]) <= int(found[2]) <= HIGHEST:
        raise UsageError(f"--pitches {text}: LOW-HIGH, MIDI numbers up to {HIGHEST}, such as 60-84; 60 is middle C")
    return int(found[1]), int(found[2])


def parse_sampling(temperature: float, top_p: float, likeliest: str = "the likeliest note") -> Sampling:
    """Raises UsageError for numbers that make no distribution."""
    if not temperature > 0:
        raise UsageError(f"--temperature {temperature:g}: must be above 0; 0.1 is nearly always {likeliest}")
    if not 0 < top_p <= 1:
        raise UsageError(f"--top-p {top_p:g}: must be above 0 and at most 1")
    return Sampling(temperature, top_p)


# Generation by a model of voices or of events

NEW = "piece"  # the name of pieces without a given one

Written = tuple[Piece, frozenset[Note]]  # and those of its notes that were given
Write = Callable[[Piece | None, float, OnProgress], list[Written]]


@dataclass(frozen=True)
class Drawing:
    """How notes are drawn. sweeps: times that each is, of a model that fills in."""

    sampling: Sampling
    count: int
    seed: int
    sweeps: int


@dataclass(frozen=True)
class Writer:
    """write: a piece that is given, with ``steps_per_quarter``, or none; the tempo of new ones -> its versions."""

    steps_per_quarter: int
    write: Write


def voices_writer(scorer: Scorer, wanted: Wanted, limits: Limits, drawing: Drawing) -> Writer:
    """Continues pieces, or fills in what is wanted of them."""
    frames = scorer.frames

    def write(piece: Piece | None, tempo: float, on_progress: OnProgress) -> list[Written]:
        draft = draft_of(piece, wanted, frames) if piece else new_draft(wanted, frames, NEW, tempo)
        made = compose(
            scorer, draft, limits, drawing.sampling, count=drawing.count, seed=drawing.seed, sweeps=drawing.sweeps,
            on_progress=on_progress,
        )  # fmt: skip
        return [(one, frozenset(draft.given.notes)) for one in made]

    return Writer(frames.steps_per_quarter * FINER, write)


def events_writer(scorer: EventScorer, bars: int, limits: EventLimits, drawing: Drawing) -> Writer:
    """Continues pieces. What is given was complete, perhaps: it goes on for a bar before it may end."""
    events = scorer.events

    def write(piece: Piece | None, tempo: float, on_progress: OnProgress) -> list[Written]:
        span = Span(bars * events.bar, events.bar if piece else 0)
        given = piece or nothing_given(events, NEW, tempo)
        made = compose_events(
            scorer, given, limits, span, drawing.sampling, count=drawing.count, seed=drawing.seed,
            on_progress=on_progress,
        )  # fmt: skip
        return [(one, frozenset(given.notes)) for one in made]

    return Writer(events.steps_per_quarter * FINER, write)


# Given pieces: voices and bars of MIDI and ABC files

VOICES = ("soprano", "alto", "tenor", "bass")


@dataclass(frozen=True)
class Wanted:
    """harmonise: the voice that is given; rewrite: voices that are written anew, rewrite_bars: only in these; bars:
    that are new. Raises UsageError for two kinds of work at once."""

    harmonise: str
    rewrite: str
    rewrite_bars: str
    bars: int

    def __post_init__(self) -> None:
        if self.harmonise and self.rewrite:
            raise UsageError("--harmonise and --rewrite: name one of them")
        if self.rewrite_bars and not self.rewrite:
            raise UsageError("--rewrite-bars: needs --rewrite, which names the voices")

    @property
    def option(self) -> str:
        """That which asks for something to be filled in, if any does."""
        return "--harmonise" if self.harmonise else "--rewrite" if self.rewrite else ""


def new_draft(wanted: Wanted, frames: FrameSettings, name: str, tempo: float) -> Draft:
    """Nothing is given."""
    return blank(frames, wanted.bars * frames.bar, name, tempo)


def draft_of(piece: Piece, wanted: Wanted, frames: FrameSettings) -> Draft:
    """Raises UsageError for voices and bars that there are not, DataError for notes that the model does not know."""
    if wanted.harmonise:
        voice = _voice(wanted.harmonise, frames.voices)
        alone = replace(piece, notes=tuple(replace(note, voice=voice) for note in piece.notes))
        return to_rewrite(alone, frames, [v for v in range(frames.voices) if v != voice])
    piece = piece if piece.voices == frames.voices else separated(piece, frames.voices)
    if not wanted.rewrite:
        return to_continue(piece, frames, wanted.bars * frames.bar)
    voices = (
        list(range(frames.voices))
        if wanted.rewrite == "all"
        else [_voice(name, frames.voices) for name in wanted.rewrite.split(",")]
    )
    first, last = _span(wanted.rewrite_bars, frames.bar, -(-piece.length // FINER))
    return to_rewrite(piece, frames, voices, first, last)


def _voice(name: str, voices: int) -> int:
    """A voice's place, from its name or its number from 1."""
    name = name.strip().lower()
    if voices == len(VOICES) and name in VOICES:
        return VOICES.index(name)
    if name.isdigit() and 1 <= int(name) <= voices:
        return int(name) - 1
    named = f"{', '.join(VOICES)}, or " if voices == len(VOICES) else ""
    raise UsageError(f"'{name}': is no voice; {named}1 to {voices}")


def _span(text: str, bar: int, steps: int) -> tuple[int, int]:
    if not text:
        return 0, -1
    found = re.fullmatch(r"(\d+)-(\d+)", text)
    bars = -(-steps // bar)
    if not found or not 1 <= int(found[1]) <= int(found[2]) <= bars:
        raise UsageError(f"--rewrite-bars {text}: FIRST-LAST, from 1 to {bars}, such as 1-{min(4, bars)}")
    return (int(found[1]) - 1) * bar, min(int(found[2]) * bar, steps)


# Output: MIDI, sound, picture, and a page


PAGE = "index.html"


def write_pieces(pieces: Sequence[Written], output: Path, *, sound: bool, soundfont: Path | None) -> None:
    """NAME.mid, NAME.svg and NAME.wav of each piece, and the page. Prints each MIDI file's path."""
    if soundfont is None and sound:
        soundfont = find_soundfont()
    exhibits = [
        _write(piece, given, output, sound=sound, soundfont=soundfont)
        for piece, given in track(pieces, "writing", len(pieces))
    ]
    if exhibits:
        write_text(output / PAGE, music_page(exhibits, title="Music"))
        print(f"to see and hear: {output / PAGE}", file=sys.stderr)


def _write(piece: Piece, given: frozenset[Note], output: Path, *, sound: bool, soundfont: Path | None) -> Exhibit:
    path = output / f"{piece.name}.mid"
    content = midi_bytes(piece)
    write_bytes(path, content)
    save_figure(piano_roll(piece, given=given or None).figure, path.with_suffix(".svg"))
    played = b""
    if sound:
        samples = synth.render(piece, soundfont=soundfont)
        write_wav(path.with_suffix(".wav"), samples, synth.SAMPLE_RATE)
        played = synth.mp3_bytes(samples)
    print(path)
    return Exhibit(piece.name, piece, content, played, given=given or None)


# ``recitative generate music``: pieces from nothing, continued, harmonised, or rewritten in part.

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
