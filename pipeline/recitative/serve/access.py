"""Who may use a server, and how much: limits, the token, origins of pages, the size of requests; and metrics for
Prometheus.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.datastructures import Headers, QueryParams
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from recitative.errors import UsageError, printable

log = logging.getLogger("uvicorn.error")
LOOPBACK = ("127.0.0.1", "localhost", "::1")
# No token is needed for the probes and for the page, which asks for it; all under /page/ belongs to the page.
OPEN = ("/healthz", "/readyz", "/")
PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Allow-Headers": "Authorization, Content-Type",
}
DENIALS = {
    "host": "this server is only for this machine; call it localhost or 127.0.0.1",
    "origin": "a page on another server must not use this one; see --allow-origin",
    "token": "the token is missing or wrong; send 'Authorization: Bearer TOKEN'",
}


@dataclass(frozen=True)
class Limits:
    """Limits of a server.

    streams:     live streams at once
    recordings:  recordings and other requests processed at once; the same number may wait
    upload_mb:   size of a request
    recording_s: length of a recording
    decoding_s, decoding_mb: time and memory to decode a recording
    message_kb:  size of a message of a live stream
    idle_s:      time without a message of a live stream
    total_s:     length of a live stream
    """

    streams: int = 32
    recordings: int = 2
    upload_mb: float = 200.0
    recording_s: float = 4 * 3600.0
    decoding_s: float = 120.0
    decoding_mb: int = 512
    message_kb: int = 1024
    idle_s: float = 60.0
    total_s: float = 4 * 3600.0


@dataclass(frozen=True)
class Access:
    """Who may use a server.

    host:    the address at which the server listens
    token:   clients must send it; '' = no token is needed
    origins: of pages on other servers that may use this one: 'https://example.com'; 'null': local files; '*': all

    Raises UsageError for what no page has as its origin.
    """

    host: str = "127.0.0.1"
    token: str = ""
    origins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for origin in self.origins:
            parts = _split(origin)
            if origin not in ("*", "null") and (
                not parts.scheme or origin != f"{parts.scheme}://{parts.netloc.lower()}"
            ):
                raise UsageError(
                    f"--allow-origin {origin}: must be such as https://example.com, without a path, or '*'"
                )

    def refusal(self, headers: Mapping[str, str], query: Mapping[str, str], *, is_open: bool = False) -> str:
        """Why a request is refused: 'host', 'origin' or 'token'; '' if it is allowed.

        A page on another server can reach a server on the user's own machine through the browser. The Origin header
        shows this, or the Host header if the page's host name was pointed at this machine. is_open: the path needs no
        token.
        """
        host = headers.get("host", "")
        if self.host in LOOPBACK and _split(f"//{host}").hostname not in LOOPBACK:
            return "host"
        origin = headers.get("origin", "")
        if origin and _split(origin).netloc != host and origin not in self.origins and "*" not in self.origins:
            return "origin"
        if self.token and not is_open:
            scheme, _, token = headers.get("authorization", "").partition(" ")
            if scheme.lower() != "bearer":  # browsers cannot set headers of a WebSocket: the token may be in the query
                token = query.get("token", "")
            if not hmac.compare_digest(token.encode(), self.token.encode()):
                return "token"
        return ""


def _split(address: str) -> SplitResult:
    """The parts of an address; empty parts if it is malformed."""
    try:
        return urlsplit(address)
    except ValueError:
        return urlsplit("")


class Gate:
    """ASGI middleware that checks access and the size of requests."""

    def __init__(self, app: ASGIApp, access: Access, limits: Limits, metrics: Metrics) -> None:
        self.app, self.access, self.metrics = app, access, metrics
        self.max_bytes = int(1e6 * limits.upload_mb)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers, query = Headers(scope=scope), QueryParams(scope.get("query_string", b""))
        path = scope["path"]
        # Browsers ask without a token whether a page on another server may send one.
        is_preflight = scope.get("method") == "OPTIONS" and "access-control-request-method" in headers
        is_open = scope["type"] == "http" and (path in OPEN or path.startswith("/page/") or is_preflight)
        if why := self.access.refusal(headers, query, is_open=is_open):
            self.metrics.refused.labels(why).inc()
            await _deny(scope, receive, send, why)
            return
        length = headers.get("content-length", "")
        if scope["type"] == "http" and length.isdecimal() and int(length[:20]) > self.max_bytes:
            self.metrics.refused.labels("size").inc()
            log_refusal(scope, self._too_large)
            await JSONResponse(error_body(self._too_large), 413)(scope, receive, send)
            return
        app = Response(status_code=204, headers=PREFLIGHT) if is_preflight else self.app
        await app(scope, self._limited(receive), self._with_origin(send, headers.get("origin", "")))

    @property
    def _too_large(self) -> str:
        return f"the upload has more than {self.max_bytes / 1e6:g} MB"

    def _limited(self, receive: Receive) -> Receive:
        """Raises UsageError when a body that was sent without its length gets too long."""
        num_bytes = 0

        async def limited() -> MutableMapping[str, Any]:
            nonlocal num_bytes
            message = await receive()
            if message["type"] == "http.request":
                num_bytes += len(message.get("body", b""))
                if num_bytes > self.max_bytes:
                    raise UsageError(self._too_large)
            return message

        return limited

    def _with_origin(self, send: Send, origin: str) -> Send:
        """Pages of allowed origins may read the answers (CORS)."""
        if not origin or not self.access.origins:
            return send

        async def send_with_origin(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"access-control-allow-origin", origin.encode())]
            await send(message)

        return send_with_origin


async def _deny(scope: Scope, receive: Receive, send: Send, why: str) -> None:
    log_refusal(scope, DENIALS[why])
    if scope["type"] == "websocket":
        await receive()
        if "websocket.http.response" not in scope.get("extensions", {}):
            await send({"type": "websocket.close", "code": 1008, "reason": DENIALS[why]})
            return
    await JSONResponse(error_body(DENIALS[why]), 401 if why == "token" else 403)(scope, receive, send)


def log_refusal(scope: Mapping[str, Any], message: str) -> None:
    """One line of the log: who, where, and what the client was told; not the query, which may have the token."""
    host, port = scope.get("client") or ("a client", 0)
    log.warning("%s:%d %s: refused: %s", host, port, printable(scope.get("path", ""), 100), printable(message))


def error_body(message: str) -> dict[str, Any]:
    """An error in the format of OpenAI's API."""
    message = message.encode("utf-8", "replace").decode()  # JSON of a client may have half a surrogate pair
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}


class Metrics:
    """Metrics of one server, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = own = CollectorRegistry()
        self.live = Gauge("recitative_live_streams", "Live streams now.", registry=own)
        self.streams = Counter("recitative_streams", "Live streams since the start.", registry=own)
        self.recordings = Counter("recitative_recordings", "Recordings transcribed.", registry=own)
        self.refused = Counter("recitative_refused", "Requests that were refused, by reason.", ["reason"], registry=own)
        self.errors = Counter("recitative_errors", "Errors of the server itself.", registry=own)
        self.audio = Counter("recitative_audio_seconds", "Seconds of audio processed.", registry=own)
        self.work = Counter("recitative_work_seconds", "Seconds of computing for it.", registry=own)
        self.together = Histogram(
            "recitative_streams_per_step",
            "Streams that one call of the network served.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128),
            registry=own,
        )
        self.lag = Histogram(
            "recitative_lag_seconds",
            "From the arrival of a piece of live audio to its events.",
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
            registry=own,
        )
        self.workers = Gauge("recitative_workers", "Worker processes that are ready.", registry=own)
        self.worker_deaths = Counter(
            "recitative_worker_deaths", "Worker processes that ended unexpectedly.", registry=own
        )
        self.memory = Gauge(
            "recitative_memory_bytes",
            "Memory of the server and its workers; what they share counts once (Linux).",
            registry=own,
        )
        self.resident = Gauge(
            "recitative_resident_bytes", "The same; what they share counts in each of them (Linux).", registry=own
        )

    def count_audio(self, audio_s: float, work_s: float, streams: int = 0) -> None:
        """Count processed audio and its computing time. streams: that were stepped together; 0 = a recording."""
        self.audio.inc(audio_s)
        self.work.inc(work_s)
        if streams:
            self.together.observe(streams)

    def text(self) -> bytes:
        return generate_latest(self.registry)


def memory_of(pid: int) -> tuple[int, int]:
    """Resident bytes of a process, and its share of them: a page of n processes counts 1/n. 0 on other systems than
    Linux."""
    with suppress(OSError):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        kilobytes = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines[1:])}
        return 1024 * kilobytes["Rss"], 1024 * kilobytes["Pss"]
    return 0, 0
