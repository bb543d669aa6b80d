"""The notes that an exported file carries."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recitative.reading import LARGEST_SETTINGS, read_text

NotesFile = Annotated[
    Path | None, typer.Option("--notes", help="Text file stored in the model: license, corpus, commands.")
]


def read_notes(path: Path | None) -> str:
    """Empty without a file. Raises DataError for one that is no text."""
    return read_text(path, "a text file", limit=LARGEST_SETTINGS) if path else ""
