"""``recitative classifier speed``: how fast an exported model names recordings."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Annotated

import typer

from recitative.cli.results import (
    CommandOption,
    HowOption,
    NameOption,
    Record,
    ResultsOption,
    SetOption,
    TableOption,
)
from recitative.score.measured import Measured

WHOLE_S = 10.0  # pieces in which a file is heard


def speed(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A classifier's file from 'recitative export'.")],
    seconds: Annotated[float, typer.Option(min=1, help="Of sound, for each measurement.")] = 60.0,
    piece_ms: Annotated[int, typer.Option(min=10, help="Pieces of a stream, with a label after each.")] = 160,
    runs: Annotated[int, typer.Option(min=1, help="Measurements, of which the median counts.")] = 5,
    results: ResultsOption = None,
    results_md: TableOption = None,
    name: NameOption = "",
    set_name: SetOption = "",
    decoding: HowOption = "-",
    command: CommandOption = "-",
) -> None:
    """Print how long naming takes on one thread, features included, as a share of how long the recording lasts.

    Of a file, and of a stream in short pieces with the running label after each.
    """
    record = Record(results, results_md, name, set_name, decoding, command)
    from recitative.runtime.classifier import load_classifier
    from recitative.runtime.speed import labelling_factors

    labeller = load_classifier(model, threads=1)
    for what, piece_s in (("of a file", WHOLE_S), (f"in pieces of {piece_ms} ms", piece_ms / 1000)):
        factors = labelling_factors(labeller, seconds, piece_s, runs)
        middle = median(factors)
        listed = ", ".join(f"{factor:.5f}" for factor in factors)
        print(f"{model}: real-time factor {middle:.5f} {what}, one thread ({listed})")
        counts = f"{seconds:g} s, median of {runs}"
        record.write([Measured(f"real-time factor {what}", round(middle, 6), counts)], labeller.settings)
