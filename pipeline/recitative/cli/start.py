"""How the command line starts, and how errors end it.

All verbs together take half a second to import. A verb that is run often is imported alone; see ``ALONE``.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Annotated

import typer

from recitative import __version__
from recitative.cli.packages import explain
from recitative.errors import DataError, RecitativeError, os_problem
from recitative.signals import handle_on_own_stack
from recitative.terminal import write_any_name

INTERRUPTED = 130
ALONE = {"transcribe": "recitative.cli.transcribe", "listen": "recitative.cli.listen"}  # verb -> its module


def main() -> None:
    """Run the command line of this process."""
    verb = sys.argv[1] if len(sys.argv) > 1 else ""
    if verb in ALONE:
        app = new_app()
        app.command()(getattr(import_module(ALONE[verb]), verb))
    else:
        from recitative.cli.main import app
    run(app)


def new_app() -> typer.Typer:
    """The command line without verbs."""
    app = typer.Typer(
        name="recitative",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"recitative {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Speech recognition, keyword spotting, classification, anomaly detection, music and sound.

    \b
    recitative transcribe talk.wav         transcribe with a pretrained model
    recitative data import --help          start from your own recordings
    recitative VERB --help                 options and examples of a verb
    """


def run(app: typer.Typer) -> None:
    """Run a command line. Errors that are the input's fault are one line on stderr; exit 1 (data), 2 (usage)."""
    handle_on_own_stack()
    write_any_name()
    try:
        status = app(standalone_mode=False)
        sys.stdout.flush()
        if status == INTERRUPTED:  # how Typer returns from Ctrl-C
            raise KeyboardInterrupt
        sys.exit(status)
    except DataError as error:
        _report(error)
        sys.exit(error.exit_code)
    except RecitativeError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except OSError as error:
        _exit_if_package(error)
        sys.exit(_end_of(error))
    except Exception as error:
        if isinstance(error.__context__, KeyboardInterrupt):  # what an import made of it
            print("error: interrupted", file=sys.stderr)
            sys.exit(INTERRUPTED)
        _exit_if_package(error)
        _exit_if_usage(error)
        raise


def _end_of(error: OSError) -> int:
    """Tell what the operating system refused; the exit status."""
    where = ""
    try:
        sys.stdout.flush()  # fails again if it was this
    except OSError:
        where = "standard output"
    if where:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or it would fail once more at the exit
        if isinstance(error, BrokenPipeError):  # the reader, such as head, has enough
            return 0
    print(f"error: {os_problem(error, where)}", file=sys.stderr)
    return 1


def _exit_if_package(error: Exception) -> None:
    """A package that is missing or does not load, as one line."""
    if line := explain(error):
        print(f"error: {line}", file=sys.stderr)
        sys.exit(2)


def _exit_if_usage(error: Exception) -> None:
    """Wrong arguments as one line. Typer carries its own copy of click, so its errors are known by what they have."""
    if getattr(error, "exit_code", None) == 2 and hasattr(error, "format_message"):
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "recitative"
        message = error.format_message().strip().rstrip(".").replace("Value error, ", "")  # pydantic says it
        if message:  # empty for a bare 'recitative', which has printed its help
            print(f"error: {message} (see '{command} --help')", file=sys.stderr)
        sys.exit(2)


def _report(error: DataError, shown: int = 20) -> None:
    """The first problems and the count of the rest."""
    for problem in error.problems[:shown]:
        print(f"error: {problem}", file=sys.stderr)
    if len(error.problems) > shown:
        print(f"error: and {len(error.problems) - shown} more", file=sys.stderr)
