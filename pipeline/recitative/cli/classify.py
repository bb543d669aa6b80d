"""``recitative classify``: labels of recordings."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from recitative.errors import DataError

if TYPE_CHECKING:
    from recitative.classification.prediction import Guess

Labelled = Iterator[tuple[str, "Sequence[Guess]"]]


def classify(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Recordings of any rate and channels.")],
    model: Annotated[Path, typer.Option(help="A classifier's folder, such as EXP/model.")],
    top: Annotated[int, typer.Option(min=1, help="The likeliest labels of each recording, so many.")] = 1,
    format: Annotated[
        Literal["text", "json", "csv"], typer.Option(help="text: file, tab, label and probability; a JSON list; csv.")
    ] = "text",
) -> None:
    """Name recordings. A bad one is named and the others are done; then the exit status is 1."""
    from recitative.models.classifier import load_classifier

    classifier = load_classifier(model)
    failed: list[str] = []

    def labelled() -> Labelled:
        from recitative.classification.prediction import label_file

        for file in files:
            try:
                yield file, label_file(classifier, file)[:top]
            except DataError as error:
                print(f"error: {error}", file=sys.stderr)
                failed.append(file)

    {"text": _write_text, "json": _write_json, "csv": _write_csv}[format](labelled())
    if failed and len(files) > 1:
        print(f"{len(failed)} of {len(files)} recordings could not be named", file=sys.stderr)
    if failed:
        raise typer.Exit(1)


def _write_text(labelled: Labelled) -> None:
    for file, guesses in labelled:
        print("\t".join([file, *(f"{guess.label} {guess.probability:.4f}" for guess in guesses)]))


def _write_json(labelled: Labelled) -> None:
    objects = [
        {"file": file, "labels": [{"label": g.label, "probability": g.probability} for g in guesses]}
        for file, guesses in labelled
    ]
    print(json.dumps(objects, ensure_ascii=False, indent=2))


def _write_csv(labelled: Labelled) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["file", "rank", "label", "probability"])
    for file, guesses in labelled:
        writer.writerows([file, rank, g.label, f"{g.probability:.6f}"] for rank, g in enumerate(guesses, start=1))
