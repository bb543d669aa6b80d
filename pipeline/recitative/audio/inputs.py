"""The recordings that a user means: files, folders, patterns, standard input."""

from __future__ import annotations

import glob
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from recitative.audio.files import SUFFIXES
from recitative.errors import DataError

STANDARD_INPUT = "standard input"
"""What '-' is called in errors."""


def expand(inputs: Sequence[str]) -> list[str]:
    """Files, folders (searched to any depth) and patterns to files, each once, in order; '-' stays.

    Raises DataError for a folder or a pattern that holds none. A file need not exist: it is named when it is opened.
    """
    files: dict[str, None] = {}
    for name in inputs:
        if name != "-" and Path(name).is_dir():
            found = sorted(str(p) for p in Path(name).rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
            if not found:
                raise DataError(name, "has no recordings", ", ".join(sorted(SUFFIXES)), "correct the path")
        elif any(sign in name for sign in "*?[") and not Path(name).exists():
            found = sorted(path for path in glob.glob(name, recursive=True) if Path(path).is_file())
            if not found:
                raise DataError(name, "matches no file", "a pattern such as 'talks/*.flac'", "correct it")
        else:
            found = [name]
        files |= dict.fromkeys(found)
    return list(files)


@contextmanager
def on_disk(file: str, head: bytes = b"") -> Iterator[str]:
    """The path of a recording; '-' is standard input, kept in a temporary file meanwhile: a recording's end can tell of
    its beginning. A DataError about that file names standard input. ``head`` is what was read of it already."""
    if file != "-":
        yield file
        return
    with tempfile.NamedTemporaryFile(prefix="recitative-stdin-") as spool:
        spool.write(head)
        shutil.copyfileobj(sys.stdin.buffer, spool)
        spool.flush()
        try:
            yield spool.name
        except DataError as error:
            raise DataError.collect([replace(error.problems[0], where=STANDARD_INPUT)]) from None
