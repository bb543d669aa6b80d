"""``recitative``: every verb of the command line, and how errors end it."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from recitative import __version__
from recitative.cli.align import align
from recitative.cli.average import average
from recitative.cli.check import check
from recitative.cli.classifier import app as classifier
from recitative.cli.classify import classify
from recitative.cli.cmvn import cmvn
from recitative.cli.data import app as data
from recitative.cli.decode import decode
from recitative.cli.export import export
from recitative.cli.features import features
from recitative.cli.forecaster import app as forecaster
from recitative.cli.g2p import app as g2p
from recitative.cli.generate import app as generate
from recitative.cli.info import info
from recitative.cli.keywords import app as keywords
from recitative.cli.lexicon import lexicon
from recitative.cli.listen import listen
from recitative.cli.lm import app as lm
from recitative.cli.music import app as music
from recitative.cli.packages import explain
from recitative.cli.report import report
from recitative.cli.rescore import rescore
from recitative.cli.score import score
from recitative.cli.shards import shards
from recitative.cli.sound import app as sound
from recitative.cli.spot import spot
from recitative.cli.suggest import suggest
from recitative.cli.tokens import tokens
from recitative.cli.train import (
    train,
    train_classifier,
    train_forecaster,
    train_g2p,
    train_music,
    train_recurrent,
    train_sound,
)
from recitative.cli.transcribe import transcribe
from recitative.cli.tune import tune
from recitative.cli.tune_batch import tune_batch
from recitative.cli.vocode import vocode
from recitative.cli.watch import watch
from recitative.errors import DataError, RecitativeError, os_problem
from recitative.signals import handle_on_own_stack
from recitative.terminal import write_any_name

INTERRUPTED = 130

app = typer.Typer(
    name="recitative",
    help="Speech recognition, from a folder of recordings to a scored model.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(check)
app.add_typer(data, name="data")
app.add_typer(lm, name="lm")
app.add_typer(g2p, name="g2p")
app.add_typer(music, name="music")
app.add_typer(sound, name="sound")
app.add_typer(classifier, name="classifier")
app.add_typer(forecaster, name="forecaster")
app.add_typer(keywords, name="keywords")
app.add_typer(generate, name="generate")
VERBS = (
    lexicon, tokens, features, cmvn, shards, suggest, tune_batch, train, average, tune, decode, rescore, score, report,
    export, info, align, transcribe, listen, spot,
    vocode, classify, watch,
)  # fmt: skip
for verb in VERBS:
    app.command()(verb)
OLDER_VERBS = (  # of release 0.1: 'recitative train' does it
    (classifier, "train", train_classifier), (forecaster, "train", train_forecaster), (music, "train", train_music),
    (sound, "train", train_sound), (g2p, "train", train_g2p), (lm, "train-recurrent", train_recurrent),
)  # fmt: skip
for group, name, older in OLDER_VERBS:
    group.command(name, hidden=True)(older)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"recitative {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Speech recognition, from a folder of recordings to a scored model."""


def main() -> None:
    """Run the command line. Errors that are the input's fault are one line on stderr; exit 1 (data), 2 (usage)."""
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
