"""``recitative tokens``: the character token table of a corpus."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recitative.data.columns import words_of
from recitative.data.tables import read_table
from recitative.errors import DataError
from recitative.text.tokens import TokenTable


def tokens(
    data_dirs: Annotated[list[Path], typer.Argument(help="Data directories whose text tables are read.")],
    output: Annotated[Path, typer.Option(help="The token table to write, such as data/tokens.txt.")],
) -> None:
    """Make the table of all characters in the transcripts of some data directories; id 0 is the blank of CTC."""
    texts = [words_of(row.value) for data_dir in data_dirs for row in read_table(data_dir / "text")]
    table = TokenTable.from_texts(texts)
    if len(table) == 1:
        raise DataError(str(data_dirs[0] / "text"), "has no characters", "at least one word", "add the transcripts")
    table.write(output)
    print(f"{output}: {len(table)} tokens from {len(texts)} transcripts")
