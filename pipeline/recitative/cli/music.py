"""``recitative music``: models of written music: train one on a folder of pieces, measure it, put it into one file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from recitative.config import load_tree
from recitative.errors import UsageError
from recitative.models.music_settings import MusicSettings

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
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress on stderr.")] = False,
) -> None:
    """Train a model of music in voices; the model of the best epoch is OUTPUT/model.

    A forward core continues music, a bidirectional one (model.recurrent.direction=bidirectional) fills in what is
    missing. Stop it at any time: the same command goes on and ends in the same weights.
    """
    settings = load_tree(MusicSettings, conf, overrides or [])
    from recitative.generation.music_training import train_music_model

    done = train_music_model(settings, train, dev, output, quiet=quiet)
    progress = done.progress
    score, best = progress.best[0]
    unit = "hidden note" if settings.model.recurrent.direction == "bidirectional" else "token"
    print(
        f"{done.folder}: {progress.epoch} epochs, {progress.step} steps in {progress.seconds:.0f} s; best on dev: "
        f"epoch {int(best) + 1}, {score:.4f} nats per {unit}"
    )


@app.command()
def score(
    model: Annotated[Path, typer.Argument(help="A music model's folder, such as EXP/model.")],
    pieces: Annotated[Path, typer.Argument(help="A folder of MIDI or ABC files.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print an object.")] = False,
) -> None:
    """Print how probable pieces are to a model: nats a frame and nats a token, each frame given those before it.

    A frame is a step of the model's grid, a token what one voice has in it. The model is told nothing about a piece,
    but for the tonic where pieces.key says that all pieces have the same.
    """
    from recitative.generation.likelihood import likelihood
    from recitative.generation.music_training import read_pieces
    from recitative.models.music import load_music_model

    loaded = load_music_model(model)
    if loaded.fills:
        raise UsageError(f"{model}: fills in what is missing and has no likelihood of a whole; name one that continues")
    found = likelihood(loaded, read_pieces(pieces, loaded.settings))
    facts = {"nats_per_frame": found.per_frame, "nats_per_token": found.per_token, "frames": found.frames}
    if as_json:
        print(json.dumps(facts))
        return
    print(f"{found.per_frame:.4f} nats per frame, {found.per_token:.4f} nats per token ({found.frames} frames)")


@app.command()
def export(
    model: Annotated[Path, typer.Argument(help="A music model's folder, such as EXP/model.")],
    output: Annotated[Path, typer.Option(help="The file to write, such as music.onnx.")],
    int8: Annotated[bool, typer.Option("--int8", help="Store weights as int8: a quarter of the size.")] = False,
    notes: Annotated[str, typer.Option(help="A text to keep in the file: licence, corpus, likelihoods.")] = "",
) -> None:
    """Write the network with its state as inputs and outputs, and its settings, into one file.

    The file runs without PyTorch.
    """
    from recitative.export.music import export_music
    from recitative.models.music import load_music_model

    size = export_music(load_music_model(model), output, notes=notes, int8=int8)
    print(f"{output}: weights in {'int8' if int8 else 'float32'}, {size / 1e6:.1f} MB")
