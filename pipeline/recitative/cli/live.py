"""``recitative listen`` and ``serve``: live audio from a microphone, a pipe or clients."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from recitative import pretrained
from recitative.atomic import json_text, update_text, write_text
from recitative.cli.keywords import (
    KeywordsOption,
    SpottingOptions,
    ThresholdsOption,
    WithinOption,
    format_detection,
    open_spotting_recognizer,
)
from recitative.cli.options import (
    MODEL_HELP,
    RECOGNIZERS,
    SERVED,
    DecodingArguments,
    PartialOption,
    RateOption,
    TextOption,
    Without,
    choose_text,
    complete,
    expand_options,
    find_model,
    open_recognizer,
    opening,
    print_note,
)
from recitative.data.parallel import available_cores
from recitative.errors import UsageError, counted
from recitative.terminal import progress_bar

if TYPE_CHECKING:
    from recitative.asr.stream import Cost
    from recitative.asr.transcript import Final, Partial, TextForm
    from recitative.audio.live import LiveAudio
    from recitative.keywords.spotter import Spotted
    from recitative.model.stream import AudioStream
    from recitative.serve.models import ServedModel


def open_device(device: str, block_s: float) -> AbstractContextManager[LiveAudio]:
    """Open a microphone by its number or a part of its name; '' is the default one. Raises as ``open_microphone``."""
    from recitative.audio.live import open_microphone

    return open_microphone(int(device) if device.isdigit() else device or None, block_s)


def warn_of_overruns(live: LiveAudio) -> None:
    """Warn about blocks that were dropped because they were not processed in time."""
    if live.overruns:
        print_note(f"warning: {counted(live.overruns, 'block')} of audio lost; the machine is too slow or busy")


@expand_options
def listen(
    decoding: Annotated[DecodingArguments, Without("greedy")],
    model: Annotated[
        str,
        typer.Option(help=f"{MODEL_HELP} With --keywords also a classifier.", autocompletion=complete(*RECOGNIZERS)),
    ] = "",
    device: Annotated[str, typer.Option(help="Microphone: number or part of the name, see --list-devices.")] = "",
    list_devices: Annotated[bool, typer.Option("--list-devices", help="List the microphones and exit.")] = False,
    input: Annotated[Path | None, typer.Option(help="Audio file, or '-' for stdin, instead of the microphone.")] = None,
    rate: RateOption = None,
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
    block_s = chunk_ms / 1000
    rules = EndpointRules(silence_s, empty_silence_s, longest_s, block_s)
    spotting = SpottingOptions(keywords, thresholds, within_words)
    require_source(input, rate, device, realtime)
    if decoding.nbest > 1 and format != "jsonl":
        raise UsageError(f"--nbest {decoding.nbest}: requires --format jsonl")
    if keywords and decoding != DecodingArguments():
        raise UsageError("--keywords: excludes the options of decoding; leave them out")
    if not keywords and spotting != SpottingOptions(""):
        raise UsageError("--thresholds and --within-words: require --keywords")
    if keywords and (captions or format in ("srt", "vtt")):
        raise UsageError(f"{'--captions' if captions else f'--format {format}'}: not with --keywords")
    if keywords and rules != EndpointRules(step_s=block_s):
        raise UsageError("--silence-s, --empty-silence-s, --longest-s: of utterances, not with --keywords")
    if keywords and text:
        raise UsageError("--text: not with --keywords")
    if token and not server:
        raise UsageError("--token: requires --server")
    if server and (keywords or text or decoding != DecodingArguments() or rules != EndpointRules(step_s=block_s)):
        raise UsageError("--server: has its own options; leave out those of decoding and of utterances")
    screen = _Screen(format, captions)
    latency_ms: float | None = None  # of the work on this machine
    stream: AudioStream[Any]
    if server:
        from recitative.client import Client

        client = Client(server, token or os.environ.get("RECITATIVE_TOKEN", ""), model)
        served, stream = client.model(), client.stream()
        screen.model, look_ahead_ms = served.name, served.latency_ms or 0.0
    else:
        path = find_model(model)
        text = choose_text(text, path, for_people=format != "jsonl" and not decoding.grammar)
        with opening(path):
            recognizer = (
                open_spotting_recognizer(path, spotting) if keywords else open_recognizer(path, decoding, text=text)
            )
        recognizer.require_streaming()  # before the microphone is opened
        screen.model, look_ahead_ms = recognizer.name, recognizer.latency_ms or 0.0
        latency_ms = look_ahead_ms
        if keywords:
            from recitative.keywords.spotter import Spotter

            stream = Spotter(recognizer).stream()
        else:
            stream = recognizer.stream(rules, partial=screen.takes_partial)
    with open_source(input, rate, device, block_s, realtime, partial) as live:
        if not input:
            print_note(f"listening with {look_ahead_ms:.0f} ms of look-ahead; Ctrl-C ends it")
        _print_cost(_listen(stream, live, screen), live, latency_ms)


def _listen(stream: AudioStream[Any], live: LiveAudio, screen: _Screen) -> Cost:
    """Print events until the audio ends or Ctrl-C is pressed."""
    from recitative.asr.stream import Listener

    listener = Listener(stream, live.sample_rate)
    try:
        for event in listener.listen(live.blocks()):
            screen(event)
    except KeyboardInterrupt:
        for event in listener.flush():
            screen(event)
    finally:
        screen.clear()
    return listener.cost


def require_source(input: Path | None, rate: int | None, device: str, realtime: bool) -> None:
    """Raises UsageError for options of ``open_source`` that exclude each other."""
    if realtime and not input:
        raise UsageError("--realtime: requires --input")
    if device and input:
        raise UsageError("--device and --input exclude each other; give one")
    if rate and (str(input) != "-" or realtime):
        raise UsageError("--rate: requires --input -, without --realtime")


@contextmanager
def open_source(
    path: Path | None, rate: int | None, device: str, block_s: float, realtime: bool, partial: bool = False
) -> Iterator[LiveAudio]:
    """Open a file, standard input ('-'), or without a path a microphone. See the options of ``listen``."""
    from recitative.audio.files import STANDARD_INPUT, on_disk
    from recitative.audio.live import PipedAudio, PipedFormat, play_file, read_wav_header

    if not path:
        with open_device(device, block_s) as live:
            yield live
        return
    head = b""
    if str(path) == "-" and not (realtime or partial):  # these need a file
        pipe = sys.stdin.buffer
        head, form = (b"", PipedFormat(rate)) if rate else read_wav_header(pipe)
        if form:
            yield PipedAudio(pipe, form, block_s, STANDARD_INPUT)
            return
    warn = lambda warning: print_note(f"warning: {path}: {warning}")  # noqa: E731
    with (
        on_disk(str(path), head) as found,
        play_file(found, block_s, realtime=realtime, partial=partial, on_warning=warn) as live,
    ):
        yield live


class _Screen:
    """Prints final results on stdout as text or subtitles, and partial ones on a terminal; as JSON lines, both.

    captions: file that always has the last lines of both
    """

    def __init__(self, format: str, captions: Path | None) -> None:
        from recitative.asr.transcript import FORMATS, RollingCaptions

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
            print(format_detection(event), flush=True)
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
        print_note("no microphone found")


def _print_cost(cost: Cost, live: LiveAudio, latency_ms: float | None) -> None:
    """latency_ms: look-ahead of the model; None = a server did the work"""
    here = ""
    if latency_ms is not None:
        here = (
            f"real-time factor {cost.real_time_factor:.4f}, text {latency_ms:.0f} ms of look-ahead + "
            f"{cost.delay_ms(50):.1f} ms after the sound (p99 {cost.delay_ms(99):.1f} ms), "
        )
    print_note(f"processed {cost.audio_s:.1f} s, {here}{counted(live.overruns, 'overrun')}")
    warn_of_overruns(live)


# ``recitative serve``

LIMITS = "Limits"
SAFETY = "Access"


@expand_options
def serve(
    decoding: Annotated[DecodingArguments, Without("nbest", "greedy")],
    model: Annotated[
        list[str] | None,
        typer.Option(help=f"{MODEL_HELP} Repeat it for several models.", autocompletion=complete(*SERVED)),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0: all of this machine.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 = any that is free.")] = 2700,
    wyoming_port: Annotated[
        int,
        typer.Option(min=0, max=65535, help="Port for the Wyoming protocol (Home Assistant), such as 10300. 0: none."),
    ] = 0,
    token: Annotated[
        str,
        typer.Option(
            envvar="RECITATIVE_TOKEN",
            help="Bearer token that clients must send.",
            rich_help_panel=SAFETY,
            show_envvar=True,
        ),
    ] = "",
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(help="Origin of pages on other servers that may use this one, or '*'.", rich_help_panel=SAFETY),
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option(help="TLS certificate, PEM; with --key.", rich_help_panel=SAFETY)
    ] = None,
    key: Annotated[Path | None, typer.Option(help="Its private key, PEM.", rich_help_panel=SAFETY)] = None,
    streams: Annotated[int, typer.Option(min=1, help="Live streams at once.", rich_help_panel=LIMITS)] = 32,
    recordings: Annotated[int, typer.Option(min=1, help="Recordings at once.", rich_help_panel=LIMITS)] = 2,
    upload_mb: Annotated[float, typer.Option(min=0.1, help="Size of a recording.", rich_help_panel=LIMITS)] = 200.0,
    recording_s: Annotated[float, typer.Option(min=1, help="Length of a recording.", rich_help_panel=LIMITS)] = 14400.0,
    idle_s: Annotated[
        float, typer.Option(min=1, help="A live stream may send nothing for so long.", rich_help_panel=LIMITS)
    ] = 60.0,
    total_s: Annotated[float, typer.Option(min=1, help="Length of a live stream.", rich_help_panel=LIMITS)] = 14400.0,
    processes: Annotated[
        int,
        typer.Option(
            min=0,
            help="Processes for live streams. 0: one for every 8 of --streams, but at most one per core.",
            rich_help_panel=LIMITS,
        ),
    ] = 0,
    drain_s: Annotated[
        float, typer.Option(min=0, help="On SIGTERM, live streams may go on for so long.", rich_help_panel=LIMITS)
    ] = 30.0,
    silence_s: Annotated[float, typer.Option(help="Silence that ends an utterance of a live stream.")] = 1.2,
    text: TextOption = None,
) -> None:
    """Serve models to other programs and browsers, without PyTorch: recognizers, classifiers, anomaly and music models.

    At / there is a page, and by WebSocket what clients of Vosk's server expect; at /v1 what clients of OpenAI's API
    expect, and the endpoints of other kinds of models, which /v1/models lists; at /v1/stream live events; and
    /healthz, /readyz and /metrics.

    \b
    recitative serve
    recitative serve --model en --model chorales --model chorales-fill --model sounds.onnx
    recitative serve --model model.onnx --host 0.0.0.0 --token "$SECRET" --certificate cert.pem --key key.pem
    curl -F file=@talk.mp3 -F response_format=srt http://127.0.0.1:2700/v1/audio/transcriptions
    """
    import ssl

    from recitative.asr.stream import EndpointRules
    from recitative.serve.access import LOOPBACK, Access, Limits
    from recitative.serve.app import Server, Service

    if (certificate is None) != (key is None):
        raise UsageError("--certificate and --key: give both or neither")
    for option, path in (("--certificate", certificate), ("--key", key)):
        if path and not os.access(path, os.R_OK):
            raise UsageError(f"{option} {path}: cannot be read; give a PEM file")
    if certificate:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
        except ssl.SSLError as error:
            reason = error.reason or "not PEM"
            raise UsageError(f"--certificate, --key: are no certificate and its key in PEM files ({reason})") from None
    paths = [find_model(name, SERVED) for name in model or [""]]
    with progress_bar("open models"):
        models = open_models(paths, decoding, text)
    limits = Limits(
        streams=streams, recordings=recordings, upload_mb=upload_mb, recording_s=recording_s, idle_s=idle_s,
        total_s=total_s,
    )  # fmt: skip
    access = Access(host, token, tuple(allow_origin or ()))
    if host not in LOOPBACK and not token:
        print_note(f"warning: anyone who reaches {host} can use this server; --token requires a secret")
    server = Server(
        models, limits, access, EndpointRules(silence_s=silence_s), wyoming_port,
        processes or max(1, min(available_cores(), streams // 8)),
        partial(open_models, paths, decoding, text, warns=False),
    )  # fmt: skip

    def on_start() -> None:
        names = ", ".join(one.name for one in models)
        print(f"{names} at {service.url} (Ctrl-C ends it)", file=sys.stderr, flush=True)

    service = Service(server, port=port, drain_s=drain_s, certificate=certificate, key=key, on_start=on_start)
    with suppress(KeyboardInterrupt):
        service.run()


def open_models(
    paths: list[Path], options: DecodingArguments, text: TextForm | None, *, warns: bool = True
) -> list[ServedModel]:
    """Open models; the options and the form of text apply to recognizers.

    Raises DataError for files that are no models, UsageError for kinds that cannot be served and for options without a
    recognizer.
    """
    from recitative.asr.recognizer import Recognizer
    from recitative.asr.stream import Transcriber
    from recitative.kinds import open_stage
    from recitative.serve.models import ServedModel

    models = [ServedModel.of(pretrained.name_of(path), *open_stage(path)) for path in paths]
    plain = options == DecodingArguments()
    if not (plain and text is None) and not any(isinstance(one.runner, Recognizer) for one in models):
        raise UsageError("--lm, --hotwords, --grammar, --lexicon, --beam, --text: only for recognizers; leave them out")
    for number, (path, one) in enumerate(zip(paths, models, strict=True)):
        form = choose_text(text, path, for_people=not options.grammar)
        if isinstance(one.runner, Recognizer) and isinstance(one.runner.network, Transcriber):
            network = one.runner.network if plain else options.apply(one.runner.network, warns=warns)
            models[number] = ServedModel(one.name, one.kind, Recognizer(network, one.name, form))
    return models
