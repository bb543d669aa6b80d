"""Options and outputs that several verbs share: parallel work, notes, prompts, results, failures."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from pydantic import BaseModel

from recitative.cli.models import open_lm
from recitative.config import dump_settings
from recitative.data.parallel import Engine
from recitative.errors import DataError, UsageError, one_line, os_problem
from recitative.machine import available_cores, describe_machine
from recitative.reading import LARGEST_SETTINGS, read_text
from recitative.score.results import Measurement, ResultRow, describe_commit, record, rows_of, settings_hash

JobsOption = Annotated[
    int, typer.Option("--jobs", min=0, help="Number of processes. 0: one per core of this machine or of the cluster.")
]
EngineOption = Annotated[
    Literal["local", "ray"], typer.Option("--engine", help="Run on this machine or on a running Ray cluster.")
]
AddressOption = Annotated[
    str, typer.Option("--address", help="Address of the Ray cluster. Default: RAY_ADDRESS, or this machine's cluster.")
]


def new_engine(jobs: int = 0, engine: Literal["local", "ray"] = "local", address: str = "") -> Engine:
    """Of the three options. Raises UsageError for an address without Ray."""
    if address and engine != "ray":
        raise UsageError(f"--address {address}: is for --engine ray; add it, or leave the address out")
    return Engine(engine, jobs or available_cores() if engine == "local" else jobs, address)


# Notes in an exported file

NotesFile = Annotated[
    Path | None, typer.Option("--notes", help="Text file stored in the model: license, corpus, commands.")
]


def read_notes(path: Path | None) -> str:
    """Empty without a file. Raises DataError for one that is no text."""
    return read_text(path, "a text file", limit=LARGEST_SETTINGS) if path else ""


# Prompts for a recurrent language model, as an argument or on stdin

if TYPE_CHECKING:
    from recitative.lm.recurrent import RecurrentLanguageModel


def open_recurrent(model: Path, verb: str) -> RecurrentLanguageModel:
    """Raises UsageError for an n-gram model, which ``verb`` cannot ask, DataError for what is no language model."""
    from recitative.lm.recurrent import RecurrentLanguageModel

    scorer = open_lm(model)
    if not isinstance(scorer, RecurrentLanguageModel):
        raise UsageError(f"{model}: is an n-gram model; '{verb}' asks a recurrent one")
    return scorer


def read_prompts(prompts: Sequence[str]) -> Iterable[str]:
    """Each '-' stands for the lines of stdin."""
    for prompt in prompts:
        if prompt != "-":
            yield prompt
            continue
        try:
            yield from (line.rstrip("\r\n") for line in sys.stdin)
        except UnicodeDecodeError:
            raise DataError("stdin", "is not UTF-8", "one prompt a line", "convert it") from None


def warn_of_unknown(scorer: RecurrentLanguageModel, prompt: str) -> None:
    """On stderr, what of a prompt the model reads as unknown."""
    unknown = scorer.vocabulary.count_unknown([prompt])
    if unknown:
        listed = ", ".join(f"'{symbol}'" for symbol in sorted(unknown))
        print(f"prompt '{prompt}': {listed} not in the vocabulary, read as unknown", file=sys.stderr)


# Rows in the results of a recipe

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


# Folders to write to


def require_folder(output: Path, option: str = "--output") -> None:
    """Raises UsageError for a folder that cannot be made or written to."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        probe = output / ".recitative"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UsageError(f"{option} {os_problem(error, str(output))}") from None


# Unreadable recordings: each is reported on one line and skipped; the exit status is then 1


class Failures:
    """Of one call. total: the number of its recordings; what: became of the bad ones, such as "could not be heard"."""

    def __init__(self, total: int, what: str) -> None:
        self._total, self._what = total, what
        self._count = 0

    def tell(self, error: str) -> None:
        print(f"error: {error}", file=sys.stderr)
        self._count += 1

    @contextmanager
    def of(self, file: str) -> Iterator[None]:
        """Whatever goes wrong within is told as this recording's. Write to standard output elsewhere: its errors are
        not the recording's."""
        try:
            yield
        except Exception as error:
            self.tell(one_line(file, error))

    def finish(self) -> None:
        """Raises typer.Exit if there were any."""
        if self._count and self._total > 1:
            print(f"{self._count} of {self._total} recordings {self._what}", file=sys.stderr)
        if self._count:
            raise typer.Exit(1)
