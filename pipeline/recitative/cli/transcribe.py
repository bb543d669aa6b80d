"""``recitative transcribe``: text of recordings."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TextIO

import typer

from recitative.atomic import write_text
from recitative.cli import decoding
from recitative.cli.models import MODEL_HELP, TextOption, choose_text, find_model, open_recognizer
from recitative.cli.options import Failures, require_folder
from recitative.cli.recordings import ChannelOption, PartialOption, choose_channels, tell, warn_of_recording
from recitative.cli.start import INTERRUPTED
from recitative.errors import UsageError
from recitative.machine import available_cores
from recitative.terminal import progress_bar

if TYPE_CHECKING:
    from recitative.asr.formats import Format, Writer
    from recitative.asr.recognizer import Channel, Outcome, Recognizer
    from recitative.asr.transcript import Segment, Transcript
    from recitative.terminal import Show


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
    text: TextOption = None,
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

    The output of a single recording grows while it is processed. Unreadable files are reported and skipped; the exit
    status is then 1.

    \b
    recitative transcribe talk.wav
    recitative transcribe calls/ --format srt --output-dir subtitles
    ffmpeg -i film.mkv -f wav - | recitative transcribe -
    """
    from recitative.asr.formats import FORMATS
    from recitative.asr.recognizer import BLOCK_S, STREAMING_BLOCK_S
    from recitative.asr.transcript import Segment
    from recitative.audio.files import expand

    files, channels = choose_channels(expand(inputs, tell), channel, partial_)
    form = FORMATS[format]
    if not output_dir and format in ("srt", "vtt") and len(files) > 1:
        raise UsageError(f"--format {format}: subtitles of {len(files)} recordings; give each a file with --output-dir")
    if nbest > 1 and format not in ("json", "jsonl"):
        raise UsageError(f"--nbest {nbest}: alternatives are written in JSON only; add --format json or jsonl")
    options = decoding.DecodingArguments(lm, hotwords, grammar, lexicon, nbest, beam)
    path = find_model(model)
    text = choose_text(text, path, for_people=format in ("text", "srt", "vtt") and not grammar)
    recognizer = open_recognizer(path, options, text=text)
    if output_dir:
        require_folder(output_dir, "--output-dir")
    workers = min(jobs or available_cores(), len(files))
    block_s = STREAMING_BLOCK_S if streaming else BLOCK_S
    open_again = partial(open_recognizer, path, options, text=text, warns=False)
    failures = Failures(len(files), "could not be transcribed")
    with progress_bar("transcribe") as show, _Output(output_dir, form, files, inputs) as output:
        for found in _heard(files, channels, recognizer, workers, open_again, block_s, partial_, show):
            if isinstance(found, Segment):
                output.add(found)
            elif found.transcript is None:
                output.stop()
                failures.tell(found.error)
            else:
                with failures.of(found.file) if output_dir else nullcontext():
                    output.end(found.file, found.transcript)
                warn_of_recording(found.file, found.transcript)
                _warn_of_broken(found.file, found.transcript)
    failures.finish()


def _heard(
    files: list[str],
    channels: Mapping[str, Channel],
    recognizer: Recognizer,
    workers: int,
    open_again: Callable[[], Recognizer],
    block_s: float,
    partial_ok: bool,
    show: Show,
) -> Iterator[Segment | Outcome]:
    """The outcome of every file; of a single one also its segments, as they are found."""
    from recitative.asr.recognizer import transcribe_file, transcribe_files

    if len(files) == 1:
        advance = lambda heard_s, total_s: show(heard_s / total_s, 1)  # noqa: E731
        channel = channels.get(files[0])
        return transcribe_file(
            files[0], recognizer, block_s=block_s, partial_ok=partial_ok, channel=channel, progress=advance
        )
    return transcribe_files(
        files,
        recognizer,
        workers,
        open_again=open_again,
        block_s=block_s,
        partial_ok=partial_ok,
        channels=channels,
        progress=partial(show, total=len(files)),
    )


def _warn_of_broken(file: str, transcript: Transcript) -> None:
    """Words that were heard but cannot be written are not passed over in silence."""
    if transcript.broken:
        first, more = transcript.broken[0], len(transcript.broken) - 1
        others = f" and {more} more" if more else ""
        place = f"{first.start_s:.1f} to {first.end_s:.1f} s{others}"
        print(f"warning: {file}: at {place} nothing whole fits the lexicon or grammar", file=sys.stderr)


class _Output:
    """Where transcripts go: to standard output at once, or each into a file of its own, whole or not at all.

    That of a single recording grows with every segment, unless its format is written as one (JSON), and stays if the
    rest fails or is interrupted.
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
            sys.stdout.write(self._form.tail)  # a list that was interrupted is one too
        if isinstance(error, KeyboardInterrupt) and self._growing and self._growing.heard_s:
            sys.stdout.flush()
            print(f"error: interrupted; {self._growing.extent}", file=sys.stderr)
            sys.exit(INTERRUPTED)

    def add(self, segment: Segment) -> None:
        """The next segment of the only recording."""
        assert self._growing
        self._growing.add(segment)

    def stop(self) -> None:
        """The recording failed."""
        if self._growing and self._growing.heard_s:
            self._growing.close()
            print(f"warning: {self._growing.extent}", file=sys.stderr)

    def end(self, file: str, transcript: Transcript) -> None:
        """The transcript of a recording."""
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
    """An output that has every segment as soon as it is known. path: None = standard output; heard_s: the end of the
    last segment that is written."""

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
        """A line that is open ends here."""
        if self._last != "\n":
            self._write("\n")
        if self._file and self._path:
            self._file.close()

    def _write(self, text: str) -> None:
        try:
            if not self._file:
                self._file = self._open()
            self._file.write(text)
            self._file.flush()
        except OSError as error:
            if self._path:
                error.filename = str(self._path)
                self._abandon()
            raise
        self._last = text[-1:] or self._last

    def _abandon(self) -> None:
        """What could not be written is still in the buffer of the file, and would fail once more."""
        if self._file:
            with suppress(OSError):
                self._file.close()
        self._file, self._last = None, "\n"

    def _open(self) -> TextIO:
        if not self._path:
            return sys.stdout
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = self._path.open("w", encoding="utf-8", errors="surrogateescape", newline="")
        file.write(self._head)
        return file
