"""``recitative export``: a trained model as one file that runs without PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from recitative.cli.notes import NotesFile, read_notes
from recitative.cli.progress import Show, progress_bar

if TYPE_CHECKING:
    from recitative.model.export.smallest import Exported, Weights
    from recitative.score.wer import ErrorCounts


def export(
    model: Annotated[Path, typer.Argument(help="A recogniser's or classifier's folder, such as EXP/model.")],
    output: Annotated[Path, typer.Option(help="The file to write, such as model.onnx.")],
    dev: Annotated[
        Path | None, typer.Option(help="A data directory on which int8 is measured against float32.")
    ] = None,
    weights: Annotated[
        Literal["auto", "int8", "float32"],
        typer.Option(
            help="auto: int8 unless it costs more than 0.2 % of WER, or of accuracy, on the dev set; int8: or an error."
        ),
    ] = "auto",
    notes: NotesFile = None,
) -> None:
    """Write the network with its state as inputs and outputs, settings, tokens or labels, normalisation: one file."""
    from recitative.classification.kind import CLASSIFIER
    from recitative.model.kind import name_in_settings

    names = name_in_settings(model) == CLASSIFIER.name
    write = _export_classifier if names else _export_recogniser
    with progress_bar("compare on dev") as show:
        done = write(model, output, dev, weights, read_notes(notes), show)
    for form, errors in (("float32", done.float32_errors), ("int8", done.int8_errors)):
        if errors is not None:
            rate = _accuracy(errors) if names else _wer(errors)
            print(f"{form:>7}: {rate}{'  <- written' if form == done.weights else ''}")
    saved = f", float32 would be {done.float32_size / 1e6:.1f} MB" if done.weights == "int8" else ""
    print(f"{output}: {done.weights}, {done.size / 1e6:.1f} MB{saved}")


def _export_recogniser(
    model: Path, output: Path, dev: Path | None, weights: Weights, notes: str, show: Show
) -> Exported:
    from recitative.asr.recognizer_kind import RECOGNIZER
    from recitative.export.checked import export_recogniser
    from recitative.model.folder import load_model

    return export_recogniser(load_model(model, RECOGNIZER), output, dev=dev, weights=weights, notes=notes, advance=show)


def _export_classifier(
    model: Path, output: Path, dev: Path | None, weights: Weights, notes: str, show: Show
) -> Exported:
    from recitative.classification.kind import CLASSIFIER
    from recitative.export.checked import export_classifier
    from recitative.model.folder import load_model

    return export_classifier(load_model(model, CLASSIFIER), output, dev=dev, weights=weights, notes=notes, advance=show)


def _wer(errors: ErrorCounts) -> str:
    return f"dev WER {100 * errors.rate:.2f} % [ {errors.errors} / {errors.ref} ]"


def _accuracy(errors: ErrorCounts) -> str:
    return f"dev accuracy {100 * (1 - errors.rate):.2f} % [ {errors.correct} / {errors.ref} ]"
