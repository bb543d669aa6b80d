"""``recitative tokens``: the token table of a corpus."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recitative.data.columns import words_of
from recitative.data.tables import read_table
from recitative.errors import DataError
from recitative.text.lexicon import Lexicon
from recitative.text.tokens import TokenTable, Unit


def tokens(
    data_dirs: Annotated[list[Path], typer.Argument(help="Data directories whose text tables, or lexicons, are read.")],
    output: Annotated[Path, typer.Option(help="The token table to write, such as data/tokens.txt.")],
    unit: Annotated[
        Unit, typer.Option(help="What a token is; words suit a small vocabulary that never grows, such as commands.")
    ] = "character",
) -> None:
    """Make the table of all characters or words in some data directories' transcripts, or of a lexicon's phones.

    Id 0 is the blank of CTC.
    """
    if unit == "phone":
        texts = [" ".join(Lexicon.read(lexicon).symbols) for lexicon in data_dirs]
    else:
        texts = [words_of(row.value) for data_dir in data_dirs for row in read_table(data_dir / "text")]
    table = TokenTable.from_texts(texts, unit)
    if len(table) == 1:
        raise DataError(str(data_dirs[0] / "text"), "has no characters", "at least one word", "add the transcripts")
    if table.unit != unit:
        found = f"has {unit}s that look like {table.unit}s"
        raise DataError(str(data_dirs[0]), found, f"some {unit}s of several letters", "rename one, such as 'A' to 'AA'")
    table.write(output)
    source = "lexicons" if unit == "phone" else "transcripts"
    print(f"{output}: {len(table)} tokens from {len(texts)} {source}")
