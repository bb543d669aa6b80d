"""Files that are there whole or not at all: written beside their place under a hidden name, then moved into it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """The path to write to instead of ``path``; takes its place when the block ends without an error.

    Missing folders are made. After an error the old file stays and nothing half-written is left; an OSError of the
    writing names ``path``.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        yield partial
        os.replace(partial, target)
    except OSError as error:
        if error.filename in (None, str(partial), partial):
            error.filename, error.filename2 = str(target), None
        raise
    finally:
        with suppress(OSError):  # a folder that vanished, or a name that is too long
            partial.unlink(missing_ok=True)


def write_text(path: str | Path, content: str) -> None:
    """Write UTF-8 text with the line ends it has, and names of files with the bytes they have; atomic."""
    write_bytes(path, content.encode("utf-8", "surrogateescape"))


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write bytes; atomic."""
    with replacing(path) as partial:
        partial.write_bytes(content)


def json_text(value: object, *, indent: int | None = None) -> str:
    """JSON as one reads it; bytes of file names that are not UTF-8 become escapes, which Python reads as they were."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
