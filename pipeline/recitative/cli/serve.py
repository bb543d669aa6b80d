"""``recitative serve``: a server of live streams and recordings, with a page."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recitative.cli import decoding
from recitative.cli.models import MODEL_HELP, TextOption, choose_text, find_model
from recitative.errors import UsageError
from recitative.machine import available_cores

if TYPE_CHECKING:
    from recitative.asr.transcript import TextForm
    from recitative.serve.models import ServedModel

LIMITS = "Limits"
SAFETY = "Access"


def serve(
    model: Annotated[list[str] | None, typer.Option(help=f"{MODEL_HELP} Repeat it for several models.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0: all of this machine.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 = any that is free.")] = 2700,
    wyoming_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Also speak Wyoming, for Home Assistant; 10300 is usual. 0: don't.")
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
            help="Processes for live streams, each with its own copy of the models. 0: one for every 8 of --streams, "
            "but at most one per core.",
            rich_help_panel=LIMITS,
        ),
    ] = 0,
    drain_s: Annotated[
        float, typer.Option(min=0, help="On SIGTERM, live streams may go on for so long.", rich_help_panel=LIMITS)
    ] = 30.0,
    silence_s: Annotated[float, typer.Option(help="Silence that ends an utterance of a live stream.")] = 1.2,
    text: TextOption = None,
    lm: decoding.LmOption = "",
    hotwords: decoding.HotWordsOption = "",
    grammar: decoding.GrammarOption = None,
    lexicon: decoding.LexiconOption = None,
    beam: decoding.BeamOption = 0,
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
    from recitative.asr.stream import EndpointRules
    from recitative.serve.access import LOOPBACK, Access, Limits
    from recitative.serve.app import Service
    from recitative.serve.server import Server

    if (certificate is None) != (key is None):
        raise UsageError("--certificate and --key: give both or neither")
    for option, path in (("--certificate", certificate), ("--key", key)):
        if path and not os.access(path, os.R_OK):
            raise UsageError(f"{option} {path}: cannot be read; give a PEM file")
    options = decoding.DecodingArguments(lm, hotwords, grammar, lexicon, 1, beam)
    paths = [find_model(name) for name in model or [""]]
    models = open_models(paths, options, text)
    limits = Limits(
        streams=streams,
        recordings=recordings,
        upload_mb=upload_mb,
        recording_s=recording_s,
        idle_s=idle_s,
        total_s=total_s,
    )
    access = Access(host, token, tuple(allow_origin or ()))
    if host not in LOOPBACK and not token:
        print(f"warning: anyone who reaches {host} can use this server; --token asks for a secret", file=sys.stderr)
    server = Server(
        models,
        limits,
        access,
        EndpointRules(silence_s=silence_s),
        wyoming_port,
        processes or max(1, min(available_cores(), streams // 8)),
        partial(open_models, paths, options, text, warns=False),
    )

    def on_start() -> None:
        names = ", ".join(one.name for one in models)
        print(f"{names} at {service.url} (Ctrl-C ends it)", file=sys.stderr, flush=True)

    service = Service(server, port=port, drain_s=drain_s, certificate=certificate, key=key, on_start=on_start)
    with suppress(KeyboardInterrupt):  # the usual end
        service.run()


def open_models(
    paths: list[Path], options: decoding.DecodingArguments, text: TextForm | None, *, warns: bool = True
) -> list[ServedModel]:
    """Open models. The options and the form of text are for recognizers.

    Raises DataError for what is no model, UsageError for what cannot be served and for options without a recognizer.
    """
    from recitative import pretrained
    from recitative.asr.recognizer import Recognizer
    from recitative.asr.stream import Transcriber
    from recitative.kinds import open_stage
    from recitative.serve.models import ServedModel

    models = [ServedModel.of(pretrained.name_of(path), *open_stage(path)) for path in paths]
    plain = options == decoding.DecodingArguments()
    if not (plain and text is None) and not any(isinstance(one.runner, Recognizer) for one in models):
        raise UsageError("--lm, --hotwords, --grammar, --lexicon, --beam, --text: are for recognizers; leave them out")
    for number, (path, one) in enumerate(zip(paths, models, strict=True)):
        form = choose_text(text, path, for_people=not options.grammar)
        if isinstance(one.runner, Recognizer) and isinstance(one.runner.network, Transcriber):
            network = one.runner.network if plain else options.apply(one.runner.network, warns=warns)
            models[number] = ServedModel(one.name, one.kind, Recognizer(network, one.name, form))
    return models
