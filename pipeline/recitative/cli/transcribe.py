"""``recitative transcribe``: text of recordings."""

from __future__ import annotations

import sys
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TextIO

import typer

from recitative.atomic import write_text
from recitative.cli.models import (
    MODEL_HELP,
    DecodingArguments,
    TextOption,
    choose_text,
    complete_model,
    find_model,
    open_recognizer,
)
from recitative.cli.options import (
    ChannelOption,
    Failures,
    InputsArgument,
    JobsOption,
    PartialOption,
    Without,
    choose_channels,
    expand_options,
    files_bar,
    print_note,
    print_warnings,
    processes_for,
    require_folder,
)
from recitative.cli.start import INTERRUPTED
from recitative.errors import UsageError

if TYPE_CHECKING:
    from recitative.asr.formats import Format, Writer
    from recitative.asr.transcript import Segment, Transcript


@expand_options
def transcribe(
    inputs: InputsArgument,
    decoding: Annotated[DecodingArguments, Without("greedy")],
    model: Annotated[str, typer.Option(help=MODEL_HELP, autocompletion=complete_model)] = "",
    format: Annotated[
        Literal[
            "text", "json", "jsonl", "srt", "vtt", "ctm", "tsv", "kaldi", "stm", "trn", "textgrid", "eaf", "audacity"
        ],
        typer.Option(
            help="text: file and text; json, jsonl, ctm, tsv: words with times; srt, vtt: subtitles; kaldi; stm, trn: "
            "for sclite; textgrid, eaf, audacity: annotations for Praat, ELAN and Audacity."
        ),
    ] = "text",
    output_dir: Annotated[
        Path | None, typer.Option(help="Write one file per recording to this folder, not all to stdout.")
    ] = None,
    streaming: Annotated[
        bool,
        typer.Option("--streaming", help="Process audio in 160 ms chunks, as in live use. The text does not change."),
    ] = False,
    text: TextOption = None,
    channel: ChannelOption = "mix",
    partial_: PartialOption = False,
    jobs: JobsOption = 0,
) -> None:
    """Transcribe recordings.

    The output of a single recording grows while it is processed. Unreadable files are reported and skipped; the exit
    status is then 1.

    \b
    recitative transcribe talk.wav
    recitative transcribe calls/ --format srt --output-dir subtitles
    ffmpeg -i film.mkv -f wav - | recitative transcribe -
    """
    from recitative.asr.formats import FORMATS
    from recitative.asr.recognizer import BLOCK_S, STREAMING_BLOCK_S, transcribe_file, transcribe_files
    from recitative.asr.transcript import Segment
    from recitative.audio.files import expand

    files, channels = choose_channels(expand(inputs, print_note), channel, partial_)
    if not output_dir and FORMATS[format].single and len(files) > 1:
        raise UsageError(f"--format {format}: needs a file for each of {len(files)} recordings; add --output-dir")
    if decoding.nbest > 1 and format not in ("json", "jsonl"):
        raise UsageError(f"--nbest {decoding.nbest}: requires --format json or jsonl")
    path = find_model(model)
    text = choose_text(text, path, for_people=format in ("text", "srt", "vtt") and not decoding.grammar)
    recognizer = open_recognizer(path, decoding, text=text)
    if output_dir:
        require_folder(output_dir, "--output-dir")
    block_s = STREAMING_BLOCK_S if streaming else BLOCK_S
    failures = Failures(len(files), "could not be transcribed")
    with files_bar("transcribe", files) as show, _Output(output_dir, FORMATS[format], files, inputs) as output:
        if len(files) == 1:  # its segments come one by one
            outcomes = transcribe_file(
                files[0], recognizer, block_s=block_s, partial_ok=partial_, channel=channels.get(files[0]),
                progress=show,
            )  # fmt: skip
        else:
            outcomes = transcribe_files(
                files, recognizer, processes_for(files, channels, jobs), block_s=block_s, partial_ok=partial_,
                open_again=partial(open_recognizer, path, decoding, text=text, warns=False), channels=channels,
                progress=show,
            )  # fmt: skip
        for found in outcomes:
            if isinstance(found, Segment):
                output.add(found)
            elif found.transcript is None:
                output.stop()
                failures.add(found.error)
            else:
                with failures.catch(found.file) if output_dir else nullcontext():
                    output.end(found.file, found.transcript)
                print_warnings(found.file, found.transcript)
                warn_of_broken(found.file, found.transcript)
    failures.finish()


def warn_of_broken(file: str, transcript: Transcript) -> None:
    """Warn about segments of which no text fits the lexicon or the grammar."""
    if transcript.broken:
        first, more = transcript.broken[0], len(transcript.broken) - 1
        others = f" and {more} more" if more else ""
        place = f"{first.start_s:.1f} to {first.end_s:.1f} s{others}"
        print_note(f"warning: {file}: at {place} nothing whole fits the lexicon or grammar")


class _Output:
    """Writes transcripts to stdout, or each to a file of its own, atomically.

    The transcript of a single recording is written segment by segment, except in formats that need all of it (JSON),
    and stays if the rest fails or is interrupted.
    """

    def __init__(self, output_dir: Path | None, form: Format, files: list[str], inputs: list[str]) -> None:
        from recitative.model.names import output_names, recording_ids

        self._output_dir, self._form = output_dir, form
        self._ids = recording_ids(files) if form.by_id else {}
        self._targets = output_names(files, inputs) if output_dir else {}
        self._between = ""
        self._growing: _Growing | None = None
        if len(files) == 1:
            start = form.alone if output_dir and form.alone else form.start
            head = form.head if output_dir and not form.alone else ""
            path = self._path(files[0]) if output_dir else None
            self._growing = _Growing(start(self._name(files[0])), path, head)

    def __enter__(self) -> _Output:
        if not self._output_dir:
            sys.stdout.write(self._form.head)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if self._growing:
            self._growing.close()
        if not self._output_dir:
            sys.stdout.write(self._form.tail)  # also after an interruption: it ends a JSON list
        if isinstance(error, KeyboardInterrupt) and self._growing and self._growing.heard_s:
            sys.stdout.flush()
            print(f"error: interrupted; {self._growing.extent}", file=sys.stderr)
            sys.exit(INTERRUPTED)

    def add(self, segment: Segment) -> None:
        """Write the next segment of a single recording."""
        assert self._growing
        self._growing.add(segment)

    def stop(self) -> None:
        """Close the output of a single recording that failed."""
        if self._growing and self._growing.heard_s:
            self._growing.close()
            print(f"warning: {self._growing.extent}", file=sys.stderr)

    def end(self, file: str, transcript: Transcript) -> None:
        """Write the transcript of a recording, or the rest of it."""
        if self._growing and self._growing.heard_s:
            self._growing.end(transcript)
        elif self._output_dir:
            write_text(self._path(file), self._form.file_content(self._name(file), transcript))
        else:
            sys.stdout.write(self._between + self._form.write(self._name(file), transcript))
            sys.stdout.flush()
            self._between = self._form.between

    def _name(self, file: str) -> str:
        return self._ids.get(file, file)

    def _path(self, file: str) -> Path:
        assert self._output_dir
        return self._output_dir / f"{self._targets[file]}.{self._form.suffix}"


class _Growing:
    """Writes every segment of a recording when it is final.

    path: None = stdout; heard_s: end of the last written segment, in seconds
    """

    def __init__(self, writer: Writer, path: Path | None, head: str) -> None:
        self._writer, self._path, self._head = writer, path, head
        self._file: TextIO | None = None
        self._last = "\n"
        self.heard_s = 0.0

    @property
    def extent(self) -> str:
        minutes, seconds = divmod(int(self.heard_s), 60)
        return f"the first {minutes}:{seconds:02d} min are in {self._path or 'the output'}"

    def add(self, segment: Segment) -> None:
        if text := self._writer.add(segment):
            self._write(text)
            self.heard_s = segment.end_s

    def end(self, transcript: Transcript) -> None:
        self._write(self._writer.end(transcript))
        self.close()

    def close(self) -> None:
        """End the last line."""
        if self._last != "\n":
            self._write("\n")
        if self._file and self._path:
            self._file.close()

    def _write(self, text: str) -> None:
        try:
            self._file = self._file or self._open()
            self._file.write(text)
            self._file.flush()
        except OSError as error:
            if self._path:
                error.filename = str(self._path)
                if self._file:  # its buffer has text that would fail again
                    with suppress(OSError):
                        self._file.close()
                self._file, self._last = None, "\n"
            raise
        self._last = text[-1:] or self._last

    def _open(self) -> TextIO:
        if not self._path:
            return sys.stdout
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = self._path.open("w", encoding="utf-8", errors="surrogateescape", newline="")
        file.write(self._head)
        return file
