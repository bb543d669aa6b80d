"""recitative report: an experiment as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recitative.terminal import progress_bar


def report(
    experiment: Annotated[Path, typer.Argument(metavar="EXP_DIR", help="Experiment folder, also of a running one.")],
    output: Annotated[Path | None, typer.Option(help="Where to write it; EXP_DIR/report.html by default.")] = None,
    worst: Annotated[int, typer.Option(min=0, help="How many of the worst utterances of each set to show.")] = 12,
) -> None:
    """Write curves, error analysis, worst utterances with pictures and sound, settings and environment to one file."""
    from recitative.asr.report import write_report

    with progress_bar("report") as show:
        path = write_report(experiment, output, worst=worst, progress=show)
    typer.echo(str(path))
