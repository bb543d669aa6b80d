"""Verbs of release 0.1 under their old names, hidden from the help. They go with the next release."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from recitative.cli import classifier, forecaster, model, music_kept, music_report, music_score, sound, train
from recitative.cli.data import hold_out
from recitative.cli.notes import NotesFile
from recitative.cli.spot import spot
from recitative.cli.suggest import init_config
from recitative.cli.tune_batch import find_batch_size
from recitative.cli.watch import detect


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
    "classifier score": classifier.score,
    "classifier report": classifier.report,
    "classifier folds": classifier.folds,
    "forecaster train": train.train_forecaster,
    "forecaster threshold": forecaster.threshold,
    "forecaster score": forecaster.score,
    "forecaster export": export,
    "music kept": music_kept.kept,
    "music score": music_score.score,
    "music report": music_report.report,
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
