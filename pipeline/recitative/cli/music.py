"""``recitative music``: models of written music: train one on a folder of pieces, measure it, put it into one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recitative.cli.music_check import check
from recitative.cli.music_kept import kept
from recitative.cli.music_report import report
from recitative.cli.music_score import score
from recitative.cli.notes import NotesFile, read_notes
from recitative.models.kinds import MUSIC_KINDS

app = typer.Typer(
    no_args_is_help=True,
    help="Models of written music: train one on a folder of MIDI files, measure it, export it for 'generate music'.",
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
