"""``recitative train``: train a recogniser, or go on where a run stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from recitative.atomic import write_text
from recitative.config import load_settings


def train(
    train_dir: Annotated[Path, typer.Option("--train", help="The data directory to train on.")],
    dev_dir: Annotated[Path, typer.Option("--dev", help="The data directory that chooses the model.")],
    tokens: Annotated[Path, typer.Option(help="The token table, from 'recitative tokens'.")],
    cmvn: Annotated[Path, typer.Option(help="The normalisation statistics, from 'recitative cmvn'.")],
    output: Annotated[Path, typer.Option(help="The experiment folder; a run found there is resumed.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="Settings, such as train.epochs=10.")] = None,
    conf: Annotated[Path | None, typer.Option(help="A YAML settings file.")] = None,
    lexicon: Annotated[
        Path | None, typer.Option(help="How words sound, where tokens are phones; from 'recitative lexicon'.")
    ] = None,
    teacher: Annotated[
        Path | None, typer.Option(help="A model folder to learn from beside the transcripts; see the settings distill.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress on stderr.")] = False,
) -> None:
    """Train a CTC recogniser. Stop it at any time: the same command goes on and ends in the same weights.

    Watch it with 'tensorboard --logdir EXP/tensorboard', read about it with 'recitative report EXP'.
    """
    settings = load_settings(conf, overrides or ())
    from recitative.recognition.training import TrainingPaths, train_recogniser

    paths = TrainingPaths(train_dir, dev_dir, tokens, cmvn, lexicon, teacher)
    progress = train_recogniser(settings, paths, output, quiet=quiet)
    summary = {"epochs": progress.epoch, "steps": progress.step, "seconds": round(progress.seconds, 1)}
    write_text(output / "summary.json", json.dumps(summary) + "\n")
    best = int(progress.best[0][1]) + 1
    print(
        f"{output}: {progress.epoch} epochs, {progress.step} steps in {progress.seconds:.0f} s, "
        f"{progress.skipped} skipped; best on dev: epoch {best}"
    )
