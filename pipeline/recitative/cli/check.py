"""``recitative check``: everything that is wrong with a data directory, at once."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from recitative.config import Settings, load_settings
from recitative.data.check import CheckReport, CorpusStatistics, check_directory
from recitative.data.fix import fix_directory
from recitative.data.frames import subsampled_by
from recitative.data.shards import is_shards
from recitative.errors import DataError, Problem, UsageError
from recitative.terminal import progress_bar
from recitative.text.lexicon import Lexicon, Spelling, spelling_of
from recitative.text.tokens import TokenTable

SHOWN = 20


def check(
    data_dir: Annotated[Path, typer.Argument(help="Data directory or folder of shards.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="Settings, such as features.sample_rate=8000.")] = None,
    conf: Annotated[Path | None, typer.Option(help="YAML settings file: sample rate, frames, front end.")] = None,
    tokens: Annotated[Path | None, typer.Option(help="Token table; characters that it lacks are problems.")] = None,
    lexicon: Annotated[Path | None, typer.Option(help="Lexicon; words that it lacks are problems.")] = None,
    subsampling: Annotated[
        int | None, typer.Option(min=1, help="Subsampling factor, instead of the front end's.")
    ] = None,
    no_text: Annotated[bool, typer.Option("--no-text", help="Do not require transcripts.")] = False,
    show_all: Annotated[bool, typer.Option("--all", help=f"Print all problems, not only the first {SHOWN}.")] = False,
    fix: Annotated[
        bool, typer.Option("--fix", help="Repair what is safe to repair. The old tables stay in .backup.")
    ] = False,
    drop_bad: Annotated[
        bool, typer.Option("--drop-bad", help="With --fix: drop utterances with problems in audio or text.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="With --fix: allow more than 5 % of the utterances to be dropped.")
    ] = False,
) -> None:
    """Check the tables, audio and transcripts of a data directory, and print its statistics.

    The exit status is 1 if there are problems.

    \b
    recitative check data/train --tokens data/tokens.txt
    recitative check data/train --fix --drop-bad
    """
    if (force or drop_bad) and not fix:
        raise UsageError(f"--{'force' if force else 'drop-bad'} means nothing without --fix; add --fix")
    if fix and is_shards(data_dir):
        raise UsageError(f"--fix {data_dir}: shards are not mended; mend their data directory and write them again")
    settings = load_settings(conf, overrides or ())
    spelling = _spelling(tokens, lexicon)
    report = _check(data_dir, settings, spelling, subsampling, no_text)
    if fix and _mend(data_dir, report.unusable if drop_bad else report.unreadable, force):
        report = _check(data_dir, settings, spelling, subsampling, no_text)
    _print_problems("warning: ", report.warnings, show_all)
    _print_problems("", report.problems, show_all)
    _print_statistics(data_dir, report.statistics)
    if report.problems:
        mends = f"'recitative check --fix {data_dir}' mends what is safe, --drop-bad leaves out the rest"
        remedy = "correct them" if fix else f"correct them; {mends}"
        raise DataError(str(data_dir), f"problems found: {len(report.problems)}", "none", remedy)


def _check(
    data_dir: Path, settings: Settings, spelling: Spelling | None, subsampling: int | None, no_text: bool
) -> CheckReport:
    front_end = subsampled_by(subsampling) if subsampling else settings.model.front_end
    with progress_bar("checking audio") as show:
        return check_directory(
            data_dir,
            settings.features,
            front_end,
            spelling,
            require_text=not no_text,
            on_progress=show,
        )


def _spelling(tokens: Path | None, lexicon: Path | None) -> Spelling | None:
    if tokens is None:
        if lexicon:
            raise UsageError("--lexicon: its phones are those of a token table; give --tokens too")
        return None
    table = TokenTable.read(tokens)
    return spelling_of(table, Lexicon.read(lexicon, table) if lexicon else None)


def _mend(data_dir: Path, to_drop: Mapping[str, str], force: bool) -> bool:
    """Fix the directory and tell what was done; False: there was nothing to do."""
    done = fix_directory(data_dir, to_drop, force=force)
    for action in done.actions:
        print(f"{data_dir}: {action}", file=sys.stderr)
    if done.backup:
        print(f"{data_dir}: the tables as they were are in {done.backup}", file=sys.stderr)
    return bool(done.actions)


def _print_problems(prefix: str, problems: Sequence[Problem], show_all: bool) -> None:
    shown = problems if show_all else problems[:SHOWN]
    for problem in shown:
        print(f"{prefix}{problem}")
    if len(shown) < len(problems):
        print(f"{prefix}... and {len(problems) - len(shown)} more; --all prints them")


def _print_statistics(data_dir: Path, statistics: CorpusStatistics) -> None:
    table = Table(title=str(data_dir), title_justify="left", show_header=False)
    for name, value in statistics.rows():
        table.add_row(name, value)
    width = None if sys.stdout.isatty() else 1000  # in a file no line is wrapped
    Console(markup=False, emoji=False, width=width).print(table)
