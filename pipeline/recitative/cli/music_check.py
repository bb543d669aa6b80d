"""``recitative music check``: whether a model's settings can read every piece of some folders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recitative.errors import DataError, Problem
from recitative.kinds import MUSIC_KINDS
from recitative.model.kind import load_settings_of
from recitative.music.event_composer import read_event_pieces
from recitative.music.event_settings import EventsSettings
from recitative.music.settings import MusicSettings


def check(
    folders: Annotated[list[Path], typer.Argument(help="Folders of MIDI or ABC files.")],
    conf: Annotated[Path | None, typer.Option(help="Settings of a model.")] = None,
) -> None:
    """Count pieces and frames of folders of music, and report files that cannot be read.

    \b
    recitative music check data/train --conf conf/chorales.yaml
    """
    settings = load_settings_of(conf, [], MUSIC_KINDS)
    problems: list[Problem] = []
    for folder in folders:
        try:
            print(_counts(folder, settings))
        except DataError as error:
            problems.extend(error.problems)
    if problems:
        raise DataError.collect(problems)


def _counts(folder: Path, settings: MusicSettings | EventsSettings) -> str:
    if settings.kind == "events":
        found = read_event_pieces(folder, settings.events)
        cut = f"{found.cut} of them cut to {settings.events.longest_length} steps"
        return f"{folder}: {len(found.pieces)} pieces, {found.notes} notes, {cut}"
    from recitative.music.pieces import read_pieces

    pieces = read_pieces(folder, settings)
    frames = sum(len(piece.tokens) for piece in pieces)
    sounding = sum(int((piece.tokens < settings.frames.code.silence).sum()) for piece in pieces)
    return f"{folder}: {len(pieces)} pieces, {frames} frames, {sounding / max(1, frames):.2f} voices sound in one"
