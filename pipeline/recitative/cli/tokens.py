"""``recitative tokens``: the token table of a corpus."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recitative.data.directory import read_transcripts, require_ids
from recitative.data.tables import words_of
from recitative.errors import DataError, UsageError
from recitative.text.lexicon import Lexicon
from recitative.text.tokens import TokenTable, Unit, learn_pieces


def tokens(
    data_dirs: Annotated[list[Path], typer.Argument(help="Data directories; for --unit phone, lexicons.")],
    output: Annotated[Path, typer.Option(help="Token table to write, such as data/tokens.txt.")],
    unit: Annotated[
        Unit,
        typer.Option(
            help="Unit of a token. word: for small closed vocabularies; piece: for tens of hours of speech or more."
        ),
    ] = "character",
    size: Annotated[int | None, typer.Option(min=2, help="Number of tokens for --unit piece, with the blank.")] = None,
) -> None:
    """Make a token table: characters, words, sentence pieces or phones.

    Id 0 is the blank of CTC.

    \b
    recitative tokens data/train data/dev --output data/tokens.txt
    recitative tokens data/train --unit piece --size 256 --output data/tokens.txt
    """
    if (unit == "piece") != (size is not None):
        raise UsageError(
            "--size goes with --unit piece, and that needs it; such as --size 256 for a few hours of speech"
        )
    texts = _texts(data_dirs, unit)
    if not any(texts):
        raise DataError(str(data_dirs[0] / "text"), "has no characters", "at least one word", "add the transcripts")
    table = _table(texts, unit, size)
    if table.unit != unit:
        found = f"has {unit}s that look like {table.unit}s"
        raise DataError(str(data_dirs[0]), found, f"some {unit}s of several letters", "rename one, such as 'A' to 'AA'")
    table.write(output)
    source = "lexicons" if unit == "phone" else "transcripts"
    print(f"{output}: {len(table)} tokens from {len(texts)} {source}")


def _texts(data_dirs: list[Path], unit: Unit) -> list[str]:
    if unit == "phone":
        return [" ".join(Lexicon.read(lexicon).symbols) for lexicon in data_dirs]
    for data_dir in data_dirs:
        require_ids(data_dir, "name a data directory, or a table of 'utterance words...' lines")
    return [words_of(row.value) for data_dir in data_dirs for row in read_transcripts(data_dir)]


def _table(texts: list[str], unit: Unit, size: int | None) -> TokenTable:
    if unit != "piece":
        return TokenTable.from_texts(texts, unit)
    assert size is not None
    return TokenTable.of_pieces(learn_pieces(texts, size - 1))  # the blank is no piece
