"""``recitative align``: when each word of a data directory's transcripts is said."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recitative.cli.models import MODEL_HELP, find_model, open_transcriber
from recitative.cli.progress import progress_bar
from recitative.errors import UsageError

if TYPE_CHECKING:
    from recitative.asr.alignment import AlignSummary, Format

SHOWN_FAILED = 20  # utterances named on the terminal; the file 'failed' has all


def align(
    model: Annotated[str, typer.Argument(help=MODEL_HELP)],
    data_dir: Annotated[Path, typer.Argument(help="Data directory with transcripts.")],
    output: Annotated[Path, typer.Option(help="Folder for words.ctm, TextGrids and alignment.jsonl.")],
    format: Annotated[
        list[str] | None,
        typer.Option(help="ctm: words; textgrid: one file per utterance for Praat; json. Default: all."),
    ] = None,
) -> None:
    """Align transcripts with recordings: times of words and tokens.

    Utterances that cannot be aligned are reported and skipped; the exit status is then 1.

    \b
    recitative align exp/lstm/model data/test --output exp/lstm/aligned --format ctm
    """
    from recitative.asr.alignment import align_directory

    formats = _formats(format)
    transcriber = open_transcriber(find_model(model))
    with progress_bar("align") as show:
        summary = align_directory(transcriber, data_dir, output, formats=formats, advance=show)
    speed = summary.audio_s / max(summary.seconds, 1e-9)
    print(
        f"{output}: {summary.utterances} utterances, {summary.audio_s:.0f} s of audio in {summary.seconds:.1f} s, "
        f"{speed:.0f} x real time"
    )
    if summary.failed:
        _name_failed(summary, output)
        raise typer.Exit(1)


def _formats(names: list[str] | None) -> list[Format]:
    from recitative.asr.alignment import FORMATS

    unknown = [name for name in names or () if name not in FORMATS]
    if unknown:
        raise UsageError(f"--format {unknown[0]}: is no format; choose from {', '.join(FORMATS)}")
    return [form for form in FORMATS if not names or form in names]


def _name_failed(summary: AlignSummary, output: Path) -> None:
    for problem in summary.failed[:SHOWN_FAILED]:
        print(f"error: {problem}", file=sys.stderr)
    count, total = len(summary.failed), len(summary.failed) + summary.utterances
    more = f", the others are in {output}/failed" if count > SHOWN_FAILED else ""
    print(f"{count} of {total} utterances could not be aligned{more}", file=sys.stderr)
