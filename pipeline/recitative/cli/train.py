"""``recitative train``: train a recogniser, or go on where a run stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from recitative.atomic import write_text
from recitative.config import load_settings


def train(
    train_dir: Annotated[Path, typer.Option("--train", help="The data directory, or folder of shards, to train on.")],
    dev_dir: Annotated[Path, typer.Option("--dev", help="The data directory that chooses the model.")],
    tokens: Annotated[Path, typer.Option(help="The token table, from 'recitative tokens'.")],
    output: Annotated[Path, typer.Option(help="The experiment folder; a run found there is resumed.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="Settings, such as train.epochs=10.")] = None,
    conf: Annotated[Path | None, typer.Option(help="A YAML settings file.")] = None,
    lexicon: Annotated[
        Path | None, typer.Option(help="How words sound, where tokens are phones; from 'recitative lexicon'.")
    ] = None,
    cmvn: Annotated[
        Path | None,
        typer.Option(help="The normalisation statistics, from 'recitative cmvn'; default: those of --init."),
    ] = None,
    init: Annotated[
        Path | None, typer.Option(help="A model folder whose weights the run begins with; its tokens may be others.")
    ] = None,
    teacher: Annotated[
        Path | None, typer.Option(help="A model folder to learn from beside the transcripts; see the settings distill.")
    ] = None,
    unlabelled: Annotated[
        Path | None, typer.Option(help="More audio that only the teacher listens to, without transcripts.")
    ] = None,
    alternatives: Annotated[
        Path | None, typer.Option(help="What 'recitative decode --nbest' wrote of the training data with a teacher.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress on stderr.")] = False,
) -> None:
    """Train a CTC recogniser. Stop it at any time: the same command goes on and ends in the same weights.

    With several workers: 'torchrun --standalone --nproc-per-node 2 -m recitative train ...'.

    Watch it with 'tensorboard --logdir EXP/tensorboard', read about it with 'recitative report EXP'.
    """
    settings = load_settings(conf, overrides or ())
    from recitative.asr.training import TrainingPaths, train_recogniser
    from recitative.train.distributed import is_first_rank

    paths = TrainingPaths(train_dir, dev_dir, tokens, cmvn, lexicon, init, teacher, unlabelled, alternatives)
    progress = train_recogniser(settings, paths, output, quiet=quiet)
    if not is_first_rank():
        return
    summary = {"epochs": progress.epoch, "steps": progress.step, "seconds": round(progress.seconds, 1),
               "wait_s": round(progress.wait_s, 1), "splits": progress.splits}  # fmt: skip
    write_text(output / "summary.json", json.dumps(summary) + "\n")
    padding = 1 - progress.audio_s / progress.padded_s if progress.padded_s else 0.0
    best = int(progress.best[0][1]) + 1
    print(
        f"{output}: {progress.epoch} epochs, {progress.step} steps in {progress.seconds:.0f} s, "
        f"{progress.skipped} skipped; waited {progress.wait_s:.1f} s for data, {padding:.1%} padding; best on dev: "
        f"epoch {best}"
    )
