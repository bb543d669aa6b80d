"""``recitative listen``: live transcription and keywords from the microphone."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

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
    from recitative.asr.listen import Cost, EndpointRules, Heard
    from recitative.asr.recognizer import Recognizer
    from recitative.audio.microphone import LiveAudio


def listen(
    model: Annotated[str, typer.Option(help=f"{MODEL_HELP} With --keywords also a classifier.")] = "",
    device: Annotated[str, typer.Option(help="Microphone: number or part of the name, see --list-devices.")] = "",
    list_devices: Annotated[bool, typer.Option("--list-devices", help="List the microphones and exit.")] = False,
    input: Annotated[Path | None, typer.Option(help="Audio file, or '-' for stdin, instead of the microphone.")] = None,
    realtime: Annotated[bool, typer.Option("--realtime", help="Process --input in real time.")] = False,
    partial: PartialOption = False,
    format: Annotated[
        Literal["text", "jsonl"], typer.Option(help="jsonl: one utterance per line, with times.")
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
    """
    from recitative.asr.listen import EndpointRules

    if list_devices:
        return _print_devices()
    if realtime and not input:
        raise UsageError("--realtime: a microphone always is; it goes with --input")
    if device and input:
        raise UsageError("--device and --input: two sources; give one")
    rules = EndpointRules(silence_s, empty_silence_s, longest_s)
    if nbest > 1 and format != "jsonl":
        raise UsageError(f"--nbest {nbest}: alternatives are written in JSON only; add --format jsonl")
    options = decoding.DecodingOptions(lm, hotwords, grammar, lexicon, nbest, beam)
    wanted = SpottingOptions(keywords, thresholds, within_words)
    _require_one_task(options, wanted)
    path = find_model(model)
    recognizer = open_spotting_recognizer(path, wanted) if keywords else open_recognizer(path, options)
    _ = recognizer.stream()  # a model that cannot stream is refused before the microphone opens
    block_s = chunk_ms / 1000
    with _source(input, device, block_s, realtime, partial) as live:
        if not input:
            print(f"listening with {recognizer.latency_ms:.0f} ms of look-ahead; Ctrl-C ends it", file=sys.stderr)
        if keywords:
            cost = _print_hits(recognizer, live, block_s, format)
        else:
            cost = _print_text(recognizer, live, rules, block_s, format)
        _print_cost(cost, live, recognizer.latency_ms or 0.0)


def _require_one_task(options: decoding.DecodingOptions, wanted: SpottingOptions) -> None:
    """Raises UsageError for options of one way to listen that were given with the other."""
    if wanted.keywords and options != decoding.DecodingOptions():
        raise UsageError("--keywords: looks for these alone; leave out the options that steer the text")
    if not wanted.keywords and wanted != SpottingOptions(""):
        raise UsageError("--thresholds and --within-words: are of keywords; add --keywords")


def _print_text(recognizer: Recognizer, live: LiveAudio, rules: EndpointRules, block_s: float, format: str) -> Cost:
    """Until the audio ends, or the user ends it."""
    from recitative.asr.listen import Listener

    listener, show = Listener(recognizer, live.sample_rate, rules, block_s=block_s), _Screen(format)
    try:
        for heard in listener.listen(live.blocks()):
            show(heard)
    except KeyboardInterrupt:
        for heard in listener.flush():
            show(heard)
    finally:
        show.clear()
    return listener.cost


def _print_hits(recognizer: Recognizer, live: LiveAudio, block_s: float, format: str) -> Cost:
    """The same with keywords."""
    from recitative.cli.keywords import hit_json, hit_text
    from recitative.keywords.stream import KeywordListener

    write = hit_text if format == "text" else hit_json
    listener = KeywordListener(recognizer, live.sample_rate, block_s=block_s)
    try:
        for hit in listener.listen(live.blocks()):
            print(write(hit), flush=True)
    except KeyboardInterrupt:
        for hit in listener.flush():
            print(write(hit), flush=True)
    return listener.cost


@contextmanager
def _source(path: Path | None, device: str, block_s: float, realtime: bool, partial: bool) -> Iterator[LiveAudio]:
    from recitative.audio.inputs import on_disk
    from recitative.audio.microphone import play_file

    if path:
        with (
            on_disk(str(path)) as found,
            play_file(
                found,
                block_s,
                realtime=realtime,
                partial=partial,
                on_warning=lambda odd: tell(f"warning: {path}: {odd}"),
            ) as live,
        ):
            yield live
    else:
        with open_device(device, block_s) as live:
            yield live


class _Screen:
    """Final results on lines of their own on standard output; partial ones come and go on a terminal only."""

    def __init__(self, format: str) -> None:
        self.format = format
        self.interactive = sys.stderr.isatty() and format == "text"
        self.shown = ""

    def __call__(self, heard: Heard) -> None:
        if heard.final:
            self.clear()
            if heard.transcript.words:
                print(self._line(heard), flush=True)
            for segment in heard.transcript.broken:
                place = f"{segment.start_s:.1f} to {segment.end_s:.1f} s"
                print(f"warning: at {place} nothing whole fits the lexicon or grammar", file=sys.stderr)
        elif self.interactive and heard.transcript.text != self.shown:
            self.shown = heard.transcript.text
            width = shutil.get_terminal_size().columns - 1
            sys.stderr.write(f"\r\x1b[2m{self.shown[-width:]}\x1b[0m\x1b[K")
            sys.stderr.flush()

    def clear(self) -> None:
        if self.interactive and self.shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
        self.shown = ""

    def _line(self, heard: Heard) -> str:
        if self.format == "text":
            return heard.transcript.text
        from recitative.asr.formats import nbest_object, word_objects

        line = {"text": heard.transcript.text, "words": word_objects(heard.transcript)}
        line |= nbest_object(heard.transcript)
        return json.dumps(line, ensure_ascii=False)


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
