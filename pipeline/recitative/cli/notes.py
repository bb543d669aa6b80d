"""The notes that an exported file carries."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recitative.errors import DataError

NotesFile = Annotated[
    Path | None, typer.Option("--notes", help="A text to keep in the file: licence, corpus, the commands that made it.")
]


def read_notes(path: Path | None) -> str:
    """Empty without a file. Raises DataError for one that is no text."""
    if path is None:
        return ""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(str(path), f"cannot be read ({error.strerror})", "a text file", "correct the path") from None
    except UnicodeDecodeError:
        raise DataError(str(path), "is not UTF-8", "a text file", "convert it") from None
