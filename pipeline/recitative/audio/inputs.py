"""The recordings that a user means: files, folders, patterns, standard input."""

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
"""What '-' is called in errors."""


MOST_NAMED = 5
"""So many of the files that are skipped are named."""


def expand(inputs: Sequence[str], tell: Callable[[str], None] = lambda note: None) -> list[str]:
    """Files, folders (searched to any depth) and patterns to files, each once, in order; '-' stays.

    ``tell`` is called with what a folder holds that is no recording. Raises DataError for a folder or a pattern that
    holds none. A file need not exist: it is named when it is opened.
    """
    files: dict[str, None] = {}
    for name in inputs:
        if name != "-" and os.path.isdir(name):  # as a path it fails on a name that is too long
            paths = sorted(path for path in Path(name).rglob("*") if path.is_file())
            found = [str(path) for path in paths if path.suffix.lower() in SUFFIXES]
            if not found:
                raise DataError(name, "has no recordings", ", ".join(sorted(SUFFIXES)), "correct the path")
            others = [str(path.relative_to(name)) for path in paths if path.suffix.lower() not in SUFFIXES]
            if others:
                shown = ", ".join(others[:MOST_NAMED]) + (", ..." if len(others) > MOST_NAMED else "")
                tell(f"{name}: files that are no recordings, skipped: {len(others)} ({shown})")
        elif any(sign in name for sign in "*?[") and not os.path.exists(name):
            found = sorted(path for path in glob.glob(name, recursive=True) if Path(path).is_file())
            if not found:
                raise DataError(name, "matches no file", "a pattern such as 'talks/*.flac'", "correct it")
        else:
            found = [name]
        files |= dict.fromkeys(found)
    return list(files)


def is_stream(file: str) -> bool:
    """Whether a recording can be read but once, from its beginning: '-', a pipe, ``<(command)``."""
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
    """The path of a recording; a stream is kept in a temporary file meanwhile: a recording's end can tell of its
    beginning. A DataError about that file names the stream. ``head`` is what was read of it already."""
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
    """Within, a DataError about ``path`` names ``file``, whose content it has."""
    try:
        yield
    except DataError as error:
        name = STANDARD_INPUT if file == "-" else file
        problems = [replace(p, where=name) if p.where == path else p for p in error.problems]
        raise DataError.collect(problems) from None
