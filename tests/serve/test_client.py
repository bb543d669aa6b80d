"""The client: what a server's streams and transcripts say is what the recognizer says, and its errors are one line."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

import pytest
import tiny
from test_server import RATE, RULES, events_alone, finals, samples, serving
from websockets.datastructures import Headers
from websockets.http11 import Response
from websockets.sync.server import serve

from recitative.asr.recognizer import Recognizer
from recitative.asr.transcript import Final, Partial
from recitative.audio.files import write_wav
from recitative.client import Client, ServerModel, ServerStream
from recitative.errors import DataError, UsageError
from recitative.model.export import export_model
from recitative.serve.access import Access, Limits
from recitative.serve.models import ServedModel


@pytest.fixture(scope="module")
def recognizer(tmp_path_factory) -> Recognizer:
    path = tmp_path_factory.mktemp("model") / "tiny.onnx"
    export_model(tiny.talker(layers=2), path)
    return Recognizer.load(path)


@pytest.fixture(scope="module")
def url(recognizer) -> Iterator[str]:
    with serving(recognizer) as service:
        yield service.url


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    path = tmp_path_factory.mktemp("recording") / "talk.wav"
    write_wav(path, samples() / 32768, RATE)
    return path


def hear(stream: ServerStream) -> list[Partial | Final]:
    return stream.accept(samples(), RATE) + stream.finish()


def test_the_model_of_a_server(url, recognizer):
    assert Client(url).model() == ServerModel("tiny.onnx", RATE, recognizer.latency_ms)


def test_one_of_several_models_is_chosen_by_name(recognizer, recording):
    other = ServedModel.load("an4-streaming")
    with serving(recognizer, ServedModel.load("chorales"), other) as service:
        assert Client(service.url).model().name == "tiny.onnx"
        client = Client(service.url, model="an4-streaming")
        assert client.model() == ServerModel("an4-streaming", 16000, other.runner.latency_ms)
        assert client.transcribe(recording).to_dict() == other.runner.transcribe(recording).to_dict()
        local = other.runner.stream(RULES)
        expected = local.accept(samples(), RATE) + local.finish()
        assert finals([one.to_dict() for one in hear(client.stream())]) == finals([one.to_dict() for one in expected])
        for name in ("chorales", "none"):
            with pytest.raises(DataError, match=f"has no recognizer {name}; tiny.onnx, an4-streaming; choose one"):
                Client(service.url, model=name).model()


@pytest.mark.parametrize("piece", [640, 10**6])
def test_a_stream_gives_the_events_of_a_local_one(url, recognizer, piece):
    audio, stream = samples(), Client(url).stream()
    for _ in range(2):  # it is new after its end
        events = []
        for start in range(0, len(audio), piece):
            events += stream.accept(audio[start : start + piece], RATE)
        events += stream.finish()
        assert {type(event) for event in events} == {Partial, Final}
        assert finals([event.to_dict() for event in events]) == finals(events_alone(recognizer, audio))
    assert stream.finish() == []


def test_an_asynchronous_source_gives_the_same_events(url, recognizer):
    audio = samples(2)

    async def chunks():
        for start in range(0, len(audio), 640):
            yield audio[start : start + 640].tobytes()

    async def collect():
        return [event.to_dict() async for event in Client(url).events(chunks(), RATE)]

    assert finals(asyncio.run(collect())) == finals(events_alone(recognizer, audio))


def test_what_an_asynchronous_source_raises_is_raised(url):
    async def chunks():
        yield samples()[:640]
        raise LookupError("unplugged")

    async def collect():
        return [event async for event in Client(url).events(chunks(), RATE)]

    with pytest.raises(LookupError, match="unplugged"):
        asyncio.run(collect())


def test_a_recording_has_the_transcript_of_the_recognizer(url, recognizer, recording):
    found, expected = Client(url).transcribe(recording), recognizer.transcribe(recording)
    assert found.text
    assert found.to_dict() == expected.to_dict()
    with pytest.raises(FileNotFoundError):
        Client(url).transcribe(recording.with_name("none.wav"))
    with pytest.raises(DataError, match="the recording: is not audio that can be read"):
        Client(url).transcribe(__file__)


def test_a_token_is_sent_and_one_that_is_missing_or_wrong_is_told(recognizer, recording):
    with serving(recognizer, access=Access(token="secret")) as service:
        client = Client(service.url, "secret")
        assert client.transcribe(recording).text
        client.stream().accept(samples(), RATE)
        for token, told in (("", "asks for a token"), ("secre", "refuses the token")):
            with pytest.raises(DataError, match=f"^{service.url}: {told}; give the one that it was started with$"):
                Client(service.url, token).stream().accept(samples(), RATE)


def test_what_a_server_refuses_is_told(recognizer, recording):
    with serving(recognizer, limits=Limits(streams=1, upload_mb=0.001)) as service:
        client, first = Client(service.url), Client(service.url).stream()
        first.accept(samples(), RATE)
        second = client.stream()
        with pytest.raises(DataError, match="the limit of 1 live stream is reached; try again later"):
            hear(second)
        first.finish()
        with pytest.raises(DataError, match=r"the upload has more than 0\.001 MB"):
            client.transcribe(recording)


@contextmanager
def other_server(model: object, live=lambda connection: None) -> Iterator[str]:
    """Answers /v1/models as given; live: what it does with a stream."""

    def answer(connection, request):
        if request.path != "/v1/models":
            return None
        body = model.encode() if isinstance(model, str) else json.dumps(model).encode()
        return Response(HTTPStatus.OK, "OK", Headers({"Content-Length": str(len(body))}), body)

    with serve(live, "127.0.0.1", 0, process_request=answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.socket.getsockname()[1]}"
        server.shutdown()
    thread.join()


PATH = "/v1/audio/transcriptions"
OURS = {"data": [{"id": "m", "owned_by": "recitative", "path": PATH, "sample_rate": RATE, "latency_ms": 0.0}]}


@pytest.mark.parametrize("model", ["<html>", {"data": []}, {"data": [{"id": "x", "owned_by": "openai"}]}, [1]], ids=str)
def test_another_server_is_told(model):
    with other_server(model) as url, pytest.raises(DataError, match="is not a Recitative server") as told:
        Client(url).model()
    assert str(told.value).startswith(url)


def test_a_word_may_have_blanks_and_words_that_are_not_the_text_are_told():
    words = [{"word": word, "start": 0.0, "end": 1.0, "confidence": 1.0} for word in ("at", "10 p.m.", "go")]
    final = {"type": "final", "utterance": 1, "words": words}
    segments = [{"start": 0.0, "end": 1.0, "text": text} for text in ("at 10 p.m.", "", "go")]
    event = Client()._event(json.dumps(final | {"segments": segments}))
    assert [[word.word for word in segment.words] for segment in event.segments] == [["at", "10 p.m."], [], ["go"]]
    with pytest.raises(DataError, match="is not a Recitative server"):
        Client()._event(json.dumps(final | {"segments": [segments[2]]}))


@pytest.mark.parametrize("end", ["closed", "cut off"])
def test_a_server_that_is_gone_in_mid_stream_is_told(end):
    def leave(connection):
        connection.recv()
        if end == "cut off":
            connection.socket.shutdown(socket.SHUT_RDWR)

    async def chunks():
        yield samples()

    async def collect(url):
        return [event async for event in Client(url).events(chunks(), RATE)]

    with other_server(OURS, leave) as url:
        stream = Client(url).stream()
        with pytest.raises(DataError, match="has ended the stream"):
            hear(stream)
        with pytest.raises(DataError, match="has ended the stream"):
            asyncio.run(collect(url))
    with pytest.raises(DataError, match="refuses connections; start it with 'recitative serve'"):
        stream.accept(samples(), RATE)


@pytest.mark.parametrize(
    "url", ["", "http://", "ftp://x", "http://x:port", "http://x?a=b", "http://me:secret@x", "http://a b"]
)
def test_what_is_no_address_is_refused(url):
    with pytest.raises(UsageError, match=r"is no address; give one such as http://127\.0\.0\.1:2700"):
        Client(url)


# The command

WITHOUT_TORCH = "import sys; sys.modules['torch'] = None; from recitative.__main__ import main; main()"


def test_listen_hears_here_and_recognizes_there(recognizer, recording, tmp_path):
    options = ["--input", str(recording), "--format", "jsonl", "--captions", str(tmp_path / "captions.txt")]
    with serving(recognizer, access=Access(token="secret")) as service:
        done = subprocess.run(
            [sys.executable, "-c", WITHOUT_TORCH, "listen", "--server", service.url, "--model", "tiny.onnx", *options],
            env=os.environ | {"RECITATIVE_TOKEN": "secret"}, capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    expected = finals(events_alone(recognizer, samples()))
    assert finals(events) == [{"schema": 1, "model": "tiny.onnx"} | event for event in expected]
    assert (tmp_path / "captions.txt").read_text().split()[-1] == expected[-1]["text"].split()[-1]
    duration_s = len(samples()) / RATE
    assert done.stderr == f"processed {duration_s:.1f} s, 0 overruns\n"
