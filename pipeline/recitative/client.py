"""A client of ``recitative serve``, with the events, transcripts and errors of local models.

    client = Client("http://127.0.0.1:2700")
    client.transcribe("talk.mp3").text

    stream = client.stream()                        # same interface as Recognizer.stream()
    for event in stream.accept(samples, 48000):
        print(event.text)
    for event in stream.finish():
        print(event.text)

    async for event in client.events(chunks, 48000):    # chunks: an asynchronous source of samples
        print(event.text)

Streams need the package ``websockets``. Errors are raised as DataError with the server's address.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import socket
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from recitative.asr.transcript import Final, Partial, Segment, Transcript, text_of
from recitative.audio.files import SampleInput, as_float, require_rate, wav_samples
from recitative.errors import DataError, UsageError
from recitative.model.stream import AudioStream
from recitative.stage import Array
from recitative.text.tokens import Word

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection as AsyncConnection
    from websockets.sync.client import ClientConnection

DEFAULT_URL = "http://127.0.0.1:2700"
CONNECT_S = 10.0
UPLOAD_BYTES = 1 << 16  # read from a recording at a time
FINISH = '{"type": "finish"}'
TRANSCRIPTIONS = "/v1/audio/transcriptions"  # the path of recognizers


@dataclass(frozen=True)
class ServerModel:
    """A recognizer of a server. latency_ms: look-ahead; None = the model needs the whole recording."""

    name: str
    sample_rate: int  # Hz
    latency_ms: float | None


class Client:
    """A server at an address. Connects at the first call. Threads may share a client."""

    def __init__(self, url: str = DEFAULT_URL, token: str = "", model: str = "") -> None:
        """
        url:   with http or https; a path is needed behind some proxies
        token: the server's token; '' = none
        model: one of the server's recognizers; '' = its first

        Raises UsageError for a malformed address or token.
        """
        parts = urlsplit(url if "://" in url else f"http://{url}")
        try:
            known = parts.scheme in ("http", "https", "ws", "wss") and parts.hostname and parts.port != 0
        except ValueError:  # the port is not a number
            known = False
        if not known or parts.query or parts.fragment or parts.username or not url.isprintable() or " " in url:
            raise UsageError(f"server {url!r}: is no address; give one such as {DEFAULT_URL}")
        if token and not (token.isascii() and token.isprintable() and " " not in token):
            raise UsageError("the token of a server has ASCII characters without blanks only")
        self._is_secure = parts.scheme in ("https", "wss")
        self._place, self._path = parts.netloc, parts.path.rstrip("/")
        self.url = f"{'https' if self._is_secure else 'http'}://{self._place}{self._path}"
        self._token, self._model = token, model
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def model(self) -> ServerModel:
        """The chosen recognizer, or the server's first, streaming ones before others.

        Raises DataError if the server cannot be reached, refuses the token, is another program, or has no such
        recognizer.
        """
        answer = self._ask("GET", "/v1/models")
        with self._understanding():
            entries = answer["data"]
            if not entries or any(entry["owned_by"] != "recitative" for entry in entries):
                raise ValueError
            models = [_model(entry) for entry in entries if entry["path"] == TRANSCRIPTIONS]
        found = [model for model in models if self._model in ("", model.name)]
        if not found:
            known = ", ".join(model.name for model in models) or "none"
            raise DataError(self.url, f"has no recognizer {self._model}".rstrip(), known, "choose one of these")
        return min(found, key=lambda model: model.latency_ms is None)

    def transcribe(self, path: str | Path) -> Transcript:
        """Transcribe a recording in any format that the server can decode.

        Raises OSError if the file cannot be read, DataError if the server refuses it.
        """
        border, granularity = secrets.token_hex(16), "timestamp_granularities[]"
        fields = [
            ("model", self._model),
            ("response_format", "verbose_json"),
            (granularity, "word"),
            (granularity, "segment"),
        ]
        with open(path, "rb") as file:
            head = "".join(_field(border, name, value) for name, value in fields)
            head += f'--{border}\r\nContent-Disposition: form-data; name="file"; filename="recording"\r\n\r\n'
            tail = f"\r\n--{border}--\r\n".encode()
            size = len(head) + os.fstat(file.fileno()).st_size + len(tail)
            body = chain([head.encode()], iter(lambda: file.read(UPLOAD_BYTES), b""), [tail])
            headers = {"Content-Type": f"multipart/form-data; boundary={border}", "Content-Length": str(size)}
            answer = self._ask("POST", TRANSCRIPTIONS, body, headers)
        with self._understanding():
            segments = _segments(answer["segments"], answer["words"])
            return Transcript(segments, float(answer["duration"]), model=str(answer["model"]))

    def stream(self) -> ServerStream:
        """Begin a live stream."""
        return ServerStream(self)

    async def events(self, chunks: AsyncIterable[SampleInput], sample_rate: int) -> AsyncIterator[Partial | Final]:
        """Stream an asynchronous source of samples, and yield each event as soon as the server sends it.

        chunks: samples in any form that ``accept`` of a stream takes. Raises what the source raises, and DataError.
        """
        from websockets.asyncio.client import connect

        live = await asyncio.to_thread(self._live, sample_rate)
        async with AsyncExitStack() as stack:
            with self._reaching():
                connection = await stack.enter_async_context(connect(**live))
            tasks: list[asyncio.Task[Any]] = [sender := asyncio.create_task(_send(connection, chunks))]
            try:
                while True:
                    tasks[1:] = [message := asyncio.create_task(connection.recv())]
                    await _arrival(message, sender)
                    with self._reaching():
                        event = self._event(await message)
                    if event is None:
                        return
                    yield event
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    def _live(self, sample_rate: int) -> dict[str, Any]:
        """Arguments of ``connect``. Raises what ``model`` raises, and UsageError for a model that cannot stream."""
        require_rate(sample_rate)
        model = self.model()
        if model.latency_ms is None:
            raise UsageError(f"{model.name} cannot stream: it needs the whole recording; use a streaming model")
        scheme = "wss" if self._is_secure else "ws"
        query = urlencode({"rate": sample_rate, "model": model.name})
        return {
            "uri": f"{scheme}://{self._place}{self._path}/v1/stream?{query}",
            "additional_headers": self._headers,
            "open_timeout": CONNECT_S,
            "compression": None,
            "max_queue": None,  # otherwise a server with unread events would stop reading audio
        }

    def _event(self, message: str | bytes) -> Partial | Final | None:
        """Parse a message; None = the end of the stream. Raises DataError for an error from the server."""
        with self._understanding():
            entries = json.loads(message)
            match entries["type"]:
                case "partial":
                    words = tuple(map(_word, entries["words"]))
                    num_stable = len(_first(words, entries["stable"]))
                    return Partial(entries["utterance"], entries["start"], entries["end"], words, num_stable)
                case "final":
                    return Final(entries["utterance"], _segments(entries["segments"], entries["words"]))
                case "end":
                    return None
                case "error":
                    found = str(entries["message"])
                case _:
                    raise ValueError
        raise DataError(self.url, found)

    def _ask(
        self, method: str, path: str, body: Iterable[bytes] | None = None, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Send a request. Returns the JSON answer. Raises DataError for an error or an answer in another form."""
        kind = HTTPSConnection if self._is_secure else HTTPConnection
        connection = kind(self._place, timeout=CONNECT_S)
        try:
            with self._reaching():
                connection.connect()
                connection.sock.settimeout(None)  # a long recording may take minutes
                with suppress(BrokenPipeError, ConnectionResetError):  # the answer has the reason
                    connection.request(method, self._path + path, body, {**self._headers, **(headers or {})})
                response = connection.getresponse()
                content = response.read()
        finally:
            connection.close()
        if response.status == 401:
            found = "refuses the token" if self._token else "asks for a token"
            raise DataError(self.url, found, "", "give the one that it was started with")
        with self._understanding():
            answer = json.loads(content)
            if response.status == 200:
                return dict(answer)
            found = str(answer["error"]["message"])
        raise DataError(self.url, found)

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        """Turn network errors into DataError."""
        try:
            yield
        except ConnectionRefusedError:
            remedy = "start it with 'recitative serve', or correct the address"
            raise DataError(self.url, "refuses connections", "", remedy) from None
        except ssl.SSLCertVerificationError as error:
            remedy = "set SSL_CERT_FILE to the file of its certificate"
            found = f"has a certificate that is not known ({error.verify_message})"
            raise DataError(self.url, found, "", remedy) from None
        except ssl.SSLError:
            raise DataError(self.url, "does not speak https", "", "give its address with http") from None
        except TimeoutError:
            raise DataError(self.url, f"does not answer within {CONNECT_S:g} s", "", "correct the address") from None
        except socket.gaierror:
            raise DataError(self.url, "has a name that is not known", "", "correct the address") from None
        except HTTPException:
            raise self._other_program() from None
        except OSError as error:
            raise DataError(self.url, f"cannot be reached ({error.strerror or error})", "", "") from None
        except Exception as error:
            if type(error).__module__ != "websockets.exceptions":
                raise
            raise DataError(self.url, "has ended the stream", "", _reason(error)) from None

    @contextmanager
    def _understanding(self) -> Iterator[None]:
        """Raise DataError for an answer in another form."""
        try:
            yield
        except (ValueError, LookupError, TypeError, AttributeError):
            raise self._other_program() from None

    def _other_program(self) -> DataError:
        return DataError(self.url, "is not a Recitative server, or one of another version", "", "correct the address")


class ServerStream(AudioStream[Partial | Final]):
    """A live stream of a server. ``accept`` sends samples and returns the events that have arrived; ``finish`` waits
    for the rest. Both raise DataError if the server refuses the stream or disconnects; the stream is reset then."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._connection = ExitStack()
        self._socket: ClientConnection | None = None
        super().__init__()

    def _begin(self) -> None:
        self._connection.close()
        self._socket = None

    def _hear(self, samples: Array) -> list[Partial | Final]:
        from websockets.sync.client import connect

        if not self._socket:
            live = self._client._live(self._rate)
            with self._client._reaching():
                self._socket = self._connection.enter_context(connect(**live))
        return self._exchange(wav_samples(samples), wait=False)

    def _end(self) -> list[Partial | Final]:
        return self._exchange(FINISH, wait=True) if self._socket else []

    def _exchange(self, message: str | bytes, *, wait: bool) -> list[Partial | Final]:
        """Send a message. Returns the events that have arrived; with ``wait`` all events to the end of the stream."""
        from websockets.exceptions import ConnectionClosed

        assert self._socket
        events: list[Partial | Final] = []
        try:
            with suppress(ConnectionClosed):  # earlier messages of the server can still be read
                self._socket.send(message)
            while (received := self._receive(self._socket, wait)) is not None:
                if (event := self._client._event(received)) is None:
                    break
                events.append(event)
        except DataError:
            self.reset()
            raise
        return events

    def _receive(self, connection: ClientConnection, wait: bool) -> str | bytes | None:
        """The next message; None = none has arrived."""
        with self._client._reaching():
            try:
                return connection.recv(None if wait else 0)
            except TimeoutError:
                return None


async def _send(connection: AsyncConnection, chunks: AsyncIterable[SampleInput]) -> None:
    async for chunk in chunks:
        await connection.send(wav_samples(as_float(chunk)))
    await connection.send(FINISH)


async def _arrival(message: asyncio.Future[str | bytes], sender: asyncio.Task[None]) -> None:
    """Wait for a message. Raises the error of the source of the samples if it fails before."""
    from websockets.exceptions import ConnectionClosed

    both: list[asyncio.Future[Any]] = [message, sender]
    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    if not message.done() and (error := sender.exception()) and not isinstance(error, ConnectionClosed):
        raise error
    await asyncio.wait([message])


def _reason(error: Exception) -> str:
    """The server's reason for closing, or the text of an error of websockets."""
    close = getattr(error, "rcvd", None)
    return str(close.reason) if close else str(error)


def _field(border: str, name: str, value: str) -> str:
    return f'--{border}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'


def _model(entry: Mapping[str, Any]) -> ServerModel:
    latency_ms = entry["latency_ms"]
    return ServerModel(str(entry["id"]), int(entry["sample_rate"]), None if latency_ms is None else float(latency_ms))


def _word(entries: Mapping[str, Any]) -> Word:
    return Word(entries["word"], entries["start"], entries["end"], entries["confidence"])


def _segments(rows: Iterable[Mapping[str, Any]], words: Iterable[Mapping[str, Any]]) -> tuple[Segment, ...]:
    """Divide the words of a transcript among its segments."""
    rest, segments = tuple(map(_word, words)), []
    for row in rows:
        own = _first(rest, row["text"])
        rest = rest[len(own) :]
        segments.append(Segment(row["start"], row["end"], own, whole=row.get("whole", True)))
    return tuple(segments)


def _first(words: tuple[Word, ...], text: str) -> tuple[Word, ...]:
    """The first words, whose text is given; a word may have spaces. Raises ValueError if the texts differ."""
    count = next((n for n in range(len(words) + 1) if len(text_of(words[:n])) >= len(text)), 0)
    if text_of(words[:count]) != text:
        raise ValueError
    return words[:count]
