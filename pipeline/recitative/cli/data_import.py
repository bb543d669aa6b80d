"""``recitative data import``: a data directory from a folder of recordings."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from recitative.audio.files import SUFFIXES
from recitative.cli.progress import progress_bar
from recitative.cli.recordings import PartialOption
from recitative.data.importing.corpus import MAX_SKIPPED, ImportOptions, import_corpus, read_source
from recitative.errors import UsageError
from recitative.machine import available_cores
from recitative.text.normalize import NormalizationRules


def import_recordings(
    source: Annotated[Path, typer.Argument(help="Folder of recordings, lhotse manifests, or lhotse's cuts.jsonl.gz.")],
    destination: Annotated[Path, typer.Argument(help="Data directory to write. Its tables are replaced.")],
    table: Annotated[
        Path | None,
        typer.Option(
            help="CSV, TSV or JSON-lines table with path, text, perhaps speaker. Default: a .txt file per recording."
        ),
    ] = None,
    sample_rate: Annotated[
        int, typer.Option(min=4000, max=96000, help="Sample rate in Hz. Other recordings are converted.")
    ] = 16000,
    encoding: Annotated[
        str,
        typer.Option(
            help="Encoding of the table or .txt files, such as cp1252. Default: UTF-8, or UTF-16 with its mark."
        ),
    ] = "",
    keep_text: Annotated[bool, typer.Option("--keep-text", help="Do not normalize transcripts.")] = False,
    keep_case: Annotated[bool, typer.Option("--keep-case", help="Keep capital letters.")] = False,
    speaker_per_file: Annotated[
        bool, typer.Option("--speaker-per-file", help="Treat each recording without a known speaker as a new speaker.")
    ] = False,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out unusable rows and list them in skipped.txt.")
    ] = False,
    most_skipped: Annotated[float, typer.Option(min=0, max=1, help="Maximum fraction of rows to leave out.")] = (
        MAX_SKIPPED
    ),
    partial: PartialOption = False,
    jobs: Annotated[int, typer.Option(min=0, help="Number of processes. 0: one per core.")] = 0,
) -> None:
    """Make a data directory from recordings and transcripts.

    Transcripts become lower case without punctuation. Recordings of another sample rate or with several channels are
    converted to DESTINATION/audio. The exit status is 1 if a row cannot be used.

    \b
    recitative data import recordings data/all --table recordings/words.csv
    """
    if keep_text and keep_case:
        raise UsageError("--keep-text leaves everything as it is; drop --keep-case")
    if source.is_file() and source.suffix.lower() in SUFFIXES:
        raise UsageError(f"{source}: is one recording; name the folder of the recordings, '{source.parent}'")
    if table is None and destination.resolve().is_relative_to(source.resolve()):
        raise UsageError(f"{destination}: lies within {source}, whose recordings are read; write somewhere else")
    _require_encoding(encoding)
    rules = None if keep_text else NormalizationRules(keep_case)
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
