"""``recitative music speed``: how fast an exported model writes."""

from __future__ import annotations

from pathlib import Path
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
from recitative.models import pretrained
from recitative.score.measured import Measured


def speed(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A file of 'recitative music export'.")],
    bars: Annotated[int, typer.Option(min=1, max=1000, help="Bars of each piece.")] = 16,
    count: Annotated[int, typer.Option(min=1, max=1000, help="Pieces that are written side by side.")] = 1,
    runs: Annotated[int, typer.Option(min=1, help="Runs whose median counts.")] = 5,
    sweeps: Annotated[int, typer.Option(min=1, help="Times that notes are drawn, of a model that fills in.")] = 100,
    results: ResultsOption = None,
    results_md: TableOption = None,
    name: NameOption = "",
    set_name: SetOption = "",
    decoding: HowOption = "-",
    command: CommandOption = "-",
) -> None:
    """Print how long writing takes on one thread, as a share of how long the music lasts at 100 quarters a minute."""
    record = Record(results, results_md, name, set_name, decoding, command)
    from recitative.models.music_speed import measure_speed
    from recitative.runtime.music import OnnxMusic

    scorer = OnnxMusic(pretrained.find(model), threads=1)
    found = measure_speed(scorer, bars=bars, pieces=count, runs=runs, sweeps=sweeps)
    counts = f"{found.seconds:.3f} s / {found.music_s:.1f} s"
    record.write(
        [Measured("real-time factor", found.real_time_factor, counts)], scorer.metadata.settings, found.seconds
    )
    per_second = f"{found.pieces_per_second:.2f} pieces a second"
    print(f"real-time factor {found.real_time_factor:.4f} [ {counts} ], {per_second} of {bars} bars")
