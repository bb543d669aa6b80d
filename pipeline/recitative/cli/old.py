"""Verbs of release 0.1 under their old names, hidden from the help. They go with the next release."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from recitative.cli import anomaly, classify, model, music, sound, train
from recitative.cli.anomaly import detect
from recitative.cli.data import hold_out
from recitative.cli.keywords import spot
from recitative.cli.options import NotesFile
from recitative.cli.train import find_batch_size, init_config


def export(
    folder: Annotated[Path, typer.Argument(metavar="MODEL")],
    output: Annotated[Path, typer.Option()],
    int8: Annotated[bool, typer.Option("--int8")] = False,
    notes: NotesFile = None,
) -> None:
    """See 'recitative export'."""
    model.export(folder, output, weights="int8" if int8 else "auto", notes=notes)


VERBS: dict[str, Callable[..., None]] = {
    "suggest": init_config,
    "tune-batch": find_batch_size,
    "spot": spot,
    "watch": detect,
    "data hold-out": hold_out,
    "lm export": export,
    "classifier train": train.train_classifier,
    "classifier score": classify.score,
    "classifier report": classify.report,
    "classifier folds": classify.folds,
    "forecaster train": train.train_forecaster,
    "forecaster threshold": anomaly.threshold,
    "forecaster score": anomaly.score,
    "forecaster export": export,
    "music kept": music.check_constraints,
    "music score": music.score,
    "music report": music.report,
    "music export": export,
    "sound train": train.train_sound,
    "music train": train.train_music,
    "g2p train": train.train_g2p,
    "lm train-recurrent": train.train_recurrent,
    "sound score": sound.score,
    "sound export": export,
}


def add_to(app: typer.Typer, groups: dict[str, typer.Typer]) -> None:
    """Add them all. groups: those that the app has, by name."""
    for words, verb in VERBS.items():
        group, _, name = words.rpartition(" ")
        if group and group not in groups:
            groups[group] = typer.Typer()
            app.add_typer(groups[group], name=group, hidden=True)
        (groups[group] if group else app).command(name, hidden=True)(verb)
