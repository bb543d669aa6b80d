"""HTML pages: files that need no other file, and pages served from this machine only, which open utterances on demand.

jinja2 templates have one style sheet, one script, and sounds and pictures inside. The server of a page answers

/                     the page
/utterance?key=KEY    the part of the page about one utterance
/labels?set=SET       a line of JSON for each utterance, as it is scored: key and score, or error
"""

from __future__ import annotations

import base64
import io
import json
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qs, urlsplit

import numpy as np
import soundfile

from recitative.audio.files import resample
from recitative.errors import DataError, UsageError
from recitative.report.charts import Recording
from recitative.report.figure import PALETTE, Figure, dark_css, figure_size, to_svg

if TYPE_CHECKING:
    from jinja2 import Environment


MAX_SOUND_S = 60.0  # longer recordings would make the page too large
SOUND_RATE = 16000  # Hz
DASH = "\N{EN DASH}"  # where there is no value
_MP3_RATES = (8000, 16000)


@dataclass(frozen=True)
class Cell:
    """A cell of a table that readers sort and filter."""

    text: str
    sort: float | None = None  # a number: to the right, and sorted by it
    share: float | None = None  # 0..1, drawn as a bar
    title: str = ""  # shown while the pointer is on it
    key: str = ""  # of the utterance that it opens
    strong: bool = False

    @property
    def order(self) -> str:
        """``sort`` as JavaScript reads it; '' for NaN, which stands last."""
        if self.sort is None or math.isnan(self.sort):
            return ""
        return f"{self.sort:g}".replace("inf", "Infinity")


def render(template: str, **context: Any) -> str:
    """A page from ``templates/NAME``. Values are escaped; filters and macros: see ``parts.html.j2``."""
    return _environment().get_template(template).render(context) + "\n"


def render_part(macro: str, *arguments: Any) -> str:
    """A part of a page, by a macro of ``parts.html.j2``."""
    return str(getattr(_environment().get_template("parts.html.j2").module, macro)(*arguments))


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    def svg(figure: Figure) -> Markup:
        return Markup(to_svg(figure))

    environment = Environment(
        loader=PackageLoader("recitative.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"percent": percent, "duration": duration, "svg": svg, "figure_size": figure_size}
    environment.globals |= {"palette": PALETTE, "dark_css": Markup(dark_css())}
    return environment


def percent(rate: float, digits: int = 2) -> str:
    """A fraction in per cent; a dash for NaN."""
    return DASH if math.isnan(rate) else f"{100 * rate:.{digits}f}\N{THIN SPACE}%"


def duration(seconds: float) -> str:
    """In seconds, minutes or hours; a dash for NaN."""
    if not math.isfinite(seconds):
        return DASH
    if seconds < 120:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"


def data_uri(mime_type: str, content: bytes) -> str:
    """The content of a file as an address inside the page."""
    return f"data:{mime_type};base64,{base64.b64encode(content).decode()}"


def sound_uri(recording: Recording, encode: Callable[[Recording], bytes], mime_type: str) -> str:
    """The sound as an address inside the page; empty for a recording of more than MAX_SOUND_S."""
    return data_uri(mime_type, encode(recording)) if recording.duration_s <= MAX_SOUND_S else ""


def encode_mp3(recording: Recording) -> bytes:
    """Small, and every browser plays it."""
    samples, sample_rate = recording.samples, recording.sample_rate
    if sample_rate not in _MP3_RATES:
        samples, sample_rate = resample(samples, sample_rate, SOUND_RATE), SOUND_RATE
    buffer = io.BytesIO()
    soundfile.write(
        buffer, samples, sample_rate, format="MP3", subtype="MPEG_LAYER_III", compression_level=0.3,
        bitrate_mode="VARIABLE",
    )  # fmt: skip
    return buffer.getvalue()


def encode_flac(recording: Recording) -> bytes:
    """The exact samples in 16 bits, for sounds whose faults matter."""
    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(recording.samples, -1, 1), recording.sample_rate, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


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
