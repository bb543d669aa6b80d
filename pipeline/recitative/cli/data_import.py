"""``recitative data import``: a data directory from a folder of recordings."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from recitative.cli.progress import progress_bar
from recitative.cli.recordings import PartialOption
from recitative.data.importing.corpus import MAX_SKIPPED, ImportOptions, import_corpus, read_source
from recitative.errors import UsageError
from recitative.machine import available_cores
from recitative.text.normalize import NormalizationRules


def import_recordings(
    source: Annotated[
        Path, typer.Argument(help="A folder of recordings, with lhotse's manifests or not, or lhotse's cuts.jsonl.gz.")
    ],
    destination: Annotated[Path, typer.Argument(help="The data directory to write; its tables are replaced.")],
    table: Annotated[
        Path | None,
        typer.Option(
            help="CSV, TSV or JSON lines with path, text and perhaps speaker; without it a .txt beside each recording."
        ),
    ] = None,
    sample_rate: Annotated[int, typer.Option(min=4000, max=96000, help="Hz; other recordings are converted.")] = 16000,
    encoding: Annotated[
        str, typer.Option(help="Of the table or the .txt files, such as cp1252; else UTF-8, or UTF-16 with its mark.")
    ] = "",
    keep_text: Annotated[bool, typer.Option("--keep-text", help="Leave the transcripts as they are.")] = False,
    keep_case: Annotated[bool, typer.Option("--keep-case", help="Leave capital letters.")] = False,
    keep_hyphens: Annotated[bool, typer.Option("--keep-hyphens", help="Leave hyphens within words.")] = False,
    speaker_per_file: Annotated[
        bool, typer.Option("--speaker-per-file", help="Each recording has a speaker of its own, if none is known.")
    ] = False,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out what cannot be used, and name it in skipped.txt.")
    ] = False,
    most_skipped: Annotated[float, typer.Option(min=0, max=1, help="The largest part of the rows to leave out.")] = (
        MAX_SKIPPED
    ),
    partial: PartialOption = False,
    jobs: Annotated[int, typer.Option(min=0, help="Recordings at a time; 0: one for each core.")] = 0,
) -> None:
    """Make a data directory from recordings and transcripts: a table, .txt files, or lhotse's manifests.

    Transcripts get lower case and no punctuation. Recordings stay where they are, but for those with another sample
    rate or several channels, which are written to DESTINATION/audio. Exit 1 if a row cannot be used.
    """
    if keep_text and (keep_case or keep_hyphens):
        raise UsageError("--keep-text leaves everything as it is; drop --keep-case and --keep-hyphens")
    if table is None and destination.resolve().is_relative_to(source.resolve()):
        raise UsageError(f"{destination}: lies within {source}, whose recordings are read; write somewhere else")
    _require_encoding(encoding)
    rules = None if keep_text else NormalizationRules(keep_case, keep_hyphens)
    options = ImportOptions(
        sample_rate, rules, speaker_per_file, skip_bad, most_skipped, jobs or available_cores(), partial
    )
    with progress_bar("read transcripts") as show:
        made = import_corpus(read_source(source, table, encoding), destination, options, show)
    for note in made.notes:
        print(note, file=sys.stderr)
    if made.limited:
        print(
            f"{destination}/audio: recordings that reach full scale and were limited: {made.limited}", file=sys.stderr
        )
    if made.skipped:
        print(f"{destination}/skipped.txt: rows left out: {len(made.skipped)}", file=sys.stderr)
    print(f"{destination}: recordings converted to {sample_rate} Hz, one channel: {made.converted}")
    utterances, speakers = len(made.directory.utterances), len(made.directory.by_speaker)
    print(f"{destination}: {utterances} utterances, {speakers} speakers, {made.seconds / 3600:.2f} h")


def _require_encoding(name: str) -> None:
    """Raises UsageError for a name that Python has no text encoding for."""
    try:
        b" ".decode(name or "utf-8")  # of no bytes Python asks for no encoding
    except LookupError:
        raise UsageError(f"--encoding {name}: is no encoding; such as utf-8, utf-16, cp1252 or gb18030") from None
