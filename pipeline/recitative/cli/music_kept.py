"""``recitative music check-constraints``: whether generated pieces hold all given notes and keep to their ranges."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from recitative.cli.music_drafts import VOICES
from recitative.cli.results import (
    CommandOption,
    HowOption,
    NameOption,
    Record,
    ResultsOption,
    SetOption,
    TableOption,
)
from recitative.config import load_tree
from recitative.errors import DataError, RunError, UsageError
from recitative.music.composition import FINER, Kept
from recitative.music.composition import kept as kept_in
from recitative.music.counterpoint import Share
from recitative.music.folder import SUFFIXES, read_file
from recitative.music.piece import Note, Piece
from recitative.music.settings import FrameSettings, MusicSettings
from recitative.score.results import Measurement


def kept(
    written: Annotated[Path, typer.Argument(help="Output folder of 'generate music'.")],
    conf: Annotated[Path, typer.Option(help="Settings of the model, such as exp/chorales/model/settings.yaml.")],
    given: Annotated[Path | None, typer.Option(help="Folder of the given pieces, with the same names.")] = None,
    voices: Annotated[str, typer.Option(help="Given voices, such as soprano,bass or 1,4. Default: all.")] = "",
    results: ResultsOption = None,
    results_md: TableOption = None,
    name: NameOption = "",
    set_name: SetOption = "",
    decoding: HowOption = "-",
    command: CommandOption = "-",
) -> None:
    """Check generated pieces: share of given notes that they keep, share of new notes within the ranges of the voices.

    The piece NAME-3.mid belongs to the given piece NAME. The exit status is 1 if a given note is missing.

    \b
    recitative music check-constraints samples --given melodies --conf exp/chorales/model/settings.yaml
    """
    record = Record(results, results_md, name, set_name, decoding, command)
    settings = load_tree(MusicSettings, conf)
    frames = settings.frames
    ranges = frames.ranges or ((frames.lowest, frames.highest),) * frames.voices
    found = Kept(Share(0, 0), Share(0, 0))
    for path in _files(written):
        sounds = _given_to(path, given, frames, _numbers(voices)) if given else []
        found += kept_in(_piece(path, frames), sounds, ranges)
    record.write(_measured(found), settings)
    _print(found)
    if found.given.count < found.given.of:
        raise RunError(f"{written}: {found.given.of - found.given.count} given notes are not there")


def _files(folder: Path) -> list[Path]:
    """Raises DataError for a folder without music."""
    files = sorted(path for path in folder.glob("*") if path.suffix.lower() in SUFFIXES)
    if not files:
        raise DataError(str(folder), "has no music in it", f"files {', '.join(SUFFIXES)}", "correct the path")
    return files


def _given_to(path: Path, given: Path, frames: FrameSettings, voices: set[int]) -> list[Note]:
    """The notes of the file after which a written one is named. Raises DataError if there is none."""
    sources = {source.stem: source for source in _files(given)}
    source = sources.get(path.stem) or sources.get(re.sub(r"-\d+$", "", path.stem))
    if not source:
        raise DataError(str(path), f"has no piece of its name in {given}", "NAME or NAME-1", "name the folder it is of")
    return [note for note in _piece(source, frames).notes if not voices or note.voice in voices]


def _piece(path: Path, frames: FrameSettings) -> Piece:
    """On the grid of what 'generate music' writes."""
    pieces, errors = read_file(path, frames.steps_per_quarter * FINER)
    if errors:
        raise errors[0]
    return replace(pieces[0].at_resolution(frames.steps_per_quarter * FINER), name=path.stem)


def _numbers(voices: str) -> set[int]:
    names = [name.strip().lower() for name in voices.split(",") if name.strip()]
    for name in names:
        if name not in VOICES and not (name.isdigit() and int(name)):
            raise UsageError(f"--voices {name}: is no voice; {', '.join(VOICES)}, or a number from 1")
    return {VOICES.index(name) if name in VOICES else int(name) - 1 for name in names}


def _measured(found: Kept) -> list[Measurement]:
    shares = (("given notes kept", found.given), ("new notes in range", found.new))
    return [Measurement.of_share(metric, share.count, share.of) for metric, share in shares if share.of]


def _print(found: Kept) -> None:
    for one in _measured(found):
        print(f"{one.value:.2f} {one.metric} [ {one.counts} ]")
