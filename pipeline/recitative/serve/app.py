"""The state of a server, its routes, and the server at its address:

Service(Server([ServedModel.load("model.onnx")]), port=2700).run()
"""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from functools import partial
from importlib.resources import files
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import uvicorn
from fastapi import Body, FastAPI, File, Form, UploadFile
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket, WebSocketDisconnect

from recitative import __version__
from recitative.asr.recognizer import Recognizer
from recitative.asr.stream import EndpointRules
from recitative.audio.files import AudioBlocks
from recitative.errors import RecitativeError, RunError, UsageError, counted, printable
from recitative.keywords.spotter import Spotted
from recitative.kinds import KINDS
from recitative.model.kind import Endpoint
from recitative.model.stream import document
from recitative.serve.access import Access, Gate, Limits, Metrics, error_body, log_refusal, memory_of
from recitative.serve.decoder import BusyError
from recitative.serve.live import (
    INTERNAL,
    POLICY,
    TRY_AGAIN_LATER,
    Conversation,
    OwnConversation,
    VoskConversation,
    close_reason,
    require_known,
    run_conversation,
)
from recitative.serve.models import DEFAULT_OPTIONS, RAW_TEXT, Models, ServedModel, StreamOptions
from recitative.serve.recordings import (
    GRANULARITIES,
    MEDIA_TYPES,
    RESPONSE_FORMATS,
    Client,
    Pool,
    Upload,
    format_transcript,
    sent_event,
    transcript_events,
)
from recitative.serve.streams import LiveStream, LocalHost, OpenModels, Workers, releasing


class Server:
    """Models, limits, and the live streams and requests in progress."""

    def __init__(
        self,
        models: Sequence[ServedModel],
        limits: Limits | None = None,
        access: Access | None = None,
        rules: EndpointRules | None = None,
        assistant_port: int = 0,
        processes: int = 1,
        open_models: OpenModels | None = None,
    ) -> None:
        """
        rules:          where the utterances of live streams end
        assistant_port: of the Wyoming protocol; 0 = off
        processes:      worker processes for live streams; 1 = none: streams run in this process
        open_models:    opens the same models in a worker process, if that cannot be forked. It is pickled. Needed for
                        more than 1 process

        Raises UsageError for no models, for duplicate names, and for an assistant port without a recognizer.
        """
        self.models = Models(models)
        if assistant_port and not self.models.recognizer:
            raise UsageError("a voice assistant (--wyoming-port) needs a streaming recognizer; add one with --model")
        self.limits, self.access, self.rules = limits or Limits(), access or Access(), rules or EndpointRules()
        self.metrics = Metrics()
        self.pool = Pool(self.limits, self.metrics)
        self.assistant_port = assistant_port
        self.assistant_socket: socket.socket | None = None  # bound to it by the service
        self.draining = False
        self.live = 0  # streams
        self._local = LocalHost(self.models, self.rules, self.metrics.count_audio)
        self.workers: Workers | None = None
        if processes > 1 and any(model.streams for model in self.models):
            assert open_models, "worker processes may have to open the models themselves"
            self.workers = Workers(processes, models, open_models, self.rules, self.metrics)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run everything that the routes need."""
        async with AsyncExitStack() as stack:
            stack.callback(self.pool.close)
            await stack.enter_async_context(releasing())
            await stack.enter_async_context((self.workers or self._local).running())
            if self.assistant_socket:
                from recitative.serve.voice_assistant import listening

                await stack.enter_async_context(listening(self, self.assistant_socket))
            yield

    def refusal(self) -> str:
        """Why no live stream can begin; '' if one can."""
        if self.draining:
            return "the server is shutting down; connect again"
        if self.live >= self.limits.streams:
            return f"the limit of {counted(self.limits.streams, 'live stream')} is reached; try again later"
        return ""

    def unready(self) -> str:
        """Why load balancers should not send clients now; '' if they should."""
        if self.workers and not self.workers.num_ready:
            return "no worker process is ready; try again later"
        return self.refusal()

    @contextmanager
    def stream(self, model: ServedModel) -> Iterator[LiveStream]:
        """Begin a live stream. It ends with the context."""
        stream = LiveStream(self.workers.choose() if self.workers else self._local, model, self.metrics)
        self.live += 1
        self.metrics.streams.inc()
        self.metrics.live.set(self.live)
        try:
            yield stream
        finally:
            stream.close()
            self.live -= 1
            self.metrics.live.set(self.live)

    def metrics_text(self) -> bytes:
        """The metrics in Prometheus' text format."""
        pids = [os.getpid()]
        if self.workers:
            self.metrics.workers.set(self.workers.num_ready)
            pids += [worker.pid for worker in self.workers.workers]
        resident, shared_once = zip(*map(memory_of, pids), strict=True)
        self.metrics.resident.set(sum(resident))
        self.metrics.memory.set(sum(shared_once))
        return self.metrics.text()


TRANSCRIPTIONS = "/v1/audio/transcriptions"
STREAM = "/v1/stream"
FileField = Annotated[UploadFile, File(description="A recording: wav, flac, ogg, mp3, with PyAV also m4a and others.")]
ModelField = Annotated[str, Form(description="A name from /v1/models; default: the first that can do it.")]
log = logging.getLogger("uvicorn.error")
logging.getLogger("python_multipart").setLevel(logging.ERROR)  # clients get errors of their forms as answers
# uvicorn takes an answer by HTTP to a WebSocket for none. Refusals have a line of their own.
log.addFilter(lambda record: "without completing handshake" not in record.msg)


def build_app(server: Server) -> FastAPI:
    """All routes of a server."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with server.running():
            yield

    # FastAPI's pages of the interface load scripts from elsewhere.
    app = FastAPI(title="Recitative", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.add_middleware(Gate, access=server.access, limits=server.limits, metrics=server.metrics)
    app.add_exception_handler(RecitativeError, _on_refusal)
    app.add_exception_handler(BusyError, _on_busy)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_http_error)

    @app.exception_handler(Exception)
    async def _on_bug(_request: Request, _error: Exception) -> Response:
        server.metrics.errors.inc()  # uvicorn logs it
        return JSONResponse(error_body("an error of the server; its log has more"), 500)

    app.mount("/page", StaticFiles(directory=str(_page())))
    _add_state(app, server)
    _add_transcriptions(app, server)
    for endpoint in {kind.endpoint.path: kind.endpoint for kind in KINDS if kind.endpoint}.values():
        if endpoint.request:
            _add_requests(app, server, endpoint, endpoint.request)
        elif endpoint.answer:
            _add_answers(app, server, endpoint)
    _add_keywords(app, server)
    _add_streams(app, server)
    return app


def _page() -> Path:
    return Path(str(files("recitative.serve") / "page"))


def _add_state(app: FastAPI, server: Server) -> None:
    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return Response((_page() / "index.html").read_bytes(), media_type="text/html; charset=utf-8")

    @app.get("/healthz")
    async def health() -> PlainTextResponse:
        return PlainTextResponse("ok\n")

    @app.get("/readyz")
    async def ready() -> PlainTextResponse:
        why = server.unready()
        return PlainTextResponse(f"{why or 'ok'}\n", 503 if why else 200)

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(server.metrics_text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [model.entry() for model in server.models]}

    @app.get("/v1/models/{name}", response_model=None)
    async def model(request: Request, name: str) -> dict[str, Any] | Response:
        if name in server.models.by_name:
            return server.models.by_name[name].entry()
        return _refusal(request, server.models.unknown(name), 404)


def _add_transcriptions(app: FastAPI, server: Server) -> None:
    @app.post(TRANSCRIPTIONS, response_model=None)
    async def transcriptions(
        request: Request,
        file: FileField,
        model: ModelField = "",
        response_format: Annotated[str, Form(description=", ".join(RESPONSE_FORMATS))] = "json",
        timestamp_granularities: Annotated[
            list[str] | None,
            Form(alias="timestamp_granularities[]", description=f"{', '.join(GRANULARITIES)}: of verbose_json."),
        ] = None,
        stream: Annotated[bool, Form(description="Send server-sent events as segments are found.")] = False,
        hotwords: Annotated[str, Form(description="Phrases to favor, such as 'new york, boston:6'.")] = "",
    ) -> Response:
        """Transcribe a recording, as OpenAI's API does. Its other fields are accepted and have no effect."""
        served = server.models.of_path(model, TRANSCRIPTIONS)
        if response_format not in RESPONSE_FORMATS:
            raise UsageError(f"response_format {response_format!r}: must be one of {', '.join(RESPONSE_FORMATS)}")
        granularities = timestamp_granularities or []
        if unknown := set(granularities) - {*GRANULARITIES}:
            raise UsageError(f"timestamp_granularities {min(unknown)!r}: must be {' or '.join(GRANULARITIES)}")
        server.pool.require_slot()
        options, recognizer = StreamOptions(hotwords), served.runner
        if options != DEFAULT_OPTIONS:
            recognizer = await asyncio.to_thread(served.recognizer, options)
        upload = server.pool.upload(file.file, Client(request))
        if stream:
            return StreamingResponse(_stream_events(server, upload, recognizer), media_type="text/event-stream")
        transcript = await upload.transcript(recognizer)
        body = format_transcript(transcript, response_format, tuple(granularities))
        return JSONResponse(body) if isinstance(body, dict) else Response(body, media_type=MEDIA_TYPES[response_format])


async def _stream_events(server: Server, upload: Upload, recognizer: Recognizer) -> AsyncIterator[str]:
    """The events of a recording. An error is the last event: the status of the answer is already sent."""
    with server.pool.slot():
        try:
            async for event in transcript_events(upload.segments(recognizer)):
                yield event
        except RecitativeError as error:
            yield sent_event(error_body(str(error)))


def _add_answers(app: FastAPI, server: Server, endpoint: Endpoint) -> None:
    """The route of models that answer to recordings."""

    @app.post(endpoint.path, name=endpoint.path.rsplit("/", 1)[-1])
    async def answer(request: Request, file: FileField, model: ModelField = "") -> dict[str, Any]:
        served, client = server.models.of_path(model, endpoint.path), Client(request)
        upload = server.pool.upload(file.file, client)
        return document(served.name, await upload.answer(partial(served.answer, check=client.check)))


def _add_requests(app: FastAPI, server: Server, endpoint: Endpoint, request_type: type[Any]) -> None:
    """The route of models that answer to JSON requests."""

    async def answer(request: Request, content: Any = Body(default=request_type())) -> dict[str, Any]:
        served, client = server.models.of_request(content, endpoint.path), Client(request)
        return document(served.name, await server.pool.run(client, partial(served.answer, content, client.check)))

    answer.__annotations__["content"] = request_type
    app.post(endpoint.path, name=endpoint.path.rsplit("/", 1)[-1])(answer)


def _add_keywords(app: FastAPI, server: Server) -> None:
    @app.post("/v1/audio/keywords")
    async def keywords(
        request: Request,
        file: FileField,
        keywords: Annotated[str, Form(description="Such as 'yes, turn left:0.9'; of a classifier: its labels.")],
        model: ModelField = "",
    ) -> dict[str, Any]:
        """Find keywords in a recording, with a recognizer or a classifier of keywords."""
        served = server.models.find(model, lambda one: one.can_spot, "keywords")
        options = StreamOptions(keywords=keywords)

        def spot(audio: AudioBlocks) -> list[dict[str, Any]]:
            transcript = served.spotter(options.keywords).recognizer.transcribe(audio)
            return [Spotted.of(word).to_dict() for word in transcript.words]

        return document(served.name, {"keywords": await server.pool.upload(file.file, Client(request)).answer(spot)})


def _add_streams(app: FastAPI, server: Server) -> None:
    async def serve(
        socket: WebSocket, kind: type[Conversation], rate: str, find: Callable[[], tuple[ServedModel, StreamOptions]]
    ) -> None:
        await socket.accept()
        try:
            model, options = find()
        except UsageError as error:
            server.metrics.refused.labels("message").inc()
            await _refuse(socket, str(error), POLICY)
            return
        if why := server.refusal():
            server.metrics.refused.labels("streams").inc()
            await _refuse(socket, why, TRY_AGAIN_LATER)
            return
        with server.stream(model) as stream:
            try:
                conversation = kind(socket, stream, server.limits)
                if reason := await run_conversation(conversation, int(rate) if rate.isdecimal() else rate, options):
                    server.metrics.refused.labels(reason).inc()
            except Exception:
                server.metrics.errors.inc()
                log.exception("a live stream failed")
                await socket.close(INTERNAL)

    @app.websocket("/")
    async def vosk(socket: WebSocket) -> None:
        rate = socket.query_params.get("sample_rate", "16000")
        await serve(socket, VoskConversation, rate, lambda: (server.models.live_speech(), RAW_TEXT))

    @app.get(STREAM, include_in_schema=False)
    async def not_http(request: Request) -> Response:
        return _refusal(request, "live streams are WebSockets; connect to ws://...", 426, {"Upgrade": "websocket"})

    @app.websocket(STREAM)
    async def own(socket: WebSocket) -> None:
        query = socket.query_params

        def find() -> tuple[ServedModel, StreamOptions]:
            require_known(query, ("rate", "model", "hotwords", "keywords", "token"), f"the address of {STREAM}")
            options = StreamOptions(query.get("hotwords", ""), query.get("keywords", ""))
            return server.models.live(query.get("model", ""), options), options

        await serve(socket, OwnConversation, query.get("rate", "16000"), find)

    @app.websocket("/{path:path}")
    async def elsewhere(socket: WebSocket) -> None:
        told = f"there are no live streams here; connect to {STREAM}, or with a client of Vosk's server to /"
        log_refusal(socket.scope, told)
        await socket.send_denial_response(JSONResponse(error_body(told), 404))


async def _refuse(socket: WebSocket, why: str, code: int) -> None:
    """Refuse a stream before its conversation, in a message for clients of both protocols."""
    log_refusal(socket.scope, why)
    with suppress(RuntimeError, WebSocketDisconnect, OSError):  # the client is gone
        await socket.send_text(json.dumps({"type": "error", "error": why, "message": why}))
        await socket.close(code, close_reason(why))


def _refusal(request: Request, told: str, status: int = 400, headers: Mapping[str, str] | None = None) -> Response:
    log_refusal(request.scope, told)
    return JSONResponse(error_body(told), status, headers)


async def _on_refusal(request: Request, error: Exception) -> Response:
    return _refusal(request, str(error))


async def _on_busy(request: Request, error: Exception) -> Response:
    return _refusal(request, f"{str(error) or 'too many recordings wait'}; try again later", 503, {"Retry-After": "5"})


async def _on_invalid_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "json_invalid" or len(first["loc"]) == 1:
        return _refusal(request, "the request: must be a JSON object, sent as application/json")
    where = ".".join(map(str, first["loc"][1:]))
    if where == "file":
        return _refusal(request, "file: must be a recording, in a form (curl -F file=@talk.wav)")
    return _refusal(request, f"{where}: {printable(first['msg'].lower())}")


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _refusal(request, error.detail.lower(), error.status_code, error.headers)


def _bind(host: str, port: int, option: str) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            raise RunError(f"{option} {port}: {reason}; choose another, or 0 for any that is free") from None
        raise RunError(f"--host {host}: {reason}; give an address of this machine") from None


class Service(uvicorn.Server):
    """A server at an address. ``run`` serves until SIGTERM or SIGINT, or until another thread calls ``stop``.

    The first signal refuses new streams, waits until the live ones have ended, for at most ``drain_s``, and then ends
    the server. A second signal ends it at once.
    """

    def __init__(
        self,
        server: Server,
        *,
        port: int = 0,
        drain_s: float = 30.0,
        certificate: Path | None = None,
        key: Path | None = None,
        on_start: Callable[[], object] = lambda: None,
    ) -> None:
        """port: 0 = any free port; on_start: is called when the server accepts connections.

        Raises RunError for a port that is in use.
        """
        super().__init__(
            uvicorn.Config(
                build_app(server),
                log_level="warning",
                ssl_certfile=certificate,
                ssl_keyfile=key,
                ws_max_size=1024 * server.limits.message_kb + 1024,
                ws_max_queue=4,
                # A client that sends faster than the machine computes is not read meanwhile, and so is no pong of its.
                # Silent clients are dropped by the limit of ``idle_s``.
                ws_ping_interval=None,
                ws_per_message_deflate=False,  # samples hardly shrink, and each stream would keep a dictionary
                timeout_keep_alive=15,
                timeout_graceful_shutdown=5,
            )
        )
        self.server, self._drain_s, self._on_start = server, drain_s, on_start
        host = server.access.host
        is_ipv6 = ":" in host
        self._socket = _bind(host, port, "--port")
        if server.assistant_port:
            server.assistant_socket = _bind(host, server.assistant_port, "--wyoming-port")
        name = f"[{host}]" if is_ipv6 else host
        self.url = f"{'https' if certificate else 'http'}://{name}:{self._socket.getsockname()[1]}"

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        super().run(sockets or [self._socket])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_start()

    def stop(self) -> None:
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.server.draining or not self._is_busy:
            super().handle_exit(sig, frame)
            return
        self.server.draining = True
        log.warning("stopping: %d live streams may go on for %g s", self.server.live, self._drain_s)
        loop = asyncio.get_running_loop()
        loop.call_soon_threadsafe(lambda: setattr(self, "_draining", loop.create_task(self._drain(sig, frame))))

    @property
    def _is_busy(self) -> bool:
        return bool(self.server.live or self.server.pool.running)

    async def _drain(self, sig: int, frame: FrameType | None) -> None:
        for _ in range(round(self._drain_s / 0.1)):
            if not self._is_busy:
                break
            await asyncio.sleep(0.1)
        super().handle_exit(sig, frame)
