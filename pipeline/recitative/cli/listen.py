"""``recitative listen``: live transcription and keywords from the microphone."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from recitative.atomic import json_text, update_text, write_text
from recitative.cli import decoding
from recitative.cli.keywords import (
    KeywordsOption,
    SpottingOptions,
    ThresholdsOption,
    WithinOption,
    open_spotting_recognizer,
)
from recitative.cli.models import MODEL_HELP, TextOption, choose_text, find_model, open_recognizer
from recitative.cli.recordings import PartialOption, tell
from recitative.errors import UsageError

if TYPE_CHECKING:
    from recitative.audio.live import LiveAudio


def open_device(device: str, block_s: float) -> AbstractContextManager[LiveAudio]:
    """device: a number or a part of a name; '' is the default one. Raises what ``open_microphone`` raises."""
    from recitative.audio.live import open_microphone

    return open_microphone(int(device) if device.isdigit() else device or None, block_s)


def warn_of_overruns(live: LiveAudio) -> None:
    """Say how many blocks nobody took in time, if any."""
    if live.overruns:
        print(f"warning: {live.overruns} blocks of audio were lost; the machine is too slow or busy", file=sys.stderr)


# ``recitative listen``: live speech to text.

if TYPE_CHECKING:
    from recitative.asr.recognizer import Recognizer
    from recitative.asr.stream import Cost
    from recitative.asr.transcript import Final, Partial
    from recitative.audio.live import LiveAudio
    from recitative.keywords.spotter import Spotted
    from recitative.model.stream import AudioStream


def listen(
    model: Annotated[str, typer.Option(help=f"{MODEL_HELP} With --keywords also a classifier.")] = "",
    device: Annotated[str, typer.Option(help="Microphone: number or part of the name, see --list-devices.")] = "",
    list_devices: Annotated[bool, typer.Option("--list-devices", help="List the microphones and exit.")] = False,
    input: Annotated[Path | None, typer.Option(help="Audio file, or '-' for stdin, instead of the microphone.")] = None,
    rate: Annotated[
        int | None, typer.Option(min=1000, metavar="HZ", help="Sample rate of raw 16-bit mono samples on stdin.")
    ] = None,
    realtime: Annotated[bool, typer.Option("--realtime", help="Process --input in real time.")] = False,
    partial: PartialOption = False,
    format: Annotated[
        Literal["text", "jsonl", "srt", "vtt"],
        typer.Option(help="jsonl: one event per line, partial results included; srt, vtt: subtitles."),
    ] = "text",
    captions: Annotated[
        Path | None, typer.Option(help="Text file that always has the last two lines, for overlays such as OBS.")
    ] = None,
    chunk_ms: Annotated[int, typer.Option(min=10, max=2000, help="Length of an audio chunk.")] = 160,
    silence_s: Annotated[float, typer.Option(help="Silence that ends an utterance.")] = 1.2,
    empty_silence_s: Annotated[float, typer.Option(help="The same before the first word.")] = 2.4,
    longest_s: Annotated[float, typer.Option(help="Maximum length of an utterance.")] = 20.0,
    text: TextOption = None,
    lm: decoding.LmOption = "",
    hotwords: decoding.HotWordsOption = "",
    grammar: decoding.GrammarOption = None,
    lexicon: decoding.LexiconOption = None,
    nbest: decoding.NbestOption = 1,
    beam: decoding.BeamOption = 0,
    keywords: KeywordsOption = "",
    thresholds: ThresholdsOption = None,
    within_words: WithinOption = False,
    server: Annotated[
        str,
        typer.Option(
            metavar="URL", help="Address of a 'recitative serve' that has the model; --model is then one of its models."
        ),
    ] = "",
    token: Annotated[str, typer.Option(help="Token of the server. Default: RECITATIVE_TOKEN.")] = "",
) -> None:
    """Transcribe the microphone live, or find --keywords.

    On exit (Ctrl-C) it prints the real-time factor, the latency and the number of dropped blocks.

    \b
    recitative listen
    recitative listen --keywords 'enter, stop:0.8'
    recitative listen --input talk.wav --format jsonl
    recitative listen --server http://192.168.1.5:2700 --captions captions.txt
    arecord -f S16_LE -r 16000 -t raw | recitative listen --input - --rate 16000
    """
    from recitative.asr.stream import EndpointRules

    if list_devices:
        return _print_devices()
    if realtime and not input:
        raise UsageError("--realtime: a microphone always is; it goes with --input")
    if device and input:
        raise UsageError("--device and --input: two sources; give one")
    if rate and (str(input) != "-" or realtime):
        raise UsageError("--rate: is the rate of raw samples on stdin, as they come; it goes with --input - alone")
    block_s = chunk_ms / 1000
    rules = EndpointRules(silence_s, empty_silence_s, longest_s, block_s)
    if nbest > 1 and format != "jsonl":
        raise UsageError(f"--nbest {nbest}: alternatives are written in JSON only; add --format jsonl")
    options = decoding.DecodingArguments(lm, hotwords, grammar, lexicon, nbest, beam)
    wanted = SpottingOptions(keywords, thresholds, within_words)
    _require_one_task(options, wanted)
    if keywords and (captions or format in ("srt", "vtt")):
        raise UsageError(f"{'--captions' if captions else f'--format {format}'}: is of text; leave out --keywords")
    if keywords and text:
        raise UsageError("--text: is of transcripts; leave it out with --keywords")
    if token and not server:
        raise UsageError("--token: is that of a server; add --server")
    if server and (
        keywords or text or options != decoding.DecodingArguments() or rules != EndpointRules(step_s=block_s)
    ):
        raise UsageError("--server: has its own options; leave out those of decoding and of utterances")
    show = _Screen(format, captions)
    if server:
        stream, show.model, latency_ms = _stream_of_server(server, token, model)
    else:
        path = find_model(model)
        text = choose_text(text, path, for_people=format != "jsonl" and not grammar)
        recognizer = open_spotting_recognizer(path, wanted) if keywords else open_recognizer(path, options, text=text)
        recognizer.require_streaming()  # a model that cannot is refused before the microphone opens
        show.model, latency_ms = recognizer.name, recognizer.latency_ms or 0.0
        stream = _stream_of_keywords(recognizer) if keywords else recognizer.stream(rules, partial=show.takes_partial)
    with _source(input, rate, device, block_s, realtime, partial) as live:
        if not input:
            print(f"listening with {latency_ms:.0f} ms of look-ahead; Ctrl-C ends it", file=sys.stderr)
        _print_cost(_listen(stream, live, show), live, None if server else latency_ms)


def _stream_of_server(url: str, token: str, name: str) -> tuple[AudioStream[Any], str, float]:
    """And the name of its model, and the look-ahead of that in milliseconds."""
    from recitative.client import Client

    client = Client(url, token or os.environ.get("RECITATIVE_TOKEN", ""), name)
    model = client.model()
    return client.stream(), model.name, model.latency_ms or 0.0


def _stream_of_keywords(recognizer: Recognizer) -> AudioStream[Any]:
    from recitative.keywords.spotter import Spotter

    return Spotter(recognizer).stream()


def _require_one_task(options: decoding.DecodingArguments, wanted: SpottingOptions) -> None:
    """Raises UsageError for options of one way to listen that were given with the other."""
    if wanted.keywords and options != decoding.DecodingArguments():
        raise UsageError("--keywords: looks for these alone; leave out the options that steer the text")
    if not wanted.keywords and wanted != SpottingOptions(""):
        raise UsageError("--thresholds and --within-words: are of keywords; add --keywords")


def _listen(stream: AudioStream[Any], live: LiveAudio, show: _Screen) -> Cost:
    """Until the audio ends, or the user ends it."""
    from recitative.asr.stream import Listener

    listener = Listener(stream, live.sample_rate)
    try:
        for event in listener.listen(live.blocks()):
            show(event)
    except KeyboardInterrupt:
        for event in listener.flush():
            show(event)
    finally:
        show.clear()
    return listener.cost


@contextmanager
def _source(
    path: Path | None, rate: int | None, device: str, block_s: float, realtime: bool, partial: bool
) -> Iterator[LiveAudio]:
    from recitative.audio.files import STANDARD_INPUT, on_disk
    from recitative.audio.live import PipedAudio, PipedFormat, play_file, read_wav_header

    if not path:
        with open_device(device, block_s) as live:
            yield live
        return
    head = b""
    if str(path) == "-" and not (realtime or partial):  # those need a file
        pipe = sys.stdin.buffer
        head, form = (b"", PipedFormat(rate)) if rate else read_wav_header(pipe)
        if form:
            yield PipedAudio(pipe, form, block_s, STANDARD_INPUT)
            return
    warn = lambda odd: tell(f"warning: {path}: {odd}")  # noqa: E731
    with (
        on_disk(str(path), head) as found,
        play_file(found, block_s, realtime=realtime, partial=partial, on_warning=warn) as live,
    ):
        yield live


class _Screen:
    """Final results on standard output, as lines of text or subtitles; as JSON partial ones too, which else come and go
    on a terminal only. captions: a file that has the last lines of both."""

    def __init__(self, format: str, captions: Path | None) -> None:
        from recitative.asr.formats import FORMATS, RollingCaptions

        self.model = ""  # its name
        self.is_json = format == "jsonl"
        self.interactive = sys.stderr.isatty() and not self.is_json
        self.takes_partial = self.is_json or self.interactive or captions is not None
        self.shown = ""
        self.subtitles = FORMATS[format].start("") if format in ("srt", "vtt") else None
        self.captions, self.rolling = captions, RollingCaptions()
        if captions:
            write_text(captions, "")
        if self.subtitles:
            print(FORMATS[format].head, end="", flush=True)

    def __call__(self, event: Partial | Final | Spotted) -> None:
        from recitative.asr.transcript import Final, Partial
        from recitative.cli.keywords import hit_text
        from recitative.model.stream import document

        if self.captions and isinstance(event, Partial | Final):
            update_text(self.captions, self.rolling.add(event))
        if self.is_json:
            print(json_text(document(self.model, event.to_dict())), flush=True)
        elif isinstance(event, Final):
            self.clear()
            if event.words:
                print(self.subtitles.add(event) if self.subtitles else f"{event.text}\n", end="", flush=True)
        elif not isinstance(event, Partial):
            print(hit_text(event), flush=True)
        elif self.interactive:
            self.shown = event.text
            width = shutil.get_terminal_size().columns - 1
            sys.stderr.write(f"\r\x1b[2m{self.shown[-width:]}\x1b[0m\x1b[K")
            sys.stderr.flush()
        for segment in event.segments if isinstance(event, Final) else ():
            if not segment.whole:
                place = f"{segment.start_s:.1f} to {segment.end_s:.1f} s"
                print(f"warning: at {place} nothing whole fits the lexicon or grammar", file=sys.stderr)

    def clear(self) -> None:
        if self.interactive and self.shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
        self.shown = ""


def _print_devices() -> None:
    from recitative.audio.live import list_devices

    devices = list_devices()
    for d in devices:
        print(f"{d.number}\t{d.name}\t{d.sample_rate} Hz{'  (default)' if d.is_default else ''}")
    if not devices:
        print("no microphone found", file=sys.stderr)


def _print_cost(cost: Cost, live: LiveAudio, latency_ms: float | None) -> None:
    """latency_ms: None = the work was done elsewhere."""
    here = (
        ""
        if latency_ms is None
        else (
            f"real-time factor {cost.real_time_factor:.4f}, text {latency_ms:.0f} ms of look-ahead + "
            f"{cost.delay_ms(50):.1f} ms after the sound (p99 {cost.delay_ms(99):.1f} ms), "
        )
    )
    print(f"heard {cost.audio_s:.1f} s, {here}{live.overruns} overruns", file=sys.stderr)
    warn_of_overruns(live)
