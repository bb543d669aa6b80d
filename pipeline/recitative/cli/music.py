"""``recitative music``: models of written music: train one on a folder of pieces, measure it, put it into one file."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recitative.cli.music_check import check
from recitative.cli.music_kept import kept
from recitative.cli.music_report import report
from recitative.cli.music_score import score
from recitative.cli.notes import NotesFile, read_notes
from recitative.errors import Problem
from recitative.model.kind import load_settings_of
from recitative.models.kinds import MUSIC_KINDS
from recitative.music.event_settings import EventsSettings
from recitative.music.settings import MusicSettings

if TYPE_CHECKING:
    from recitative.train.checkpoint import Progress

Skip = Callable[[Problem], object] | None

app = typer.Typer(
    no_args_is_help=True,
    help="Models of written music: train one on a folder of MIDI files, measure it, export it for 'generate music'.",
)


@app.command()
def train(
    train: Annotated[Path, typer.Option(help="A folder of MIDI or ABC files to train on.")],
    dev: Annotated[Path, typer.Option(help="A folder of pieces that choose the model.")],
    output: Annotated[Path, typer.Option(help="The experiment folder; a run found there is resumed.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[SECTION.KEY=VALUE...]", help="Settings, such as train.epochs=10.")
    ] = None,
    conf: Annotated[Path | None, typer.Option(help="A YAML settings file.")] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out files that cannot be used, and name them on stderr.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress on stderr.")] = False,
) -> None:
    """Train a model of music in voices, or of events ('kind: events'); the one of the best epoch is OUTPUT/model.

    In voices a forward core continues music, a bidirectional one (model.recurrent.direction=bidirectional) fills in
    what is missing; events are any notes, continued. Stop it at any time: the same command goes on and ends in the same
    weights.
    """
    settings = load_settings_of(conf, overrides or [], MUSIC_KINDS)
    skip = _tell_left_out if skip_bad else None
    if settings.kind == "events":
        _train_events(settings, train, dev, output, quiet, skip)
    else:
        _train_voices(settings, train, dev, output, quiet, skip)


def _tell_left_out(problem: Problem) -> None:
    print(f"left out: {problem}", file=sys.stderr)


def _train_voices(settings: MusicSettings, train: Path, dev: Path, output: Path, quiet: bool, skip: Skip) -> None:
    from recitative.music.training import train_music_model

    done = train_music_model(settings, train, dev, output, quiet=quiet, skip=skip)
    fills = settings.model.recurrent.direction == "bidirectional"
    _print_run(done.folder, done.progress, "hidden note" if fills else "token")


def _train_events(
    settings: EventsSettings,
    train: Path,
    dev: Path,
    output: Path,
    quiet: bool,
    skip: Skip,
) -> None:
    from recitative.music.event_training import train_events_model

    done = train_events_model(settings, train, dev, output, quiet=quiet, skip=skip)
    if done.train.cut:
        found = f"{done.train.cut} of {done.train.notes} notes are longer than {settings.events.longest_length} steps"
        print(f"{train}: {found} and end there", file=sys.stderr)
    _print_run(done.folder, done.progress, "token")


def _print_run(folder: Path, progress: Progress, unit: str) -> None:
    score, best = progress.best[0]
    print(
        f"{folder}: {progress.epoch} epochs, {progress.step} steps in {progress.seconds:.0f} s; best on dev: "
        f"epoch {int(best) + 1}, {score:.4f} nats per {unit}"
    )


@app.command()
def export(
    model: Annotated[Path, typer.Argument(help="A music model's folder, such as EXP/model.")],
    output: Annotated[Path, typer.Option(help="The file to write, such as music.onnx.")],
    int8: Annotated[bool, typer.Option("--int8", help="Store weights as int8: a quarter of the size.")] = False,
    notes: NotesFile = None,
) -> None:
    """Write the network with its state as inputs and outputs, and its settings, into one file.

    The file runs without PyTorch.
    """
    from recitative.export.file import export_folder

    size = export_folder(model, MUSIC_KINDS, output, notes=read_notes(notes), int8=int8)
    print(f"{output}: weights in {'int8' if int8 else 'float32'}, {size / 1e6:.1f} MB")


for verb in (check, score, kept, report):
    app.command()(verb)
