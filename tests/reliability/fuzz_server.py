"""Malformed messages and uploads for a running server: each must be answered or refused, and the server must go on.

    python tests/reliability/fuzz_server.py --count 10000 --seed 1

prints every answer that is an error of the server itself, and every request without an answer. The seed and the number
of a case determine it. ``test_fuzz.py`` runs a few.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.sync.client import connect

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "asr"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "classification"))

import fuzz
import tiny

import every_kind
from recitative.model.export import export_model
from recitative.music.midi import midi_bytes
from recitative.music.piece import Note, Piece
from recitative.serve.access import Limits
from recitative.serve.app import Server, Service
from recitative.serve.models import ServedModel

TIMEOUT_S = 120.0
KINDS = ("recognizer", "classifier", "forecaster", "music", "events")
AUDIO = [
    path
    for path in sorted(fuzz.CASES.iterdir())
    if path.suffix in (".wav", ".mp3", ".flac", ".ogg", ".webm", ".m4a", ".aiff")
]
MIDI = midi_bytes(Piece((Note(0, 60, 4), Note(4, 62, 4)), 8))
UPLOADS = ("transcriptions", "classifications", "anomalies", "keywords")
VALUES = (
    "",
    "x",
    "-1",
    "1e99",
    "nan",
    "[",
    "\x00",
    "\ud800",
    "a" * 3000,
    "ab:3",
    "ab,c:0.5",
    "true",
    "srt",
    "ö",
    "'; --",
    "%00",
)
FIELDS = ("model", "response_format", "stream", "hotwords", "keywords", "timestamp_granularities[]", "language", "file")
REQUEST = {"mode": "continue", "bars": 1, "seed": 3, "temperature": 0.9, "top_p": 0.9, "tempo": 90, "key": "G",
           "notes": [{"start": 0.1, "end": 0.5, "pitch": 60, "voice": 0}], "midi": "TVRoZA=="}  # fmt: skip
ORDERS = (
    {"type": "config", "rate": 4000, "hotwords": "ab:3, c"},
    {"type": "config", "keywords": "ab:0.5"},
    {"type": "finish"},
    {"config": {"sample_rate": 4000.0, "phrase_list": ["ab", "[unk]"], "words": True}},
    {"eof": 1},
    {"reset": 1},
)
FORM = b'{"rate": 4000, "width": 2, "channels": 1}'
WYOMING = (
    b'{"type": "describe"}\n',
    b'{"type": "audio-start", "data": ' + FORM + b"}\n",
    b'{"type": "audio-chunk", "data": ' + FORM + b', "payload_length": 8}\n\1\2\3\4\5\6\7\0',
    b'{"type": "audio-chunk", "data_length": 41, "payload_length": 4}\n' + FORM + b"\1\2\3\4",
    b'{"type": "audio-stop"}\n',
)
ADDRESSES = (
    "/",
    "/?sample_rate=4000",
    "/v1/stream",
    "/v1/stream?rate=4000",
    "/v1/stream?model=classifier.onnx&rate=4000",
    "/v1/stream?model=forecaster.onnx",
    "/v1/stream?keywords=ab:0.1",
    "/v1/stream?hotwords=ab:5",
)


def try_all(service: Service, count: int, seed: int) -> list[str]:
    """Run ``count`` requests and conversations. Returns a text for each failure."""
    found = []
    for number in range(count):
        rng = random.Random(f"{seed} {number}")
        case = rng.choice(CASES)
        try:
            problem = case(service, rng)
        except Exception as error:  # of the client: there was no answer
            problem = f"{type(error).__name__}: {error}"
        if problem:
            found.append(f"--- case {number} ({case.__name__}): {problem}")
    metrics = httpx.get(f"{service.url}/metrics", timeout=TIMEOUT_S).text
    for line in ("recitative_errors_total 0.0", "recitative_live_streams 0.0"):
        if line not in metrics:
            found.append(f"--- at the end: not {line}")
    return found


def _fault(answer: httpx.Response) -> str:
    if answer.status_code >= 500:
        return f"status {answer.status_code}: {answer.text[:300]}"
    if answer.status_code >= 400 and not answer.json()["error"]["message"]:
        return f"status {answer.status_code} without a message"
    return ""


def _upload(service: Service, rng: random.Random) -> str:
    """A damaged recording with odd fields."""
    content = rng.choice(AUDIO).read_bytes()
    if rng.random() < 0.8:
        content = fuzz.damage(content, rng)
    fields = {name: _printed(rng.choice(VALUES)) for name in rng.sample(FIELDS[:-1], rng.choice((0, 0, 1, 2)))}
    path = rng.choice(UPLOADS)
    if path == "keywords":
        fields.setdefault("keywords", "ab:0.1")
    files = {"file": (_printed(rng.choice(VALUES)) or "x", content)}
    return _fault(httpx.post(f"{service.url}/v1/audio/{path}", files=files, data=fields, timeout=TIMEOUT_S))


def _body(service: Service, rng: random.Random) -> str:
    """A damaged multipart body."""
    request = httpx.Request("POST", service.url, files={"file": b"RIFF"}, data={"model": "x", "stream": "true"})
    content, headers = fuzz.damage(request.read(), rng), {"content-type": request.headers["content-type"]}
    if rng.random() < 0.2:
        kinds = "multipart/form-data", "multipart/form-data; boundary=", "text/plain", "application/json", "x"
        headers["content-type"] = rng.choice(kinds)
    path = rng.choice(UPLOADS)
    return _fault(httpx.post(f"{service.url}/v1/audio/{path}", content=content, headers=headers, timeout=TIMEOUT_S))


def _music(service: Service, rng: random.Random) -> str:
    """A damaged request for music, or a valid one with a damaged MIDI file."""
    from base64 import b64encode

    request = {name: REQUEST[name] for name in rng.sample(list(REQUEST), rng.randint(0, 4))}
    content = json.dumps(request | {"bars": 1}).encode()
    if rng.random() < 0.3:
        content = json.dumps({"bars": 1, "midi": b64encode(fuzz.damage(MIDI, rng)).decode()}).encode()
    elif rng.random() < 0.8:
        content = fuzz.damage(content, rng)
    headers = {"content-type": "application/json"}
    return _fault(httpx.post(f"{service.url}/v1/music", content=content, headers=headers, timeout=TIMEOUT_S))


def _path(service: Service, rng: random.Random) -> str:
    paths = (
        "/",
        "/v1/models",
        "/v1/music",
        "/page/..%2fapp.py",
        "/page/%00",
        "/v1/audio/transcriptions",
        "/x",
        "/%ff",
        "/metrics",
    )
    hosts = "127.0.0.1", "localhost:1", "[::", "[", "evil.example", "127.0.0.1:99999999"
    headers = {"host": rng.choice(hosts)} if rng.random() < 0.3 else {}
    if rng.random() < 0.3:
        headers["origin"] = rng.choice(("null", "http://[", "http://evil.example", service.url))
    method = rng.choice(("GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD"))
    answer = httpx.request(method, service.url + rng.choice(paths), headers=headers, timeout=TIMEOUT_S)
    return f"status {answer.status_code}" if answer.status_code >= 500 else ""


def _conversation(service: Service, rng: random.Random) -> str:
    """Damaged commands among samples. They must end the conversation with an error other than the server's own."""
    messages: list[str | bytes] = []
    for _ in range(rng.randint(1, 6)):
        order = json.dumps(rng.choice(ORDERS))
        kinds: Sequence[Callable[[], str | bytes]] = (
            lambda: rng.randbytes(rng.choice((0, 1, 2, 333, 8000))),
            lambda order=order: order,
            lambda order=order: fuzz.damage(order.encode(), rng).decode("utf-8", "replace"),
            lambda: json.dumps({rng.choice(("type", "config", "rate", "hotwords")): rng.choice(VALUES)}),
        )
        messages.append(rng.choice(kinds)())
    address = rng.choice(ADDRESSES)
    if rng.random() < 0.2:
        address += f"{'&' if '?' in address else '?'}rate={rng.choice(('0', '-1', '99999999999999999999', 'x', '²'))}"
    told = None
    try:
        with connect(
            service.url.replace("http", "ws") + address, close_timeout=TIMEOUT_S, open_timeout=TIMEOUT_S
        ) as live:
            for message in messages:
                live.send(message)
            live.send('{"eof": 1}' if address.startswith("/?") or address == "/" else '{"type": "finish"}')
            while True:
                told = live.recv(TIMEOUT_S)
                json.loads(told)
    except ConnectionClosed as closed:
        code = closed.rcvd.code if closed.rcvd else None
        most = 1024 * (service.server.limits.message_kb + 1)
        if code is None and any(len(one.encode() if isinstance(one, str) else one) > most for one in messages):
            return ""  # the server stops reading too long a message: the connection may be reset before 1009 arrives
        return "" if code in (1000, 1008, 1009) else f"closed with {code}, {told!r}: {messages!r:.600}"
    except TimeoutError:
        return f"no end within {TIMEOUT_S:g} s: {address}, {messages!r:.600}"
    except WebSocketException as error:
        return f"{type(error).__name__}: {error}"


def _voice_assistant(service: Service, rng: random.Random) -> str:
    """Damaged events of the Wyoming protocol. The last answer is an error, or the connection is closed."""
    content = b"".join(rng.choice(WYOMING) for _ in range(rng.randint(1, 5)))
    port = service.server.assistant_port
    with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S) as client:
        try:
            client.sendall(fuzz.damage(content, rng))
            client.shutdown(socket.SHUT_WR)
            while client.recv(65536):
                pass
        except TimeoutError:
            return f"no end within {TIMEOUT_S:g} s: {content!r:.600}"
        except OSError:
            pass  # the server has closed the connection
    return ""


def _printed(text: str) -> str:
    """Text that a form can contain."""
    return text.encode("utf-8", "replace").decode()


CASES = (_upload, _upload, _body, _music, _path, _conversation, _conversation, _voice_assistant)


@contextmanager
def running(service: Service) -> Iterator[Service]:
    """Run a server in a thread."""
    thread = threading.Thread(target=service.run)
    thread.start()
    try:
        end = time.monotonic() + TIMEOUT_S
        while not service.started:
            assert time.monotonic() < end, "the server does not start"
            time.sleep(0.01)
        yield service
    finally:
        service.stop()
        thread.join(60)
        assert not thread.is_alive()


@contextmanager
def serving(folder: Path, processes: int = 1) -> Iterator[Service]:
    """A server of a small model of each kind, and of a recognizer that streams. processes: for live streams."""
    paths = [folder / f"{name}.onnx" for name in KINDS]
    for path in paths:
        export_model(every_kind.make(path.stem), path)
    paths.append(folder / "speech.onnx")
    core = {"recurrent": {"direction": "forward", "layers": 2, "hidden": 16}}
    export_model(tiny.recognizer(seed=2, **core), paths[-1])
    open_models = partial(map, ServedModel.load, paths)
    limits = Limits(upload_mb=5, decoding_s=60, idle_s=60)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = Server(list(open_models()), limits, processes=processes, open_models=open_models, assistant_port=port)
    with running(Service(server)) as service:
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # not a line for each refusal
        yield service


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=1000, help="requests and conversations")
    parser.add_argument("--seed", type=int, default=1, help="equal seeds give equal cases")
    parser.add_argument("--processes", type=int, default=1, help="of the server, for live streams")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), options.processes) as service:
        found = try_all(service, options.count, options.seed)
    for one in found:
        print(one)
    for kind, times in Counter(one.split("(", 1)[-1][:100] for one in found).most_common():
        print(f"{times:5} {kind}")
    print(f"{options.count} requests and conversations, {len(found)} went wrong")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
