"""Results of a recipe: one row per number, stored as JSON lines and shown as one Markdown table.

Every row has the command, commit and settings that produced it. The table is always rewritten from all rows; the text
around it stays.
"""

from __future__ import annotations

import hashlib
import json
import math
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from recitative.atomic import waiting_for, write_text
from recitative.data.parallel import available_cores
from recitative.errors import counted
from recitative.reading import checked, read_json_lines, read_text

MARKER = "<!-- results -->"
"""The line before the table in RESULTS.md."""


@dataclass(frozen=True)
class ResultRow:
    """One measured number; ``-`` for unknown fields."""

    model: str
    set: str
    decoding: str
    metric: str  # with its unit: %WER, %CER, nats per frame
    value: float
    counts: str = "-"  # such as 2708 / 20138, 358 ins, 330 del, 2020 sub
    command: str = "-"
    commit: str = "-"
    settings: str = "-"
    seconds: float | None = None  # wall-clock time of the measured process
    machine: str = "-"

    @property
    def key(self) -> tuple[str, str, str, str]:
        """A newer row replaces the row with the same key."""
        return (self.model, self.set, self.decoding, self.metric)


COLUMNS = tuple(field.name for field in fields(ResultRow))


def append_results(path: Path, rows: Sequence[ResultRow]) -> list[ResultRow]:
    """Add rows to a JSON-lines file, replacing older ones with the same key; return all rows.

    Atomic. Raises DataError if the file cannot be read.
    """
    by_key = {row.key: row for row in (read_results(path) if path.exists() else [])}
    by_key |= {row.key: row for row in rows}
    lines = [json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in by_key.values()]
    write_text(path, "".join(lines))
    return list(by_key.values())


def read_results(path: Path) -> list[ResultRow]:
    lines = read_json_lines(path, "results", "remove the line")
    return [checked(ResultRow, value, where, "a result", "remove the line") for where, value in lines]


def record(rows: Sequence[ResultRow], results: Path, results_md: Path | None) -> None:
    """Add rows to the results file, and write all its rows to the Markdown table, if given."""
    with waiting_for(results):
        all_rows = append_results(results, rows)
        if results_md:
            write_markdown(results_md, all_rows)


def write_markdown(path: Path, rows: Sequence[ResultRow]) -> None:
    """Replace the table after the marker line; without a marker, add both at the end."""
    old = read_text(path) if path.exists() else "# Results\n"
    if MARKER not in old.splitlines():
        old = f"{old.rstrip()}\n\n{MARKER}\n"
    head, _, tail = old.partition(f"{MARKER}\n")
    write_text(path, f"{head}{MARKER}\n{format_table(rows)}{_without_leading_table(tail)}")


def format_table(rows: Sequence[ResultRow]) -> str:
    """A Markdown table, one line per row."""
    lines = [COLUMNS, ["---"] * len(COLUMNS), *map(_cells, rows)]
    return "".join(_markdown_line(line) + "\n" for line in lines)


def settings_hash(text: str) -> str:
    """The first 8 hexadecimal digits of the settings' SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def describe_commit(directory: Path) -> str:
    """Short hash of the commit checked out around ``directory``, ``-dirty`` if tracked files differ, ``-`` without git.

    Changes of RESULTS.md, which scoring writes, do not count.
    """
    commit = _git(directory, "rev-parse", "--short", "HEAD")
    if not commit:
        return "-"
    everything_else = (":/", ":(top,exclude,glob)**/RESULTS.md")
    changed = _git(directory, "status", "--porcelain", "--untracked-files=no", "--", *everything_else)
    return f"{commit}-dirty" if changed else commit


def _git(directory: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(directory), *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _cells(row: ResultRow) -> list[str]:
    shown = asdict(row)
    shown["value"] = f"{row.value:.2f}" if row.metric.startswith("%") else f"{row.value:.4g}"
    shown["command"] = f"`{row.command}`" if row.command != "-" else "-"
    shown["seconds"] = "-" if row.seconds is None or math.isnan(row.seconds) else f"{row.seconds:.1f}"
    return [str(shown[name]) for name in COLUMNS]


def _markdown_line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |"


def _without_leading_table(text: str) -> str:
    lines = text.splitlines(keepends=True)
    while lines and (lines[0].startswith("|") or (not lines[0].strip() and any(x.startswith("|") for x in lines[1:2]))):
        lines.pop(0)
    return "".join(lines)


@dataclass(frozen=True)
class Measurement:
    """One number of any kind of model. metric: with its unit, such as 'nats per frame'; counts: as in ``ResultRow``."""

    metric: str
    value: float
    counts: str = "-"

    @classmethod
    def of_share(cls, metric: str, count: int, of: int) -> Measurement:
        """A percentage. Raises ZeroDivisionError for ``of`` = 0."""
        return cls(f"% {metric}", round(100 * count / of, 4), f"{count} / {of}")


def rows_of(measured: Sequence[Measurement], origin: ResultRow) -> list[ResultRow]:
    """Result rows; all other fields are those of ``origin``."""
    return [replace(origin, metric=one.metric, value=one.value, counts=one.counts) for one in measured]


def describe_machine() -> str:
    """CPU and the number of cores this process may use: ``Intel Xeon Platinum 8481C, 2 cores``."""
    cores = available_cores()
    return f"{_cpu_name()}, {counted(cores, 'core')}"


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2] for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return " ".join(name.split("@")[0].replace("(R)", "").replace("(TM)", "").replace(" CPU", "").split())
