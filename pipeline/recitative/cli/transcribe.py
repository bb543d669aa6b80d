"""``recitative transcribe``: text of recordings."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from recitative.atomic import write_text
from recitative.cli import decoding
from recitative.cli.models import MODEL_HELP, find_model, open_recognizer
from recitative.cli.progress import progress_bar
from recitative.errors import UsageError
from recitative.machine import available_cores

if TYPE_CHECKING:
    from recitative.runtime.formats import Format
    from recitative.runtime.recognizer import Transcript


def transcribe(
    inputs: Annotated[
        list[str],
        typer.Argument(help="Recordings of any rate and channels: files, folders, patterns, or - for standard input."),
    ],
    model: Annotated[str, typer.Option(help=MODEL_HELP)] = "",
    format: Annotated[
        Literal["text", "json", "jsonl", "srt", "vtt", "ctm", "tsv", "kaldi"],
        typer.Option(
            help="text: file, tab, text; json, jsonl: words with times; srt, vtt: subtitles; ctm, tsv, kaldi."
        ),
    ] = "text",
    output_dir: Annotated[
        Path | None, typer.Option(help="Write one file for each recording here instead of all to standard output.")
    ] = None,
    streaming: Annotated[
        bool, typer.Option("--streaming", help="Hear recordings in pieces of 160 ms, as a microphone would; same text.")
    ] = False,
    lm: decoding.LmOption = "",
    hotwords: decoding.HotWordsOption = "",
    grammar: decoding.GrammarOption = None,
    lexicon: decoding.LexiconOption = None,
    nbest: decoding.NbestOption = 1,
    beam: decoding.BeamOption = 0,
    jobs: Annotated[int, typer.Option(min=0, help="Processes; 0: as many as there are cores.")] = 0,
) -> None:
    """Transcribe recordings. A bad one is named, the others are done, and the exit status is 1."""
    from recitative.audio.inputs import expand
    from recitative.runtime.batch import STREAMING_BLOCK_S, transcribe_files
    from recitative.runtime.formats import FORMATS
    from recitative.runtime.recognizer import BLOCK_S

    files = expand(inputs)
    form = FORMATS[format]
    if output_dir:
        _require_unlike_names(files, output_dir, form)
    elif format in ("srt", "vtt") and len(files) > 1:
        raise UsageError(f"--format {format}: subtitles of {len(files)} recordings; give each a file with --output-dir")
    if nbest > 1 and format not in ("json", "jsonl"):
        raise UsageError(f"--nbest {nbest}: alternatives are written in JSON only; add --format json or jsonl")
    options = decoding.DecodingOptions(lm, hotwords, grammar, lexicon, nbest, beam)
    open_model = partial(open_recognizer, find_model(model), options)
    workers = min(jobs or available_cores(), len(files))
    block_s = STREAMING_BLOCK_S if streaming else BLOCK_S
    failed = 0
    with progress_bar("transcribe") as show, _writing(output_dir, form) as write:
        advance = partial(show, total=len(files))
        for outcome in transcribe_files(files, open_model, workers, block_s=block_s, progress=advance):
            if outcome.transcript is None:
                print(f"error: {outcome.error}", file=sys.stderr)
                failed += 1
            else:
                write(outcome.file, outcome.transcript)
                _warn_of_broken(outcome.file, outcome.transcript)
    if failed and len(files) > 1:
        print(f"{failed} of {len(files)} recordings could not be transcribed", file=sys.stderr)
    if failed:
        raise typer.Exit(1)


def _warn_of_broken(file: str, transcript: Transcript) -> None:
    """Words that were heard but cannot be written are not passed over in silence."""
    if transcript.broken:
        first, more = transcript.broken[0], len(transcript.broken) - 1
        others = f" and {more} more" if more else ""
        place = f"{first.start_s:.1f} to {first.end_s:.1f} s{others}"
        print(f"warning: {file}: at {place} nothing whole fits the lexicon or grammar", file=sys.stderr)


@contextmanager
def _writing(output_dir: Path | None, form: Format) -> Iterator[Callable[[str, Transcript], None]]:
    """How a transcript is written: into a file of its own, whole or not at all, or to standard output at once."""
    written = 0

    def write_file(file: str, transcript: Transcript) -> None:
        assert output_dir is not None
        write_text(_target(output_dir, file, form), form.file_content(file, transcript))

    def write_stdout(file: str, transcript: Transcript) -> None:
        nonlocal written
        sys.stdout.write((form.between if written else "") + form.write(file, transcript))
        sys.stdout.flush()
        written += 1

    if output_dir:
        yield write_file
        return
    sys.stdout.write(form.head)
    yield write_stdout
    sys.stdout.write(form.tail)


def _target(output_dir: Path, file: str, form: Format) -> Path:
    return output_dir / f"{'stdin' if file == '-' else Path(file).stem}.{form.suffix}"


def _require_unlike_names(files: list[str], output_dir: Path, form: Format) -> None:
    taken: dict[Path, str] = {}
    for file in files:
        other = taken.setdefault(_target(output_dir, file, form), file)
        if other != file:
            target = _target(output_dir, file, form)
            raise UsageError(f"--output-dir: '{other}' and '{file}' would both be {target}; transcribe them in turn")
