"""The options by which what was measured of a model goes into a recipe's results."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from pydantic import BaseModel

from recitative.config import dump_settings
from recitative.errors import UsageError
from recitative.machine import describe_machine
from recitative.score.directory import record
from recitative.score.results import Measurement, ResultRow, describe_commit, rows_of, settings_hash

ResultsOption = Annotated[
    Path | None, typer.Option("--results", help="JSON-lines file of results to update. Requires --model and --set.")
]
TableOption = Annotated[Path | None, typer.Option("--results-md", help="Markdown table of all results to write.")]
NameOption = Annotated[str, typer.Option("--model", help="Name of the model in the results.")]
SetOption = Annotated[str, typer.Option("--set", help="Name of the data in the results.")]
HowOption = Annotated[str, typer.Option("--decoding", help="Name of the decoding or measurement in the results.")]
CommandOption = Annotated[str, typer.Option("--command", help="Command that made the model, for the results.")]


@dataclass(frozen=True)
class Record:
    """Where the numbers go, and what they are called there. Raises UsageError for options that lack others."""

    results: Path | None
    results_md: Path | None
    model: str
    set: str
    decoding: str
    command: str

    def __post_init__(self) -> None:
        if self.results_md and not self.results:
            raise UsageError("--results-md shows the rows of --results; give both")
        if self.results and not (self.model and self.set):
            raise UsageError("--results needs --model and --set: rows are found by them")

    def write(
        self, measured: Sequence[Measurement], settings: BaseModel | None = None, seconds: float | None = None
    ) -> None:
        """In the place of older rows of the same names. settings: of the model, if one was measured; seconds: what was
        measured took."""
        if not self.results:
            return
        origin = ResultRow(
            self.model, self.set, self.decoding, "", math.nan, "-", self.command, describe_commit(Path.cwd()),
            settings_hash(dump_settings(settings)) if settings else "-", seconds, describe_machine(),
        )  # fmt: skip
        record(rows_of(measured, origin), self.results, self.results_md)
