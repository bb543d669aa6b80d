"""``recitative listen``: live transcription and keywords from the microphone."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from recitative.atomic import json_text
from recitative.cli import decoding
from recitative.cli.keywords import (
    KeywordsOption,
    SpottingOptions,
    ThresholdsOption,
    WithinOption,
    open_spotting_recognizer,
)
from recitative.cli.models import MODEL_HELP, find_model, open_recognizer
from recitative.cli.recordings import PartialOption, tell
from recitative.errors import UsageError

if TYPE_CHECKING:
    from recitative.audio.microphone import LiveAudio


def open_device(device: str, block_s: float) -> AbstractContextManager[LiveAudio]:
    """device: a number or a part of a name; '' is the default one. Raises what ``open_microphone`` raises."""
    from recitative.audio.microphone import open_microphone

    return open_microphone(int(device) if device.isdigit() else device or None, block_s)


def warn_of_overruns(live: LiveAudio) -> None:
    """Say how many blocks nobody took in time, if any."""
    if live.overruns:
        print(f"warning: {live.overruns} blocks of audio were lost; the machine is too slow or busy", file=sys.stderr)


# ``recitative listen``: live speech to text.

if TYPE_CHECKING:
    from recitative.asr.listen import Cost
    from recitative.asr.recognizer import Recognizer
    from recitative.asr.stream import EndpointRules
    from recitative.asr.transcript import Final, Partial
    from recitative.audio.microphone import LiveAudio


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
        Literal["text", "jsonl"], typer.Option(help="jsonl: one event per line, partial results included.")
    ] = "text",
    chunk_ms: Annotated[int, typer.Option(min=10, max=2000, help="Length of an audio chunk.")] = 160,
    silence_s: Annotated[float, typer.Option(help="Silence that ends an utterance.")] = 1.2,
    empty_silence_s: Annotated[float, typer.Option(help="The same before the first word.")] = 2.4,
    longest_s: Annotated[float, typer.Option(help="Maximum length of an utterance.")] = 20.0,
    lm: decoding.LmOption = "",
    hotwords: decoding.HotWordsOption = "",
    grammar: decoding.GrammarOption = None,
    lexicon: decoding.LexiconOption = None,
    nbest: decoding.NbestOption = 1,
    beam: decoding.BeamOption = 0,
    keywords: KeywordsOption = "",
    thresholds: ThresholdsOption = None,
    within_words: WithinOption = False,
) -> None:
    """Transcribe the microphone live, or find --keywords.

    On exit (Ctrl-C) it prints the real-time factor, the latency and the number of dropped blocks.

    \b
    recitative listen
    recitative listen --keywords 'enter, stop:0.8'
    recitative listen --input talk.wav --format jsonl
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
    options = decoding.DecodingOptions(lm, hotwords, grammar, lexicon, nbest, beam)
    wanted = SpottingOptions(keywords, thresholds, within_words)
    _require_one_task(options, wanted)
    path = find_model(model)
    recognizer = open_spotting_recognizer(path, wanted) if keywords else open_recognizer(path, options)
    recognizer.require_streaming()  # a model that cannot is refused before the microphone opens
    with _source(input, rate, device, block_s, realtime, partial) as live:
        if not input:
            print(f"listening with {recognizer.latency_ms:.0f} ms of look-ahead; Ctrl-C ends it", file=sys.stderr)
        cost = _print_hits(recognizer, live, format) if keywords else _print_text(recognizer, live, rules, format)
        _print_cost(cost, live, recognizer.latency_ms or 0.0)


def _require_one_task(options: decoding.DecodingOptions, wanted: SpottingOptions) -> None:
    """Raises UsageError for options of one way to listen that were given with the other."""
    if wanted.keywords and options != decoding.DecodingOptions():
        raise UsageError("--keywords: looks for these alone; leave out the options that steer the text")
    if not wanted.keywords and wanted != SpottingOptions(""):
        raise UsageError("--thresholds and --within-words: are of keywords; add --keywords")


def _print_text(recognizer: Recognizer, live: LiveAudio, rules: EndpointRules, format: str) -> Cost:
    """Until the audio ends, or the user ends it."""
    from recitative.asr.listen import Listener

    show = _Screen(format, recognizer.name)
    listener = Listener(recognizer.stream(rules, partial=show.takes_partial), live.sample_rate)
    try:
        for event in listener.listen(live.blocks()):
            show(event)
    except KeyboardInterrupt:
        for event in listener.flush():
            show(event)
    finally:
        show.clear()
    return listener.cost


def _print_hits(recognizer: Recognizer, live: LiveAudio, format: str) -> Cost:
    """The same with keywords."""
    from recitative.asr.listen import Listener
    from recitative.cli.keywords import hit_text
    from recitative.keywords.stream import Spotted, Spotter
    from recitative.model.stream import document

    def show(hit: Spotted) -> None:
        line = hit_text(hit) if format == "text" else json_text(document(recognizer.name, hit.to_dict()))
        print(line, flush=True)

    listener = Listener(Spotter(recognizer).stream(), live.sample_rate)
    try:
        for hit in listener.listen(live.blocks()):
            show(hit)
    except KeyboardInterrupt:
        for hit in listener.flush():
            show(hit)
    return listener.cost


@contextmanager
def _source(
    path: Path | None, rate: int | None, device: str, block_s: float, realtime: bool, partial: bool
) -> Iterator[LiveAudio]:
    from recitative.audio.inputs import STANDARD_INPUT, on_disk
    from recitative.audio.microphone import PipedAudio, play_file
    from recitative.audio.pipes import PipedFormat, read_wav_header

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
    """Final results on lines of their own on standard output, as JSON partial ones too; as text these come and go on a
    terminal only."""

    def __init__(self, format: str, model: str) -> None:
        self.is_json, self.model = format == "jsonl", model
        self.interactive = sys.stderr.isatty() and not self.is_json
        self.takes_partial = self.is_json or self.interactive
        self.shown = ""

    def __call__(self, event: Partial | Final) -> None:
        from recitative.asr.transcript import Final
        from recitative.model.stream import document

        if self.is_json:
            print(json_text(document(self.model, event.to_dict())), flush=True)
        elif isinstance(event, Final):
            self.clear()
            if event.words:
                print(event.text, flush=True)
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
    from recitative.audio.microphone import list_devices

    devices = list_devices()
    for d in devices:
        print(f"{d.number}\t{d.name}\t{d.sample_rate} Hz{'  (default)' if d.is_default else ''}")
    if not devices:
        print("no microphone found", file=sys.stderr)


def _print_cost(cost: Cost, live: LiveAudio, latency_ms: float) -> None:
    print(
        f"heard {cost.audio_s:.1f} s, real-time factor {cost.real_time_factor:.4f}, text {latency_ms:.0f} ms of "
        f"look-ahead + {cost.delay_ms(50):.1f} ms after the sound (p99 {cost.delay_ms(99):.1f} ms), "
        f"{live.overruns} overruns",
        file=sys.stderr,
    )
    warn_of_overruns(live)
