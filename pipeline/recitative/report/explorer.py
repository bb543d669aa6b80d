"""A report in the browser, served from this machine only: its utterances are opened when the reader wants them.

/                     the page
/utterance?key=KEY    the part of the page about one utterance
/labels?set=SET       a line of JSON for each utterance, as it is scored: key and score, or error
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

from recitative.errors import DataError, UsageError

HOST = "127.0.0.1"
PORT = 2710


class Explorable(Protocol):
    """What is explored. Its methods are called by one thread at a time."""

    def page(self) -> str:
        """The page, with an empty place for the utterances."""
        ...

    def detail(self, key: str) -> str:
        """One utterance, as HTML. Raises KeyError for an unknown one."""
        ...

    def label_scores(self, name: str) -> Iterator[tuple[str, float]]:
        """Key and label score of each utterance of a set. Raises KeyError for an unknown set, DataError."""
        ...


class Explorer(ThreadingHTTPServer):
    """Serves until ``shutdown``. port: None: PORT, or a free one if that is taken; 0: a free one.

    Raises UsageError for a port that is taken.
    """

    daemon_threads = True

    def __init__(self, explored: Explorable, port: int | None = None) -> None:
        self.explored, self.lock = explored, Lock()
        self.html = explored.page()
        try:
            super().__init__((HOST, PORT if port is None else port), _Handler)
        except OSError as error:
            if port is not None:
                raise UsageError(f"--port {port}: {error.strerror}; choose another, or 0 for any") from None
            super().__init__((HOST, 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.server_port}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A reader who has gone is no error."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: Explorer

    def do_GET(self) -> None:
        place = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(place.query).items()}
        host = self.headers.get("Host", "").rpartition(":")[0]
        if host not in (HOST, "localhost"):  # a page elsewhere whose name leads here
            self._send(HTTPStatus.FORBIDDEN, f"this server is at {self.server.url}")
        elif place.path == "/":
            self._send(HTTPStatus.OK, self.server.html)
        elif place.path == "/utterance":
            self._send_part(lambda: self.server.explored.detail(query["key"]))
        elif place.path == "/labels":
            self._send_labels(query.get("set", ""))
        else:
            self._send(HTTPStatus.NOT_FOUND, "there is no such page")

    def _send_part(self, make: Callable[[], str]) -> None:
        try:
            with self.server.lock:
                html = make()
        except KeyError as error:
            self._send(HTTPStatus.NOT_FOUND, f"there is no utterance {error}")
        else:
            self._send(HTTPStatus.OK, html)

    def _send(self, status: HTTPStatus, text: str) -> None:
        content = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", f"text/{'html' if status == HTTPStatus.OK else 'plain'}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _send_labels(self, name: str) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "application/x-ndjson; charset=utf-8")
        self.end_headers()
        for line in self._label_lines(name):
            self.wfile.write(f"{json.dumps(line)}\n".encode())

    def _label_lines(self, name: str) -> Iterator[dict[str, str | float | None]]:
        scores = self.server.explored.label_scores(name)
        while True:
            try:
                with self.server.lock:
                    key, score = next(scores)
            except StopIteration:
                return
            except (DataError, KeyError) as error:
                yield {"error": str(error)}
                return
            yield {"key": key, "score": score if math.isfinite(score) else None}

    def log_message(self, format: str, *args: object) -> None:
        """Requests are not logged."""
