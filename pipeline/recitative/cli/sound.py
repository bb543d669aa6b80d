"""``recitative sound``: models of sound, sample by sample: train one, measure it, put it into one file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recitative.cli.notes import NotesFile, read_notes
from recitative.cli.progress import progress_bar
from recitative.model.kind import kind_of_folder, load_settings_of
from recitative.models.kinds import SOUND_KINDS
from recitative.sound.kinds import SOUND, SPECTROGRAM

if TYPE_CHECKING:
    from recitative.train.checkpoint import Progress

app = typer.Typer(
    no_args_is_help=True,
    help="Models of sound, sample by sample: train one on recordings, export it for 'generate sound' and 'vocode'.",
)


@app.command()
def train(
    train: Annotated[Path, typer.Option(help="A data directory to train on.")],
    dev: Annotated[Path, typer.Option(help="A data directory that chooses the model.")],
    output: Annotated[Path, typer.Option(help="The experiment folder; a run found there is resumed.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[SECTION.KEY=VALUE...]", help="Settings, such as train.epochs=10.")
    ] = None,
    conf: Annotated[Path | None, typer.Option(help="A YAML settings file.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress on stderr.")] = False,
) -> None:
    """Train a model of sound; the model of the best epoch is OUTPUT/model.

    sound.condition says what it is told: mel frames (a vocoder), labels (a recording's text and speaker), or nothing.
    'kind: spectrogram' in CONF draws mel frames from labels, for a vocoder to make sound of. Stop it at any time: the
    same command goes on and ends in the same weights.
    """
    settings = load_settings_of(conf, overrides or [], SOUND_KINDS)
    with progress_bar("reading") as show:
        if settings.kind == "spectrogram":
            from recitative.sound.spectrogram_training import train_spectrogram_model

            drawing = train_spectrogram_model(settings, train, dev, output, quiet=quiet, on_progress=show)
            _print_run(drawing.folder, drawing.progress, "dimension")
        else:
            from recitative.sound.wave_training import train_wave_model

            sounding = train_wave_model(settings, train, dev, output, quiet=quiet, on_progress=show)
            _print_run(sounding.folder, sounding.progress, "sample")


def _print_run(folder: Path, progress: Progress, unit: str) -> None:
    score, best = progress.best[0]
    print(
        f"{folder}: {progress.epoch} epochs, {progress.step} steps in {progress.seconds:.0f} s; best on dev: "
        f"epoch {int(best) + 1}, {score:.4f} nats per {unit}"
    )


@app.command()
def score(
    model: Annotated[Path, typer.Argument(help="A sound model's folder, such as EXP/model.")],
    data: Annotated[Path, typer.Argument(help="A data directory.")],
) -> None:
    """Print how probable recordings are to a model: nats a sample, each sample given those before it.

    Of a model of mel frames, nats a dimension of the normalised frames.
    """
    with progress_bar("reading") as show:
        from recitative.model.folder import load_model

        if kind_of_folder(model, SOUND_KINDS) is SPECTROGRAM:
            from recitative.sound.spectrogram_task import nats_per_dimension
            from recitative.sound.spectrogram_training import read_directory as read_spectrograms

            drawing = load_model(model, SPECTROGRAM)
            nats, count = nats_per_dimension(drawing, read_spectrograms(data, drawing, show))
            unit, counted = "dimension", "frames"
        else:
            from recitative.sound.wave_task import nats_per_sample
            from recitative.sound.wave_training import read_directory

            loaded = load_model(model, SOUND)
            nats, count = nats_per_sample(loaded, read_directory(data, loaded, show))
            unit, counted = "sample", "samples"
    print(f"{nats:.4f} nats per {unit} ({count} {counted})")


@app.command()
def export(
    model: Annotated[Path, typer.Argument(help="A sound model's folder, such as EXP/model.")],
    output: Annotated[Path, typer.Option(help="The file to write, such as sound.onnx.")],
    notes: NotesFile = None,
) -> None:
    """Write the network, which draws a step of samples or a mel frame at a call, and its settings into one file.

    The file runs without PyTorch.
    """
    from recitative.export.file import export_folder

    size = export_folder(model, SOUND_KINDS, output, notes=read_notes(notes))
    print(f"{output}: float32, {size / 1e6:.1f} MB")
