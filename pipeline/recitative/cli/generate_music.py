"""``recitative generate music``: pieces from nothing, continued, harmonised, or rewritten in part."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from recitative.cli.music_files import Written, require_folder, write_pieces
from recitative.cli.progress import progress_bar
from recitative.errors import DataError, Problem, UsageError
from recitative.models import pretrained
from recitative.models.composer import Sampling, Scorer
from recitative.models.composition import FINER, Draft, Key, Limits, blank, compose, to_continue, to_rewrite
from recitative.models.music_settings import FrameSettings
from recitative.music.folder import read_file
from recitative.music.piece import Piece
from recitative.music.voices import separated

TONICS = {"c": 0, "d": 2, "e": 4, "f": 5, "g": 7, "a": 9, "b": 11}
VOICES = ("soprano", "alto", "tenor", "bass")


def music(
    files: Annotated[
        list[Path] | None, typer.Argument(help="MIDI or ABC files to continue; see --harmonise and --rewrite.")
    ] = None,
    output: Annotated[Path, typer.Option(help="The folder to write to.")] = Path("music"),
    model: Annotated[str, typer.Option(help="A music model's file or folder, or a pretrained one's name.")] = "",
    bars: Annotated[int, typer.Option(min=1, max=1000, help="Bars of four quarters that are new.")] = 12,
    count: Annotated[int, typer.Option(min=1, max=1000, help="Pieces, or versions of each file.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Another number, other pieces; the same, the same bytes.")] = 1,
    temperature: Annotated[float, typer.Option(help="Above 1 more daring, below 1 more usual.")] = 1.0,
    top_p: Annotated[float, typer.Option(help="Draw from the likeliest notes that together have this share.")] = 0.98,
    harmonise: Annotated[
        str, typer.Option(metavar="VOICE", help="The files hold this voice alone; write the others.")
    ] = "",
    rewrite: Annotated[
        str, typer.Option(metavar="VOICES", help="Write these voices of the files anew, such as alto,tenor or all.")
    ] = "",
    rewrite_bars: Annotated[
        str, typer.Option(metavar="FIRST-LAST", help="Rewrite only in these bars, such as 5-8.")
    ] = "",
    key: Annotated[str, typer.Option(help="Only notes of this key, such as G, Bb or F#m.")] = "",
    tempo: Annotated[float, typer.Option(min=10, max=400, help="Quarter notes a minute; 0: the file's.")] = 100.0,
    sweeps: Annotated[
        int, typer.Option(min=1, help="With --harmonise or --rewrite: times that notes are drawn.")
    ] = 100,
    rests: Annotated[bool, typer.Option("--rests", help="New voices may pause.")] = False,
    soundfont: Annotated[Path | None, typer.Option(help="An sf2 or sf3 file to play with.")] = None,
    sound: Annotated[bool, typer.Option("--sound/--no-sound", help="Write WAV files.")] = True,
) -> None:
    """Write pieces: MIDI, WAV, a picture of each, and OUTPUT/index.html to see and hear them.

    Without files the pieces are new. Files are continued; with --harmonise they are a voice, such as a melody, to which
    the others are written; with --rewrite some voices or bars of them are written anew. Every given note stays.
    """
    sampling = _sampling(temperature, top_p)
    if harmonise and rewrite:
        raise UsageError("--harmonise and --rewrite: name one of them")
    if (harmonise or rewrite) and not files:
        raise UsageError(f"--{'harmonise' if harmonise else 'rewrite'}: needs files to work on")
    wanted = _Wanted(harmonise, rewrite, rewrite_bars, bars)
    scorer = open_composer(model, fills=bool(harmonise or rewrite))
    limits = Limits(_key(key) if key else None, rests)
    require_folder(output)
    pieces: list[Written] = []
    problems: list[Problem] = []
    for draft in _drafts(files or [], wanted, scorer.frames, tempo):
        if isinstance(draft, DataError):
            problems.extend(draft.problems)
            continue
        with progress_bar(draft.name) as on_progress:
            made = compose(
                scorer, draft, limits, sampling, count=count, seed=seed, sweeps=sweeps, on_progress=on_progress
            )
        pieces += [(piece, frozenset(draft.given.notes)) for piece in made]
    write_pieces(pieces, output, sound=sound, soundfont=soundfont)
    if problems:
        raise DataError.collect(problems)


@dataclass(frozen=True)
class _Wanted:
    harmonise: str
    rewrite: str
    rewrite_bars: str
    bars: int


def open_composer(model: str, *, fills: bool) -> Scorer:
    """A folder runs on PyTorch, a file on ONNX Runtime; nothing named is the pretrained one for the work.

    Raises DataError for what is no music model, UsageError for one of the other kind.
    """
    path = pretrained.find(model or (pretrained.FILLING if fills else pretrained.MUSIC))
    scorer: Scorer
    if path.is_dir():
        from recitative.generation.music_network import TorchMusic
        from recitative.models.music import load_music_model

        scorer = TorchMusic(load_music_model(path))
    else:
        from recitative.runtime.music import OnnxMusic

        scorer = OnnxMusic(path)
    if scorer.fills != fills:
        does = "fills music in: use it with --harmonise or --rewrite" if scorer.fills else "only continues music"
        raise UsageError(f"{path}: {does}")
    return scorer


def _drafts(files: Sequence[Path], wanted: _Wanted, frames: FrameSettings, tempo: float) -> Iterator[Draft | DataError]:
    """What is to be written; a bad file is an error in its place, and the others go on."""
    steps = wanted.bars * frames.bar
    if not files:
        yield blank(frames, steps, "piece", tempo)
    for path in files:
        try:
            piece = _read(path, frames)
            piece = replace(piece, quarters_per_minute=tempo) if tempo else piece
            yield _draft(piece, wanted, frames, steps)
        except DataError as error:
            yield error


def _draft(piece: Piece, wanted: _Wanted, frames: FrameSettings, steps: int) -> Draft:
    if wanted.harmonise:
        voice = _voice(wanted.harmonise, frames.voices)
        alone = replace(piece, notes=tuple(replace(note, voice=voice) for note in piece.notes))
        return to_rewrite(alone, frames, [v for v in range(frames.voices) if v != voice])
    piece = _in_voices(piece, frames.voices)
    if not wanted.rewrite:
        return to_continue(piece, frames, steps)
    voices = (
        list(range(frames.voices))
        if wanted.rewrite == "all"
        else [_voice(name, frames.voices) for name in wanted.rewrite.split(",")]
    )
    first, last = _span(wanted.rewrite_bars, frames.bar, -(-piece.length // FINER))
    return to_rewrite(piece, frames, voices, first, last)


def _read(path: Path, frames: FrameSettings) -> Piece:
    """The only piece in a file, on the fine grid, named after the file."""
    pieces, errors = read_file(path, frames.steps_per_quarter * FINER)
    if errors:
        raise DataError.collect([problem for error in errors for problem in error.problems])
    piece = pieces[0].at_resolution(frames.steps_per_quarter * FINER)
    return replace(piece, name=path.stem)


def _in_voices(piece: Piece, voices: int) -> Piece:
    return piece if piece.voices == voices else separated(piece, voices)


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


def _key(text: str) -> Key:
    """G, Bb, F#m, 'e minor', a."""
    found = re.fullmatch(r"([A-Ga-g])([#b♯♭]?)\s*(m|min|minor|maj|major|)", text.strip())
    if not found:
        raise UsageError(f"--key {text}: is no key; such as C, Bb, F#m or 'e minor'")
    tonic = TONICS[found[1].lower()] + {"#": 1, "♯": 1, "b": -1, "♭": -1, "": 0}[found[2]]
    return Key(tonic % 12, found[3] in ("m", "min", "minor"))


def _sampling(temperature: float, top_p: float) -> Sampling:
    if not temperature > 0:
        raise UsageError(f"--temperature {temperature:g}: must be above 0; 0.1 is nearly always the likeliest note")
    if not 0 < top_p <= 1:
        raise UsageError(f"--top-p {top_p:g}: must be above 0 and at most 1")
    return Sampling(temperature, top_p)
