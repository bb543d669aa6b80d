"""``recitative transcribe``: text of recordings."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from recitative.atomic import write_text
from recitative.cli import decoding
from recitative.cli.models import MODEL_HELP, find_model, open_recognizer
from recitative.cli.options import Failures, require_folder
from recitative.cli.progress import progress_bar
from recitative.cli.recordings import ChannelOption, PartialOption, choose_channels, tell, warn_of_recording
from recitative.errors import UsageError
from recitative.machine import available_cores

if TYPE_CHECKING:
    from recitative.asr.formats import Format
    from recitative.asr.transcript import Transcript


def transcribe(
    inputs: Annotated[
        list[str],
        typer.Argument(help="Audio files, folders, patterns such as 'calls/*.wav', or '-' for stdin."),
    ],
    model: Annotated[str, typer.Option(help=MODEL_HELP)] = "",
    format: Annotated[
        Literal["text", "json", "jsonl", "srt", "vtt", "ctm", "tsv", "kaldi"],
        typer.Option(help="text: file and text; json, jsonl: words with times; srt, vtt: subtitles; ctm, tsv, kaldi."),
    ] = "text",
    output_dir: Annotated[
        Path | None, typer.Option(help="Write one file per recording to this folder, not all to stdout.")
    ] = None,
    streaming: Annotated[
        bool,
        typer.Option("--streaming", help="Process audio in 160 ms chunks, as in live use. The text does not change."),
    ] = False,
    lm: decoding.LmOption = "",
    hotwords: decoding.HotWordsOption = "",
    grammar: decoding.GrammarOption = None,
    lexicon: decoding.LexiconOption = None,
    nbest: decoding.NbestOption = 1,
    beam: decoding.BeamOption = 0,
    channel: ChannelOption = "mix",
    partial_: PartialOption = False,
    jobs: Annotated[int, typer.Option(min=0, help="Number of processes. 0: one per core.")] = 0,
) -> None:
    """Transcribe recordings.

    Unreadable files are reported and skipped; the exit status is then 1.

    \b
    recitative transcribe talk.wav
    recitative transcribe calls/ --format srt --output-dir subtitles
    ffmpeg -i film.mkv -f wav - | recitative transcribe -
    """
    from recitative.asr.batch import STREAMING_BLOCK_S, transcribe_files
    from recitative.asr.formats import FORMATS
    from recitative.asr.recognizer import BLOCK_S
    from recitative.audio.inputs import expand

    files, channels = choose_channels(expand(inputs, tell), channel, partial_)
    form = FORMATS[format]
    if not output_dir and format in ("srt", "vtt") and len(files) > 1:
        raise UsageError(f"--format {format}: subtitles of {len(files)} recordings; give each a file with --output-dir")
    if nbest > 1 and format not in ("json", "jsonl"):
        raise UsageError(f"--nbest {nbest}: alternatives are written in JSON only; add --format json or jsonl")
    options = decoding.DecodingOptions(lm, hotwords, grammar, lexicon, nbest, beam)
    path = find_model(model)
    recognizer = open_recognizer(path, options)
    if output_dir:
        require_folder(output_dir, "--output-dir")
    workers = min(jobs or available_cores(), len(files))
    block_s = STREAMING_BLOCK_S if streaming else BLOCK_S
    failures = Failures(len(files), "could not be transcribed")
    with progress_bar("transcribe") as show, _writing(output_dir, form, files, inputs) as write:
        advance = partial(show, total=len(files))
        open_again = partial(open_recognizer, path, options, warns=False)
        outcomes = transcribe_files(
            files,
            recognizer,
            workers,
            open_again=open_again,
            block_s=block_s,
            partial_ok=partial_,
            channels=channels,
            progress=advance,
        )
        for outcome in outcomes:
            if outcome.transcript is None:
                failures.tell(outcome.error)
            else:
                with failures.of(outcome.file) if output_dir else nullcontext():
                    write(outcome.file, outcome.transcript)
                warn_of_recording(outcome.file, outcome.transcript)
                _warn_of_broken(outcome.file, outcome.transcript)
    failures.finish()


def _warn_of_broken(file: str, transcript: Transcript) -> None:
    """Words that were heard but cannot be written are not passed over in silence."""
    if transcript.broken:
        first, more = transcript.broken[0], len(transcript.broken) - 1
        others = f" and {more} more" if more else ""
        place = f"{first.start_s:.1f} to {first.end_s:.1f} s{others}"
        print(f"warning: {file}: at {place} nothing whole fits the lexicon or grammar", file=sys.stderr)


@contextmanager
def _writing(
    output_dir: Path | None, form: Format, files: list[str], inputs: list[str]
) -> Iterator[Callable[[str, Transcript], None]]:
    """How a transcript is written: into a file of its own, whole or not at all, or to standard output at once."""
    from recitative.model.names import output_names, recording_ids

    ids = recording_ids(files) if form.by_id else {}
    targets = output_names(files, inputs) if output_dir else {}
    written = 0

    def write_file(file: str, transcript: Transcript) -> None:
        assert output_dir is not None
        write_text(output_dir / f"{targets[file]}.{form.suffix}", form.file_content(ids.get(file, file), transcript))

    def write_stdout(file: str, transcript: Transcript) -> None:
        nonlocal written
        sys.stdout.write((form.between if written else "") + form.write(ids.get(file, file), transcript))
        sys.stdout.flush()
        written += 1

    if output_dir:
        yield write_file
        return
    sys.stdout.write(form.head)
    try:
        yield write_stdout
    finally:
        sys.stdout.write(form.tail)  # a list that was interrupted is one too
