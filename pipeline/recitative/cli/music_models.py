"""Opening a music model that a user names: a folder runs on PyTorch, a file on ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from recitative.errors import UsageError
from recitative.music.composer import Mixture, Scorer
from recitative.music.event_composer import EventScorer
from recitative.music.event_kind import EVENTS
from recitative.music.kind import MUSIC

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
