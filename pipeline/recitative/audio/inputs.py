"""Inputs given by a user: files, folders, patterns, standard input."""

from __future__ import annotations

import glob
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO

from recitative.audio.files import SUFFIXES
from recitative.errors import DataError, os_problem

STANDARD_INPUT = "standard input"
"""The name of '-' in errors."""

MAX_LISTED = 5
"""Number of skipped files that are listed."""


def expand(inputs: Sequence[str], tell: Callable[[str], None] = lambda note: None) -> list[str]:
    """Expand files, folders (recursively) and patterns to files, each once, in order; '-' is kept.

    ``tell`` is called with a line about files in folders that are not recordings. Raises DataError for a folder or a
    pattern without recordings. A given file need not exist: opening it reports the error.
    """
    files: dict[str, None] = {}
    for name in inputs:
        if name != "-" and os.path.isdir(name):  # Path.is_dir fails for very long names
            paths = sorted(path for path in Path(name).rglob("*") if path.is_file())
            found = [str(path) for path in paths if path.suffix.lower() in SUFFIXES]
            if not found:
                raise DataError(name, "has no recordings", ", ".join(sorted(SUFFIXES)), "correct the path")
            others = [str(path.relative_to(name)) for path in paths if path.suffix.lower() not in SUFFIXES]
            if others:
                shown = ", ".join(others[:MAX_LISTED]) + (", ..." if len(others) > MAX_LISTED else "")
                tell(f"{name}: files that are not recordings, skipped: {len(others)} ({shown})")
        elif any(sign in name for sign in "*?[") and not os.path.exists(name):
            found = sorted(path for path in glob.glob(name, recursive=True) if Path(path).is_file())
            if not found:
                raise DataError(name, "matches no file", "a pattern such as 'talks/*.flac'", "correct it")
        else:
            found = [name]
        files |= dict.fromkeys(found)
    return list(files)


def is_stream(file: str) -> bool:
    """Whether an input can be read only once, sequentially: '-', a pipe, ``<(command)``."""
    if file == "-" or file.startswith(_OPEN_FILES):
        return True
    try:
        mode = os.stat(file).st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


_OPEN_FILES = ("/dev/stdin", "/dev/fd/", "/proc/self/fd/")


@contextmanager
def on_disk(file: str, head: bytes = b"") -> Iterator[str]:
    """The path of a recording; a stream is copied to a temporary file, since its end may be needed to read its start.

    A DataError about that file names the stream. ``head``: bytes already read from it.
    """
    if not is_stream(file):
        yield file
        return
    with tempfile.NamedTemporaryFile(prefix="recitative-stdin-") as spool:
        spool.write(head)
        _spool(file, spool)
        spool.flush()
        with naming(file, spool.name):
            yield spool.name


def _spool(file: str, spool: IO[bytes]) -> None:
    if file == "-":
        shutil.copyfileobj(sys.stdin.buffer, spool)
        return
    try:
        with open(file, "rb") as source:
            shutil.copyfileobj(source, spool)
    except OSError as error:
        raise DataError.collect([os_problem(error, file)]) from None


@contextmanager
def naming(file: str, path: str) -> Iterator[None]:
    """Within this context, a DataError about ``path`` names ``file``, its source."""
    try:
        yield
    except DataError as error:
        name = STANDARD_INPUT if file == "-" else file
        problems = [replace(p, where=name) if p.where == path else p for p in error.problems]
        raise DataError.collect(problems) from None
