"""Files that are there whole or not at all: written beside their place under a hidden name, then moved into it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """The path to write to instead of ``path``; takes its place when the block ends without an error.

    Missing folders are made. After an error the old file stays and nothing half-written is left.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        yield partial
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: str | Path, content: str) -> None:
    """Write UTF-8 text with the line ends it has; atomic."""
    write_bytes(path, content.encode("utf-8"))


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write bytes; atomic."""
    with replacing(path) as partial:
        partial.write_bytes(content)
