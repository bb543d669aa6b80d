"""The server's routes, and the server at its address:

Service(Server([ServedModel.load("model.onnx")]), port=2700).run()
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator, MutableMapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from functools import partial
from importlib.resources import files
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import uvicorn
from fastapi import Body, FastAPI, File, Form, UploadFile
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import Headers, QueryParams
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from recitative import __version__
from recitative.asr.recognizer import Recognizer
from recitative.asr.stream import EndpointRules
from recitative.audio.files import AudioBlocks
from recitative.errors import RecitativeError, UsageError, printable
from recitative.keywords.spotter import Spotted
from recitative.kinds import KINDS
from recitative.model.kind import Endpoint
from recitative.model.stream import document
from recitative.serve.limits import Access, Limits
from recitative.serve.live import (
    AGAIN_LATER,
    INTERNAL,
    POLICY,
    Conversation,
    OwnConversation,
    VoskConversation,
    converse,
)
from recitative.serve.metrics import Metrics
from recitative.serve.models import PLAIN, SPOKEN, Models, ServedModel, Wanted
from recitative.serve.recordings import (
    MEDIA_TYPES,
    RESPONSE_FORMATS,
    BusyError,
    Client,
    Pool,
    Upload,
    events_of,
    sent,
    written,
)
from recitative.serve.streams import LiveStream, LocalHost
from recitative.serve.workers import OpenModels, Workers, resident_bytes

OPEN = ("/healthz", "/readyz", "/")  # need no token, as all under /page/: probes, and the page, which asks for it
TRANSCRIPTIONS = "/v1/audio/transcriptions"
FileField = Annotated[UploadFile, File(description="A recording: wav, flac, ogg, mp3, with PyAV also m4a and others.")]
ModelField = Annotated[str, Form(description="A name from /v1/models; default: the first that can do it.")]
log = logging.getLogger("uvicorn.error")
logging.getLogger("python_multipart").setLevel(logging.ERROR)  # what is wrong with a form is told to its client


class Server:
    """Models, what their clients are allowed, and what goes on."""

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
        """rules: where the utterances of a live stream end; assistant_port: of ``serve.voice_assistant``, 0 = none;
        processes: worker processes for live streams, 1 = none, the streams run in this process; open_models: opens the
        same models in a worker, is pickled, and may be left out with 1 process.

        Raises UsageError for no model, for two of one name, and for a voice assistant without a recognizer.
        """
        self.models = Models(models)
        if assistant_port and not self.models.recognizer:
            raise UsageError("a voice assistant (--wyoming-port) needs a streaming recognizer; add one with --model")
        self.limits, self.access, self.rules = limits or Limits(), access or Access(), rules or EndpointRules()
        self.metrics = Metrics()
        self.pool = Pool(self.limits, self.metrics)
        self.draining = False
        self.live = 0  # streams
        self.assistant_port = assistant_port
        self.workers: Workers | None = None
        if processes > 1 and any(model.streams for model in self.models):
            assert open_models, "worker processes open the models themselves"
            self.workers = Workers(processes, open_models, self.rules, self.metrics)
        self._local = LocalHost(self.models, self.rules, self.metrics.heard)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """With all that works for the routes."""
        async with AsyncExitStack() as stack:
            stack.callback(self.pool.close)
            await stack.enter_async_context((self.workers or self._local).running())
            if self.assistant_port:
                from recitative.serve.voice_assistant import listening

                await stack.enter_async_context(listening(self, self.assistant_port))
            yield

    @contextmanager
    def stream(self, model: ServedModel) -> Iterator[LiveStream]:
        """A new live stream; it counts as live until the end of the context."""
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

    def measured(self) -> bytes:
        """The metrics, in Prometheus' text format."""
        pids = [os.getpid()]
        if self.workers:
            self.metrics.workers.set(self.workers.num_ready)
            pids += self.workers.pids
        self.metrics.memory.set(sum(map(resident_bytes, pids)))
        return self.metrics.text()

    def refusal(self) -> str:
        """Why no live stream can begin; '' if one can."""
        if self.draining:
            return "the server is shutting down; connect again"
        if self.live >= self.limits.streams:
            return f"{self.limits.streams} streams are live; try again later"
        return ""


def build_app(server: Server) -> FastAPI:
    """All routes around the models."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with server.running():
            yield

    app = FastAPI(title="Recitative", version=__version__, lifespan=lifespan)
    app.add_middleware(_Gate, server=server)
    app.add_exception_handler(RecitativeError, _refused)
    app.add_exception_handler(BusyError, _busy)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
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
        why = server.refusal()
        if not why and server.workers and not server.workers.num_ready:
            why = "no worker process is ready; try again later"
        return PlainTextResponse(f"{why or 'ok'}\n", 503 if why else 200)

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(server.measured(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [model.entry() for model in server.models]}


def _add_transcriptions(app: FastAPI, server: Server) -> None:
    @app.post(TRANSCRIPTIONS, response_model=None)
    async def transcriptions(
        request: Request,
        file: FileField,
        model: ModelField = "",
        response_format: Annotated[str, Form(description=", ".join(RESPONSE_FORMATS))] = "json",
        timestamp_granularities: Annotated[
            list[str] | None, Form(alias="timestamp_granularities[]", description="word, segment: of verbose_json.")
        ] = None,
        stream: Annotated[bool, Form(description="Send server-sent events as segments are found.")] = False,
        hotwords: Annotated[str, Form(description="Phrases to favor, such as 'new york, boston:6'.")] = "",
    ) -> Response:
        """Transcribe a recording, as OpenAI's API does. Its other fields are taken and have no effect."""
        served = server.models.of_path(model, TRANSCRIPTIONS)
        if response_format not in RESPONSE_FORMATS:
            raise UsageError(f"response_format {response_format!r}: must be one of {', '.join(RESPONSE_FORMATS)}")
        server.pool.require_place()
        wanted, recognizer = Wanted(hotwords), served.runner
        if wanted != PLAIN:
            recognizer = await asyncio.to_thread(served.recognizer, wanted)
        upload = server.pool.hear(file.file, Client(request))
        if stream:
            return StreamingResponse(_sent(server, upload, recognizer), media_type="text/event-stream")
        transcript = await upload.transcript(recognizer)
        body = written(transcript, response_format, tuple(timestamp_granularities or ()))
        return JSONResponse(body) if isinstance(body, dict) else Response(body, media_type=MEDIA_TYPES[response_format])


async def _sent(server: Server, upload: Upload, recognizer: Recognizer) -> AsyncIterator[str]:
    """The events of a recording; an error is the last of them, since the answer has begun."""
    with server.pool.place():
        try:
            async for event in events_of(upload.segments(recognizer)):
                yield event
        except RecitativeError as error:
            yield sent(_error_body(str(error)))


def _add_answers(app: FastAPI, server: Server, endpoint: Endpoint) -> None:
    """What models of a kind make of a whole recording."""

    @app.post(endpoint.path, name=endpoint.path.rsplit("/", 1)[-1])
    async def answer(request: Request, file: FileField, model: ModelField = "") -> dict[str, Any]:
        served, client = server.models.of_path(model, endpoint.path), Client(request)
        upload = server.pool.hear(file.file, client)
        return document(served.name, await upload.answer(partial(served.answer, check=client.check)))


def _add_requests(app: FastAPI, server: Server, endpoint: Endpoint, request_type: type[Any]) -> None:
    """What models of a kind make of a request."""

    async def answer(request: Request, asked: Any = Body(default=request_type())) -> dict[str, Any]:
        served, client = server.models.of_request(asked, endpoint.path), Client(request)
        return document(served.name, await server.pool.run(client, partial(served.answer, asked, client.check)))

    answer.__annotations__["asked"] = request_type
    app.post(endpoint.path, name=endpoint.path.rsplit("/", 1)[-1])(answer)


def _add_keywords(app: FastAPI, server: Server) -> None:
    @app.post("/v1/audio/keywords")
    async def keywords(
        request: Request,
        file: FileField,
        keywords: Annotated[str, Form(description="Such as 'yes, turn left:0.9'; of a classifier: its labels.")],
        model: ModelField = "",
    ) -> dict[str, Any]:
        """Find keywords in a recording, with a recognizer or with a classifier of keywords."""
        served = server.models.find(model, lambda one: one.can_spot, "keywords")
        wanted = Wanted(keywords=keywords)

        def spot(audio: AudioBlocks) -> list[dict[str, Any]]:
            transcript = served.spotter(wanted.keywords).recognizer.transcribe(audio)
            return [Spotted.of(word).to_dict() for word in transcript.words]

        return document(served.name, {"keywords": await server.pool.hear(file.file, Client(request)).answer(spot)})


def _add_streams(app: FastAPI, server: Server) -> None:
    async def serve(
        socket: WebSocket, kind: type[Conversation], rate: str, find: Callable[[], tuple[ServedModel, Wanted]]
    ) -> None:
        await socket.accept()
        try:
            model, wanted = find()
        except UsageError as error:
            server.metrics.refused.labels("message").inc()
            await _refuse(socket, str(error), POLICY)
            return
        if why := server.refusal():
            server.metrics.refused.labels("streams").inc()
            await _refuse(socket, why, AGAIN_LATER)
            return
        with server.stream(model) as stream:
            try:
                conversation = kind(socket, stream, server.limits)
                if reason := await converse(conversation, int(rate) if rate.isdecimal() else rate, wanted):
                    server.metrics.refused.labels(reason).inc()
            except Exception:
                server.metrics.errors.inc()
                log.exception("a live stream failed")
                await socket.close(INTERNAL)

    @app.websocket("/")
    async def vosk(socket: WebSocket) -> None:
        rate = socket.query_params.get("sample_rate", "16000")
        await serve(socket, VoskConversation, rate, lambda: (server.models.live_speech(), SPOKEN))

    @app.websocket("/v1/stream")
    async def own(socket: WebSocket) -> None:
        query = socket.query_params

        def find() -> tuple[ServedModel, Wanted]:
            wanted = Wanted(query.get("hotwords", ""), query.get("keywords", ""))
            return server.models.live(query.get("model", ""), wanted), wanted

        await serve(socket, OwnConversation, query.get("rate", "16000"), find)


async def _refuse(socket: WebSocket, why: str, code: int) -> None:
    """Before a conversation, in either protocol's form."""
    with suppress(RuntimeError, WebSocketDisconnect, OSError):  # it has gone away
        await socket.send_text(json.dumps({"type": "error", "error": why, "message": why}))
        await socket.close(code)


class _Gate:
    """In front of all routes: who may come in, and how much a request may bring."""

    def __init__(self, app: ASGIApp, server: Server) -> None:
        self.app, self.server = app, server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers, query = Headers(scope=scope), QueryParams(scope.get("query_string", b""))
        path = scope["path"]
        is_open = scope["type"] == "http" and (path in OPEN or path.startswith("/page/"))
        if why := self.server.access.refusal(headers, query, is_open=is_open):
            self.server.metrics.refused.labels(why).inc()
            await _turn_away(scope, receive, send, why)
            return
        most = int(1e6 * self.server.limits.upload_mb)
        length = headers.get("content-length", "")
        if scope["type"] == "http" and length.isdecimal() and int(length[:20]) > most:
            self.server.metrics.refused.labels("size").inc()
            await _too_big(most)(scope, receive, send)
            return
        await self.app(scope, _counted(receive, most), _with_origin(send, headers, self.server.access))


def _counted(receive: Receive, most: int) -> Receive:
    """Fails where a body without a length turns out too long."""
    came = 0

    async def counted() -> MutableMapping[str, Any]:
        nonlocal came
        message = await receive()
        if message["type"] == "http.request":
            came += len(message.get("body", b""))
            if came > most:
                raise UsageError(f"the upload has more than {most / 1e6:g} MB")
        return message

    return counted


def _with_origin(send: Send, headers: Headers, access: Access) -> Send:
    """Pages of the origins that are allowed may read the answers (CORS)."""
    origin = headers.get("origin", "")
    if not origin or not access.origins:
        return send

    async def sent(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], (b"access-control-allow-origin", origin.encode())]
        await send(message)

    return sent


async def _turn_away(scope: Scope, receive: Receive, send: Send, why: str) -> None:
    told = {
        "host": "this server is only for this machine; call it localhost or 127.0.0.1",
        "origin": "a page on another server must not use this one; see --allow-origin",
        "token": "the token is missing or wrong; send 'Authorization: Bearer TOKEN'",
    }[why]
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": told})
        return
    await JSONResponse(_error_body(told), 401 if why == "token" else 403)(scope, receive, send)


def _too_big(most: int) -> JSONResponse:
    return JSONResponse(_error_body(f"the upload has more than {most / 1e6:g} MB"), 413)


def _error_body(message: str) -> dict[str, Any]:
    message = message.encode("utf-8", "replace").decode()  # a client's JSON can have half a character
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}


async def _refused(_request: Request, error: Exception) -> Response:
    return JSONResponse(_error_body(str(error)), 400)


async def _busy(_request: Request, _error: Exception) -> Response:
    return JSONResponse(_error_body("too many recordings wait; try again later"), 503, {"Retry-After": "5"})


async def _invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "json_invalid" or len(first["loc"]) == 1:
        return JSONResponse(_error_body("the request: must be a JSON object, sent as application/json"), 400)
    where = ".".join(map(str, first["loc"][1:]))
    return JSONResponse(_error_body(f"{where}: {printable(first['msg'].lower())}"), 400)


async def _http_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse(_error_body(error.detail.lower()), error.status_code, error.headers)


class Service(uvicorn.Server):
    """A server at an address. ``run`` serves until SIGTERM or SIGINT, or ``stop`` from another thread.

    The first signal stops new streams, lets those that are live come to their ends, for ``drain_s`` at most, and then
    ends the server; the second ends it at once.
    """

    def __init__(
        self,
        server: Server,
        *,
        port: int = 0,
        drain_s: float = 30.0,
        certificate: Path | None = None,
        key: Path | None = None,
    ) -> None:
        """port: 0 = any that is free. Raises OSError for one that is taken."""
        super().__init__(
            uvicorn.Config(
                build_app(server),
                log_level="warning",
                ssl_certfile=certificate,
                ssl_keyfile=key,
                ws_max_size=1024 * server.limits.message_kb + 1024,
                ws_max_queue=4,
                ws_per_message_deflate=False,  # samples hardly shrink, and each stream would keep a dictionary
                timeout_keep_alive=15,
                timeout_graceful_shutdown=5,
            )
        )
        self._served, self._drain_s = server, drain_s
        self._socket = socket.create_server((server.access.host, port), family=_family(server.access.host))
        host = f"[{server.access.host}]" if ":" in server.access.host else server.access.host
        self.url = f"{'https' if certificate else 'http'}://{host}:{self._socket.getsockname()[1]}"

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        super().run(sockets or [self._socket])

    def stop(self) -> None:
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._served.draining or not self._busy:
            super().handle_exit(sig, frame)
            return
        self._served.draining = True
        log.warning("stopping: %d live streams may go on for %g s", self._served.live, self._drain_s)
        loop = asyncio.get_running_loop()
        loop.call_soon_threadsafe(lambda: setattr(self, "_draining", loop.create_task(self._drain(sig, frame))))

    @property
    def _busy(self) -> int:
        return self._served.live + self._served.pool.running

    async def _drain(self, sig: int, frame: FrameType | None) -> None:
        for _ in range(round(self._drain_s / 0.1)):
            if not self._busy:
                break
            await asyncio.sleep(0.1)
        super().handle_exit(sig, frame)


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
