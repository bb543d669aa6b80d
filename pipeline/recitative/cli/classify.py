"""``recitative classify``: labels of recordings."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from recitative.cli.models import open_labeller
from recitative.errors import DataError

if TYPE_CHECKING:
    from recitative.models.labeller import Guess, Labeller, Running

Row = tuple[str, "Running"]


def classify(
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE...", help="Recordings of any rate and channels: files, folders, patterns, or -."),
    ],
    model: Annotated[Path, typer.Option(help="A classifier: a folder such as EXP/model, or an exported file.")],
    top: Annotated[int, typer.Option(min=1, help="The likeliest labels of each recording, so many.")] = 1,
    every: Annotated[
        float | None, typer.Option(min=0.01, metavar="SECONDS", help="The running label after each so many seconds.")
    ] = None,
    format: Annotated[
        Literal["text", "json", "csv"], typer.Option(help="text: file, tab, label and probability; a JSON list; csv.")
    ] = "text",
) -> None:
    """Name recordings. A bad one is named and the others are done; then the exit status is 1.

    With --every a line has the seconds heard as well, and a recording may last as long as it likes; else an hour.
    """
    from recitative.audio.inputs import expand

    labeller, failed = open_labeller(model), []
    if every:
        labeller.stream()  # a model that cannot is refused before any recording is heard
    names = expand(files)

    def rows() -> Iterator[Row]:
        for name in names:
            try:
                for running in _heard(labeller, name, every):
                    yield name, running
            except DataError as error:
                print(f"error: {error}", file=sys.stderr)
                failed.append(name)

    {"text": _write_text, "json": _write_json, "csv": _write_csv}[format](rows(), top, every is not None)
    if failed and len(names) > 1:
        print(f"{len(failed)} of {len(names)} recordings could not be named", file=sys.stderr)
    if failed:
        raise typer.Exit(1)


def _heard(labeller: Labeller, name: str, every: float | None) -> Iterator[Running]:
    """What a recording is called, after each ``every`` seconds or at its end."""
    from recitative.audio.inputs import on_disk

    with on_disk(name) as path:
        if every:
            yield from labeller.follow_file(path, every)
        else:
            yield labeller.label_file(path)


def _write_text(rows: Iterator[Row], top: int, timed: bool) -> None:
    for name, running in rows:
        time = [f"{running.heard_s:.2f}"] if timed else []
        labels = [f"{guess.label} {guess.probability:.4f}" for guess in running.guesses[:top]]
        print("\t".join([name, *time, *labels]), flush=timed)


def _write_json(rows: Iterator[Row], top: int, timed: bool) -> None:
    """A list, an object on each line, written as they come: a long recording has many."""
    separator = "[\n"
    for name, running in rows:
        print(separator + json.dumps(_as_object(name, running, top, timed), ensure_ascii=False), end="", flush=timed)
        separator = ",\n"
    print("\n]" if separator == ",\n" else "[]")


def _as_object(name: str, running: Running, top: int, timed: bool) -> dict[str, Any]:
    time = {"time": round(running.heard_s, 3)} if timed else {}
    return {"file": name, **time, "labels": [_guess(guess) for guess in running.guesses[:top]]}


def _guess(guess: Guess) -> dict[str, Any]:
    return {"label": guess.label, "probability": guess.probability}


def _write_csv(rows: Iterator[Row], top: int, timed: bool) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["file", *(["time"] if timed else []), "rank", "label", "probability"])
    for name, running in rows:
        time = [f"{running.heard_s:.3f}"] if timed else []
        for rank, guess in enumerate(running.guesses[:top], start=1):
            writer.writerow([name, *time, rank, guess.label, f"{guess.probability:.6f}"])
