"""Start the command line, and end errors with one line on stderr instead of a traceback; --debug prints it.

Importing all verbs takes half a second. Verbs that are run often are imported alone; see ``ALONE``.
"""

from __future__ import annotations

import inspect
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from recitative import __version__
from recitative.errors import DataError, RecitativeError, handle_on_own_stack, one_line, os_problem
from recitative.terminal import write_any_name

INTERRUPTED = 130
DEBUG = "--debug"
ALONE = {"transcribe": "recitative.cli.recognize", "listen": "recitative.cli.live"}  # verb -> its module


def main() -> None:
    """Run the command line of this process."""
    verb = sys.argv[1] if len(sys.argv) > 1 else ""
    if verb in ALONE:
        app = new_app()
        app.command()(getattr(import_module(ALONE[verb]), verb))
        unwrap_help(app)
    else:
        from recitative.cli.main import app
    run(app)


def new_app() -> typer.Typer:
    """The command line without verbs."""
    app = typer.Typer(
        name="recitative",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    return app


def unwrap_help(app: typer.Typer) -> None:
    """Join the lines of each paragraph of help, so that it fits the terminal. Typer keeps line breaks of docstrings."""
    for command in app.registered_commands:
        paragraphs = (inspect.getdoc(command.callback) or "").split("\n\n")
        command.help = "\n\n".join(p if p.startswith("\b") else " ".join(p.split()) for p in paragraphs)
    for group in app.registered_groups:
        if group.typer_instance:
            unwrap_help(group.typer_instance)


def _print_version(given: bool) -> None:
    if given:
        print(f"recitative {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option(DEBUG, help="Print a traceback if the program itself has an error.")] = False,
) -> None:
    """Speech recognition, keyword spotting, classification, anomaly detection, music and sound.

    \b
    recitative transcribe talk.wav         transcribe with a pretrained model
    recitative data import --help          start from your own recordings
    recitative VERB --help                 options and examples of a verb
    """


def run(app: typer.Typer) -> None:
    """Run a command line and exit. The status is 1 for bad data or a failed run, 2 for bad usage."""
    if "_RECITATIVE_COMPLETE" in os.environ:
        os.environ["COLUMNS"] = "1000"  # Typer wraps help, and fish takes each line for a completion
    handle_on_own_stack()
    write_any_name()
    try:
        status = app(standalone_mode=False)
        sys.stdout.flush()
        if status == INTERRUPTED:  # how Typer returns from Ctrl-C
            raise KeyboardInterrupt
        sys.exit(status)
    except RecitativeError as error:
        _print_problems(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _exit_interrupted()
    except Exception as error:
        if isinstance(error.__context__, KeyboardInterrupt) and not isinstance(error, OSError):
            _exit_interrupted()  # Ctrl-C during an import, which raised another error
        if line := explain(error):
            print(f"error: {line}", file=sys.stderr)
            sys.exit(2)
        if isinstance(error, OSError):
            sys.exit(_print_os_error(error))
        _exit_if_usage(error)
        if DEBUG in sys.argv[1:2]:
            raise
        print(f"error: {one_line('recitative', error)}; 'recitative {DEBUG} ...' prints the traceback", file=sys.stderr)
        sys.exit(1)


def _exit_interrupted() -> None:
    print("error: interrupted", file=sys.stderr)
    sys.exit(INTERRUPTED)


def _print_problems(error: RecitativeError, shown: int = 20) -> None:
    """Print the error. Of many problems, print the first ones and the number of the others."""
    problems: Sequence[object] = error.problems if isinstance(error, DataError) else [error]
    for problem in problems[:shown]:
        print(f"error: {problem}", file=sys.stderr)
    if len(problems) > shown:
        print(f"error: and {len(problems) - shown} more", file=sys.stderr)


def _print_os_error(error: OSError) -> int:
    """Print an error of the operating system; return the exit status."""
    where = ""
    try:
        sys.stdout.flush()  # fails again if stdout was the cause
    except OSError:
        where = "standard output"
    if where:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # otherwise it would fail again at exit
        if isinstance(error, BrokenPipeError):  # the reader, such as head, has finished
            return 0
    print(f"error: {os_problem(error, where)}", file=sys.stderr)
    return 1


def _exit_if_usage(error: Exception) -> None:
    """Print wrong arguments as one line. Typer has its own copy of click, so its errors are known by their methods."""
    if getattr(error, "exit_code", None) == 2 and hasattr(error, "format_message"):
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "recitative"
        message = error.format_message().strip().rstrip(".").replace("Value error, ", "")  # pydantic's prefix
        if message:  # empty for a bare 'recitative', which has printed its help
            print(f"error: {message} (see '{command} --help')", file=sys.stderr)
        sys.exit(2)


# Optional packages that are missing or do not load

PACKAGES = {  # of an extra
    "serve": ("fastapi", "uvicorn", "starlette", "websockets", "python_multipart", "wyoming", "prometheus_client"),
    "train": ("torch", "torchaudio", "tensorboard", "onnx"),
    "music": ("librosa", "numba"),
}
EXTRA_OF = {package: extra for extra, packages in PACKAGES.items() for package in packages}
REMEDIES = {
    **{package: f"pip install 'recitative[{extra}]'" for package, extra in EXTRA_OF.items()},
    **dict.fromkeys(
        PACKAGES["train"],
        "pip install 'recitative[train]'; or give a file made by 'recitative export': it runs without",
    ),
    "ray": "pip install ray, or leave out --engine ray",
    "pyarrow": "pip install pyarrow",
    **{name: f"pip install {name}, or leave out --log {name}" for name in ("wandb", "mlflow")},
}
TORCH_PAIRS = (("2.11.0", "2.11.0"), ("2.14.1", "2.11.1"))
"""Versions of torch and torchaudio that load together. torchaudio 2.11.1 claims to fit torch 2.11.0 but fails."""
INSTALL_TORCH = "pip install torch=={} torchaudio=={}".format(*TORCH_PAIRS[0])


def explain(error: BaseException) -> str:
    """The problem with an optional package and the remedy. Empty for errors that no import of a package raised.

    A missing package raises ModuleNotFoundError. A package that does not fit to another one fails during its import:
    with OSError if a shared library cannot be loaded, otherwise with ImportError.
    """
    if isinstance(error, ModuleNotFoundError) and error.name in REMEDIES:
        remedy = REMEDIES[error.name]
        if extra := EXTRA_OF.get(error.name):
            return f"this needs the extra '{extra}', whose package '{error.name}' is not installed; {remedy}"
        return f"this needs the package '{error.name}', which is not installed; {remedy}"
    package = _being_imported(error)
    if package in REMEDIES and isinstance(error, ImportError | OSError):
        return _misfit(package, error)
    return ""


def _being_imported(error: BaseException) -> str:
    """The optional package whose import raised the error, the outermost of several. Empty without one."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if frame.f_code.co_name == "<module>" and package in REMEDIES:
            return package
    return ""


def _misfit(package: str, error: BaseException) -> str:
    reason = " ".join(str(error.__cause__ or error).split())
    if package in ("torch", "torchaudio"):
        found = f"torch {_found('torch')}, torchaudio {_found('torchaudio')}"
        pairs = " or ".join(f"torch {torch} with torchaudio {torchaudio}" for torch, torchaudio in TORCH_PAIRS)
        remedy = f"{pairs}, not builds for the CPU only; {INSTALL_TORCH}"
    else:
        found, remedy = f"{package} {_found(package)}", f"pip install --force-reinstall {package}"
    return f"the package '{package}' is installed but does not load ({reason}); found {found}; {remedy}"


def _found(package: str) -> str:
    return installed_version(package) or "not installed"


def installed_version(package: str) -> str:
    """Empty if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
