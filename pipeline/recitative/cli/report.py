"""recitative report: an experiment as one HTML file."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

BAR_AFTER_S = 2.0


def report(
    experiment: Annotated[Path, typer.Argument(metavar="EXP_DIR", help="Experiment folder, also of a running one.")],
    output: Annotated[Path | None, typer.Option(help="Where to write it; EXP_DIR/report.html by default.")] = None,
    worst: Annotated[int, typer.Option(min=0, help="How many of the worst utterances of each set to show.")] = 12,
    open_it: Annotated[bool, typer.Option("--open", help="Show it in the browser.")] = False,
) -> None:
    """Write curves, error analysis, worst utterances with pictures and sound, settings and environment to one file."""
    from recitative.recognition.report import write_report

    started = time.monotonic()
    with Progress(console=Console(stderr=True), transient=True, disable=False, auto_refresh=False) as bar:
        task = bar.add_task("report", visible=False)

        def show(done: int, total: int, what: str) -> None:
            late = time.monotonic() - started > BAR_AFTER_S
            bar.update(task, completed=done, total=total, description=what, visible=late, refresh=late)

        path = write_report(experiment, output, worst=worst, progress=show)
    typer.echo(str(path))
    if open_it:
        typer.launch(str(path))
