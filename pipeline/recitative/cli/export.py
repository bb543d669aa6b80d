"""``recitative export``: a trained model as one file that runs without PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from recitative.cli.notes import NotesFile, read_notes
from recitative.cli.progress import progress_bar

if TYPE_CHECKING:
    from recitative.score.wer import ErrorCounts


def export(
    model: Annotated[Path, typer.Argument(help="A model folder, such as EXP/model.")],
    output: Annotated[Path, typer.Option(help="The file to write, such as model.onnx.")],
    dev: Annotated[
        Path | None, typer.Option(help="A data directory on which int8 is measured against float32.")
    ] = None,
    weights: Annotated[
        Literal["auto", "int8", "float32"],
        typer.Option(help="auto: int8 unless it costs more than 0.2 % of WER on the dev set; int8: or an error."),
    ] = "auto",
    notes: NotesFile = None,
) -> None:
    """Write the network with its state as inputs and outputs, and settings, tokens and normalisation, into one file."""
    from recitative.export.checked import export_recogniser
    from recitative.models.folder import load_recogniser

    recogniser = load_recogniser(model)
    text = read_notes(notes)
    with progress_bar("compare on dev") as show:
        done = export_recogniser(recogniser, output, dev=dev, weights=weights, notes=text, advance=show)
    for name, wer in (("float32", done.float32_wer), ("int8", done.int8_wer)):
        if wer is not None:
            print(f"{name:>7}: {_percent(wer)}{'  <- written' if name == done.weights else ''}")
    saved = f", float32 would be {done.float32_size / 1e6:.1f} MB" if done.weights == "int8" else ""
    print(f"{output}: {done.weights}, {done.size / 1e6:.1f} MB{saved}")


def _percent(wer: ErrorCounts) -> str:
    return f"dev WER {100 * wer.rate:.2f} % [ {wer.errors} / {wer.ref} ]"
