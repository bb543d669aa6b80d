"""The server: what its clients hear is what the recognizer says, and what it does not allow is refused."""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import broken_decoder
import fuzz_server
import httpx
import numpy as np
import openai
import pytest
import tiny
import tones
from websockets.asyncio.client import connect as connect_async
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from wyoming.asr import Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.info import Describe, Info

import every_kind
import small_events
import small_forecaster
import small_music
from recitative.anomaly.detector import Threshold
from recitative.asr.decoding import DecodingOptions
from recitative.asr.kind import RECOGNIZER
from recitative.asr.recognizer import Recognizer
from recitative.asr.stream import EndpointRules, Stream
from recitative.audio.files import write_wav
from recitative.decoding.hotwords import Grammar, HotWord
from recitative.errors import RunError, UsageError
from recitative.keywords.spotter import Spotter
from recitative.model.export import export_model
from recitative.music.midi import midi_bytes, parse_midi
from recitative.music.piece import Note, Piece
from recitative.serve.access import Access, Limits
from recitative.serve.app import Server, Service
from recitative.serve.decoder import Decoders
from recitative.serve.live import OwnConversation
from recitative.serve.models import ServedModel
from recitative.serve.streams import LiveStream

RATE = tiny.RATE
post = partial(httpx.post, timeout=60)  # a process that decodes may have to start
TEXTS = ("abc acab", "b", "cab bca b")
RULES = EndpointRules(silence_s=0.4)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.onnx"
    export_model(tiny.talker(layers=2), path)
    return path


@pytest.fixture(scope="module")
def recognizer(model) -> Recognizer:
    return Recognizer.load(model)


@contextmanager
def serving(recognizer, *others, files: Sequence[Path] = (), **parts) -> Iterator[Service]:
    """files: those of the models, if two worker processes are to open them; () = one process."""
    models = [ServedModel(recognizer.name, RECOGNIZER, recognizer), *others]
    if files:
        parts |= {"processes": 2, "open_models": partial(map, ServedModel.load, files)}
    with fuzz_server.running(Service(Server(models, rules=RULES, **parts))) as service:
        yield service


@pytest.fixture(scope="module", params=[False, True], ids=["one process", "two workers"])
def has_workers(request) -> bool:
    return request.param


@pytest.fixture(scope="module")
def service(recognizer, model, has_workers) -> Iterator[Service]:
    with serving(recognizer, files=[model] if has_workers else ()) as running:
        yield running


def samples(number: int = 0) -> np.ndarray:
    """Of speech and a pause, int16."""
    rng = np.random.default_rng(number)
    spoken = tiny.speak(TEXTS[number % len(TEXTS)], rng)
    return (32767 * np.concatenate([spoken, np.zeros(RATE // 2, np.float32), spoken])).astype(np.int16)


@pytest.fixture(scope="module")
def recording(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("recording") / "talk.wav"
    write_wav(path, samples() / np.float32(32768), RATE)
    return path


def web_socket(service: Service, path: str) -> str:
    return service.url.replace("http", "ws") + path


def events_alone(recognizer: Recognizer, audio: np.ndarray) -> list[dict]:
    stream = recognizer.stream(RULES)
    return [event.to_dict() for event in (*stream.accept(audio, RATE), *stream.finish())]


def finals(events: list[dict]) -> list[dict]:
    return [event for event in events if event["type"] == "final"]


def stream(service: Service, audio: np.ndarray, piece: int) -> list[dict]:
    with connect(web_socket(service, f"/v1/stream?rate={RATE}")) as live:
        content = audio.tobytes()
        for start in range(0, len(content), piece):
            live.send(content[start : start + piece])
        live.send('{"type": "finish"}')
        return [json.loads(message) for message in live]


# Live streams


@pytest.mark.parametrize("piece", [1, 333, 4001, 10**6], ids=str)
def test_a_stream_says_what_the_recognizer_says_however_it_is_cut(service, recognizer, piece):
    audio = samples()[:1500] if piece == 1 else samples()
    *events, end = stream(service, audio, piece)
    assert finals(events) == finals(events_alone(recognizer, audio))
    assert finals(events), "something is said"
    assert end == {"schema": 1, "model": "tiny.onnx", "type": "end", "duration": round(len(audio) / RATE, 3)}


def test_streams_side_by_side_say_what_each_says_alone(service, recognizer):
    async def one(number: int) -> list[dict]:
        async with connect_async(web_socket(service, f"/v1/stream?rate={RATE}")) as live:
            content = samples(number).tobytes()
            for start in range(0, len(content), 640):
                await live.send(content[start : start + 640])
                await asyncio.sleep(0.001)
            await live.send('{"type": "finish"}')
            return [json.loads(message) async for message in live]

    async def all_of_them() -> list[list[dict]]:
        return await asyncio.gather(*(one(number) for number in range(8)))

    for number, events in enumerate(asyncio.run(all_of_them())):
        assert finals(events) == finals(events_alone(recognizer, samples(number))), number
    text = httpx.get(f"{service.url}/metrics").text
    counts = [float(line.split(" ")[1]) for line in text.splitlines() if "streams_per_step_bucket" in line]
    assert counts[-1] > counts[0], "some steps served more than one stream"


def test_a_client_of_vosk_gets_one_answer_for_each_message(service, recognizer):
    audio, answers = samples(), []
    with connect(web_socket(service, "/")) as live:
        live.send(json.dumps({"config": {"sample_rate": float(RATE)}}))
        content = audio.tobytes()
        for start in range(0, len(content), 1600):
            live.send(content[start : start + 1600])
            answers.append(json.loads(live.recv(10)))
        live.send('{"eof" : 1}')
        answers.append(json.loads(live.recv(10)))
    assert all(answer.keys() in ({"partial"}, {"text"}, {"text", "result"}) for answer in answers)
    results = [word for answer in answers for word in answer.get("result", ())]
    expected = [word for final in finals(events_alone(recognizer, audio)) for word in final["words"]]
    assert [word["word"] for word in results] == [word["word"] for word in expected]
    assert all(word.keys() == {"conf", "end", "start", "word"} for word in results)
    assert any(answer.get("partial") for answer in answers)


def test_a_client_of_vosk_gets_a_text_for_a_reset_and_alternatives_if_it_asks_for_them(service, recognizer):
    audio = samples().tobytes()
    expected = finals(events_alone(recognizer, samples()))
    with connect(web_socket(service, f"/?sample_rate={RATE}")) as live:

        def ask(message: str | bytes) -> dict:
            live.send(message)
            return json.loads(live.recv(30))

        for end in ('{"reset" : 1}', '{"reset" : 1}', '{"eof" : 1}'):
            if end == '{"eof" : 1}':
                live.send('{"config": {"max_alternatives": 3}}')
            answers = [ask(audio), ask(end)]
            texts = [one for answer in answers for one in answer.get("alternatives", [answer]) if one.get("text")]
            assert " ".join(one["text"] for one in texts) == " ".join(final["text"] for final in expected), end
            assert all(one["result"] for one in texts)
        assert "alternatives" in answers[-1]


@pytest.mark.parametrize(
    ("path", "message", "told"),
    [
        ("/v1/stream?rate=77", None, "sample rate 77: must be a whole number from 4000 to 192000 Hz"),
        ("/v1/stream?rate=fast", None, "sample rate 'fast': must be a whole number"),
        ("/v1/stream", "hello", "a text message: must be a JSON object"),
        ("/v1/stream", '{"type": "stop"}', 'message type \'stop\': must be "config" or "finish"'),
        ("/", '{"config": {"sample_rate": "x"}}', "sample rate 'x': must be a whole number"),
        ("/", '{"config": {"phrase_list": ["a", "x"]}}', "word 'x': 'x' not known"),
        ("/", '{"config": {"phrase_list": ["a", 1]}}', "config.phrase_list: must be a list of phrases"),
        ("/v1/stream?model=x", None, "model 'x': this server has 'tiny.onnx'"),
        ("/v1/stream?hotwords=ab:99", None, "hot word 'ab:99': weight 99 must be from 0 to 50"),
        ("/v1/stream", '{"type": "config", "hotwords": "xy"}', "hot word 'xy': has 'x', 'y', which the model never"),
        ("/v1/stream", '{"type": "config", "keywords": 3}', "keywords: must be a text such as"),
        ("/v1/stream?keywords=ab:0", None, "keyword 'ab': threshold 0 would take everything"),
        ("/v1/stream?keywords=ab&hotwords=ab", None, "keywords: are found without hot words and phrases"),
        ("/", '{"end": 1}', "a message: must be samples, or JSON"),
        ("/", '{"config": 3}', 'config: must be an object such as {"sample_rate": 16000}'),
        ("/v1/stream?sample_rate=8000", None, "the address of /v1/stream: has 'sample_rate'; there are rate, model,"),
        ("/v1/stream", '{"type": "config", "rates": 8000}', "config: has 'rates'; there are rate, hotwords, keywords"),
        ("/v1/stream", b"Good morning, ladies", "a binary message: is text; send the samples themselves, 16-bit mono"),
        ("/", b"\x1aE\xdf\xa3" + bytes(99), "a binary message: is a WebM file; send the samples themselves"),
        ("/", b'{"eof" : 1}', "a binary message: is JSON; send that as a text message"),
    ],
)
def test_what_a_client_must_not_send_is_told_and_the_connection_closed(service, path, message, told):
    with connect(web_socket(service, path)) as live:
        if message:
            live.send(message)
        answer = json.loads(live.recv(10))
        assert told in answer.get("message", answer.get("error"))
        with pytest.raises(ConnectionClosed) as closed:
            live.recv(10)
    assert closed.value.rcvd.code == 1008
    assert told[:100] in closed.value.rcvd.reason


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"rate": 2 * RATE}, "sample rate 8000: the stream has 4000 Hz; send the rate before any audio"),
        ({"hotwords": "ab"}, "hot words, keywords and phrases: send them before any audio"),
    ],
    ids=["rate", "hot words"],
)
def test_the_rate_and_the_options_cannot_change_after_audio(service, config, message):
    with connect(web_socket(service, f"/v1/stream?rate={RATE}")) as live:
        live.send(bytes(3200))
        live.send(json.dumps({"type": "config", **config}))
        *_, last = until_closed(live)
    assert json.loads(last)["message"] == message


def test_streams_are_shared_among_workers_and_one_that_dies_is_replaced(recognizer, model):
    audio = samples().tobytes()

    def metric(name: str) -> str:
        lines = httpx.get(f"{service.url}/metrics").text.splitlines()
        return next(line.split(" ")[1] for line in lines if line.startswith(f"{name} "))

    with serving(recognizer, files=[model]) as service:
        workers = service.server.workers.workers
        address = web_socket(service, f"/v1/stream?rate={RATE}")
        with connect(address) as first, connect(address) as second:
            for live in (first, second):
                live.send(audio[:8000])
                assert json.loads(live.recv(30))["type"] == "partial"
            assert [len(worker.streams) for worker in workers] == [1, 1]
            os.kill(workers[0].pid, signal.SIGKILL)
            while metric("recitative_worker_deaths_total") != "1.0":
                time.sleep(0.05)
            first.send(audio[8000:])
            assert json.loads(list(until_closed(first))[-1]) == {
                "type": "error",
                "message": "a worker process of the server ended (SIGKILL), and the stream with it; connect again",
            }
            assert first.close_code == 1011
            second.send(audio[8000:])
            second.send('{"type": "finish"}')
            told = [json.loads(message) for message in second]
        assert finals(told) == finals(events_alone(recognizer, samples()))
        while metric("recitative_workers") != "2.0":
            time.sleep(0.05)
        assert float(metric("recitative_memory_bytes")) > 1e7
        assert metric("recitative_live_streams") == "0.0"
        assert finals(stream(service, samples(), 4001)) == finals(events_alone(recognizer, samples()))
    assert not any(Path(f"/proc/{worker.pid}").exists() for worker in workers)


def test_no_more_streams_than_allowed_are_live(recognizer):
    with serving(recognizer, limits=Limits(streams=1)) as service, connect(web_socket(service, "/v1/stream")):
        assert httpx.get(f"{service.url}/readyz").status_code == 503
        with connect(web_socket(service, "/v1/stream")) as second:
            assert "the limit of 1 live stream is reached; try again later" in json.loads(second.recv(10))["message"]
            with pytest.raises(ConnectionClosed) as closed:
                second.recv(10)
        assert closed.value.rcvd.code == 1013


def test_silent_clients_and_endless_streams_are_ended(recognizer, model, has_workers):
    files = [model] if has_workers else ()
    with serving(recognizer, files=files, limits=Limits(idle_s=0.3, total_s=1.0)) as service:
        with connect(web_socket(service, f"/v1/stream?rate={RATE}")) as live:
            assert json.loads(live.recv(10))["message"] == "nothing came for 0.3 s"
        with connect(web_socket(service, f"/v1/stream?rate={RATE}")) as live:
            live.send(bytes(4 * RATE))
            messages = [json.loads(message) for message in until_closed(live)]
            assert messages[-1]["message"] == "the stream is longer than 1 s: begin a new one"


def test_clients_that_vanish_leave_nothing_behind(recognizer, model, has_workers):
    audio = samples().tobytes()

    async def vanish(number: int) -> None:
        live = await connect_async(web_socket(service, f"/v1/stream?rate={RATE}"))
        for start in range(0, number * 1500, 1500):
            await live.send(audio[start : start + 1500])
        live.transport.abort()

    async def vanish_together() -> None:
        await asyncio.gather(*(vanish(number) for number in range(16)))

    def kept() -> list[object]:
        gc.collect()
        return [one for one in gc.get_objects() if type(one) in (LiveStream, OwnConversation, Stream)]

    with serving(recognizer, files=[model] if has_workers else ()) as service:
        before = len(kept())
        asyncio.run(vanish_together())
        deadline = time.monotonic() + 60
        while (service.server.live or len(kept()) > before) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert service.server.live == 0
        hosts = service.server.workers.workers if has_workers else [service.server._local]
        assert not any(host.streams for host in hosts)
        assert len(kept()) == before
        assert httpx.get(f"{service.url}/metrics").text.count("recitative_streams_total 16.0") == 1


def until_closed(live: ClientConnection) -> Iterator[str]:
    while True:
        try:
            yield live.recv(10)
        except ConnectionClosed:
            return


def test_home_assistant_gets_a_transcript_by_the_wyoming_protocol(recognizer, model, has_workers):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    audio = samples()
    content = audio.tobytes()

    async def ask() -> tuple[Info, list[str]]:
        texts = []
        async with AsyncTcpClient("127.0.0.1", port) as client:
            await client.write_event(Describe().event())
            info = Info.from_event(await client.read_event())
            for _ in range(2):  # one connection, two utterances
                await client.write_event(AudioStart(RATE, 2, 1).event())
                for start in range(0, len(content), 4000):
                    await client.write_event(AudioChunk(RATE, 2, 1, content[start : start + 4000]).event())
                await client.write_event(AudioStop().event())
                texts.append(Transcript.from_event(await client.read_event()).text)
        return info, texts

    with serving(recognizer, files=[model] if has_workers else (), assistant_port=port):
        info, texts = asyncio.run(ask())
    assert info.asr[0].models[0].name == "tiny.onnx"
    words = [word["word"] for final in finals(events_alone(recognizer, audio)) for word in final["words"]]
    assert texts == [" ".join(words)] * 2


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "an event is malformed"),
        (b"[1, 2]\n", "an event is malformed"),
        (b'{"type": "audio-start", "data": {"rate": 16000}}\n', "an event is malformed"),
        (b'{"type": "audio-start", "data": {"rate": 77, "width": 2, "channels": 1}}\n', "sample rate 77: must be"),
        (
            b'{"type": "audio-start", "payload_length": 99999999999}\n',
            "an event has 99999999999 bytes: at most 1048576",
        ),
        (b'{"type": "audio-start", "payload_length": "x"}\n', "an event is malformed"),
    ],
)
def test_malformed_events_of_a_voice_assistant_get_an_error(recognizer, caplog, sent, told):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with serving(recognizer, assistant_port=port), socket.create_connection(("127.0.0.1", port), 30) as client:
        client.sendall(sent)
        answer = client.makefile("rb").read().decode()
    assert '"type": "error"' in answer
    assert told in answer
    assert not [record for record in caplog.records if record.exc_info]


def test_a_port_that_is_in_use_is_named(recognizer):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(RunError, match=f"--port {port}: Address already in use; choose another"):
            Service(Server([ServedModel(recognizer.name, RECOGNIZER, recognizer)]), port=port)
        with pytest.raises(RunError, match=f"--wyoming-port {port}: Address already in use; choose another"):
            Service(Server([ServedModel(recognizer.name, RECOGNIZER, recognizer)], assistant_port=port))
    with pytest.raises(RunError, match=r"--host 192.0.2.1: .*; give an address of this machine"):
        Service(Server([ServedModel(recognizer.name, RECOGNIZER, recognizer)], access=Access(host="192.0.2.1")))


@pytest.mark.parametrize("path", ["/v1/nothing", "/v1/audio/transcriptions"])
def test_where_there_are_no_live_streams_clients_are_told_where_they_are(service, path):
    with pytest.raises(InvalidStatus) as refused, connect(web_socket(service, path)):
        pass
    assert refused.value.response.status_code == 404
    assert b"connect to /v1/stream, or with a client of Vosk's server to /" in refused.value.response.body
    answer = httpx.get(f"{service.url}/v1/stream")
    assert (answer.status_code, answer.json()["error"]["message"][:28]) == (426, "live streams are WebSockets;")


# What a client asks to be heard


def recognizer_with(model: Path, **options) -> Recognizer:
    return Recognizer.load(model, options=DecodingOptions(**options))


@pytest.mark.parametrize("early", [True, False], ids=["in the address", "in a message"])
def test_each_stream_has_hot_words_of_its_own(service, recognizer, model, early):
    audio, favored = samples(), [HotWord("cabba", 8.0)]
    address = f"/v1/stream?rate={RATE}" + ("&hotwords=cabba:8" if early else "")
    with (
        connect(web_socket(service, address)) as live,
        connect(web_socket(service, f"/v1/stream?rate={RATE}")) as other,
    ):
        if not early:
            live.send('{"type": "config", "hotwords": "cabba:8"}')
        for one in (live, other):
            one.send(audio.tobytes())
            one.send('{"type": "finish"}')
        events, plain = ([json.loads(message) for message in one] for one in (live, other))
    assert finals(events) == finals(events_alone(recognizer_with(model, hot_words=tuple(favored)), audio))
    assert finals(plain) == finals(events_alone(recognizer, audio))
    assert finals(events) != finals(plain)


def test_the_phrases_of_a_vosk_client_are_all_that_is_written(service, model):
    audio, answers = samples(), []
    with connect(web_socket(service, "/")) as live:
        live.send(json.dumps({"config": {"sample_rate": RATE, "phrase_list": ["ab", "c a", "[unk]"]}}))
        live.send(audio.tobytes())
        answers.append(json.loads(live.recv(30)))
        live.send('{"eof" : 1}')
        answers.append(json.loads(live.recv(30)))
    expected = finals(events_alone(recognizer_with(model, grammar=Grammar("ab\nc a")), audio))
    words = [word["word"] for final in expected for word in final["words"]]
    assert [word["word"] for answer in answers for word in answer.get("result", ())] == words
    assert words
    assert set(words) <= {"ab", "c", "a"}


def test_a_transcription_has_hot_words_too(service, model, recording):
    url, file = f"{service.url}/v1/audio/transcriptions", {"file": recording.read_bytes()}
    texts = [post(url, files=file, data=fields).json() for fields in ({}, {"hotwords": "cabba:8"}, {"prompt": "x"})]
    expected = recognizer_with(model, hot_words=(HotWord("cabba", 8.0),)).transcribe(recording).text
    assert texts[1] == {"text": expected} != texts[0] == texts[2]
    answer = post(url, files=file, data={"hotwords": "xy"})
    assert (answer.status_code, "has 'x', 'y', which the model never writes" in answer.text) == (400, True)


# Models of other kinds


@pytest.fixture(scope="module")
def other_files(tmp_path_factory) -> list[Path]:
    """A classifier of keywords, an anomaly model, and models that continue music, fill it in, and write events."""
    folder = tmp_path_factory.mktemp("others")
    classifier = tones.classifier("model.pooling=recent", "model.pooling_frames=4")
    forecaster = replace(small_forecaster.forecaster(), threshold=Threshold(0.3, 0.1, 0.01, 200))
    made = {
        "classifier": classifier,
        "anomaly": forecaster,
        "music": small_music.model(),
        "fill": small_music.model("model.recurrent.direction=bidirectional"),
        "events": small_events.model(),
    }
    for name, one in made.items():
        export_model(one, folder / f"{name}.onnx")
    return [folder / f"{name}.onnx" for name in made]


@pytest.fixture(scope="module")
def others(other_files) -> dict[str, ServedModel]:
    return {path.stem: ServedModel.load(path) for path in other_files}


@pytest.fixture(scope="module")
def all_kinds(recognizer, others, model, other_files, has_workers) -> Iterator[Service]:
    files = [model, *other_files] if has_workers else ()
    with serving(recognizer, *others.values(), files=files) as running:
        yield running


def test_models_are_listed_with_what_clients_need(all_kinds):
    listed = {model["id"]: model for model in httpx.get(f"{all_kinds.url}/v1/models").json()["data"]}
    paths = {name: (model["kind"], model["path"], model["streams"]) for name, model in listed.items()}
    assert paths == {
        "tiny.onnx": ("recognizer", "/v1/audio/transcriptions", True),
        "classifier.onnx": ("classifier", "/v1/audio/classifications", True),
        "anomaly.onnx": ("forecaster", "/v1/audio/anomalies", True),
        "music.onnx": ("music", "/v1/music", False),
        "fill.onnx": ("music", "/v1/music", False),
        "events.onnx": ("events", "/v1/music", False),
    }
    assert listed["tiny.onnx"]["sample_rate"] == RATE
    assert listed["classifier.onnx"]["labels"] == ["high", "low", "middle"]
    assert [listed[f"{name}.onnx"]["modes"] for name in ("music", "fill")] == [["continue"], ["harmonize", "fill"]]
    assert [listed[f"{name}.onnx"]["endings"] for name in ("music", "events")] == [["free", "cadence"], ["free"]]


def test_recordings_get_what_the_library_says(all_kinds, recognizer, others, recording):
    def ask(path: str, **fields: str) -> dict:
        answer = post(f"{all_kinds.url}{path}", files={"file": recording.read_bytes()}, data=fields)
        assert answer.status_code == 200, answer.text
        return answer.json()

    label = others["classifier"].runner.classify_file(recording)
    labels = [
        {"start": 0.0, "end": round(label.end_s, 3), "label": guess.label}
        | dict.fromkeys(("probability", "score"), guess.probability)
        for guess in label.predictions
    ]
    assert ask("/v1/audio/classifications") == {"schema": 1, "model": "classifier.onnx", "labels": labels}
    detector = others["anomaly"].runner
    alarms = [
        a.to_dict() for heard in detector.detect_file(recording, threshold=detector.threshold) for a in heard.alarms
    ]
    found = ask("/v1/audio/anomalies", model="anomaly.onnx")
    assert found.keys() == {"schema", "model", "duration", "threshold", "score", "alarms"}
    assert (found["alarms"], found["threshold"], found["duration"]) == (alarms, 0.3, label.end_s)
    word = recognizer.transcribe(recording).words[0].word
    for fields, model in (
        ({"keywords": f"{word}:0.01"}, recognizer),
        ({"keywords": "low:0.1", "model": "classifier.onnx"}, others["classifier"].runner),
    ):
        spotted = Spotter.of(model, fields["keywords"]).spot(recording)
        assert ask("/v1/audio/keywords", **fields)["keywords"] == [one.to_dict() for one in spotted]
        assert spotted


def test_streams_of_every_kind_say_what_each_says_alone(all_kinds, recognizer, others):
    audio = samples()
    detector, labeller = others["anomaly"].runner, others["classifier"].runner
    word = finals(events_alone(recognizer, audio))[0]["words"][0]["word"]
    alone = {
        "model=classifier.onnx": labeller.stream(0.5),
        "model=anomaly.onnx": detector.stream(),
        f"keywords={word}:0.01": Spotter.of(recognizer, f"{word}:0.01").stream(),
        "model=classifier.onnx&keywords=low:0.1": Spotter.of(labeller, "low:0.1").stream(),
    }

    async def one(query: str, piece: int) -> list[dict]:
        async with connect_async(web_socket(all_kinds, f"/v1/stream?rate={RATE}&{query}")) as live:
            content = audio.tobytes()
            for start in range(0, len(content), piece):
                await live.send(content[start : start + piece])
                await asyncio.sleep(0.001)
            await live.send('{"type": "finish"}')
            return [json.loads(message) async for message in live]

    async def all_of_them() -> list[list[dict]]:
        return await asyncio.gather(*(one(query, piece) for query in alone for piece in (700, 2001)))

    told = asyncio.run(all_of_them())
    for number, (query, stream) in enumerate(alone.items()):
        expected = [rounded(event.to_dict()) for event in (*stream.accept(audio, RATE), *stream.finish())]
        for *events, end in told[2 * number : 2 * number + 2]:
            assert [rounded(event) for event in events] == expected, query
            assert end["type"] == "end"
        assert expected, query


def rounded(event: dict) -> dict:
    """Sums of float32 depend on what else is in the batch."""
    content = json.loads(json.dumps(event), parse_float=lambda text: round(float(text), 4))
    assert isinstance(content, dict)
    return content


def compose(service: Service, **request) -> dict:
    answer = post(f"{service.url}/v1/music", json=request)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_music_is_written_and_equal_seeds_write_equal_music(all_kinds):
    first = compose(all_kinds, bars=3, seed=5, tempo=90)
    assert first == compose(all_kinds, bars=3, seed=5, tempo=90, model="music.onnx")
    assert first["notes"] != compose(all_kinds, bars=3, seed=6, tempo=90)["notes"]
    piece = parse_midi(base64.b64decode(first["midi"]), "answer", 48)
    written = {(note.pitch, note.voice, round(note.start * piece.step_s, 2)) for note in piece.notes}
    assert {(note["pitch"], note["voice"], round(note["start"], 2)) for note in first["notes"]} == written
    assert (first["tempo"], piece.quarters_per_minute) == (90, 90)
    unlike = {post(f"{all_kinds.url}/v1/music").json()["seed"] for _ in range(2)}
    assert len(unlike) == 2, "without a seed each piece is another"


@pytest.mark.parametrize("mode", ["continue", "fill"])
def test_a_piece_ends_with_a_cadence_on_request(all_kinds, mode):
    notes = compose(all_kinds, mode=mode, bars=2, key="C", ending="cadence", seed=1)["notes"]
    bass = sorted((note["start"], note["pitch"] % 12) for note in notes if note["voice"] == 2)
    assert [pitch_class for _, pitch_class in bass[-2:]] == [7, 0]
    last = max(note["start"] for note in notes)
    assert {note["pitch"] % 12 for note in notes if note["end"] > last} <= {0, 4, 7}


TWO_VOICES = base64.b64encode(midi_bytes(Piece((Note(0, 60, 4, 0), Note(0, 57, 4, 1)), 8))).decode()


def places(notes: list[dict]) -> set[tuple]:
    return {(note["start"], note["end"], note["pitch"], note["voice"]) for note in notes}


def test_given_and_kept_notes_stand_in_the_music(all_kinds):
    opening = compose(all_kinds, bars=2, seed=1)
    longer = compose(all_kinds, bars=2, seed=2, midi=opening["midi"])
    assert places(opening["notes"]) <= places(longer["notes"])
    assert longer["model"] == "music.onnx"
    kept = [{"start": 0.6, "end": 1.2, "pitch": 60, "voice": 1}]
    assert places(kept) <= places(compose(all_kinds, bars=2, seed=3, notes=kept)["notes"])
    filled = compose(all_kinds, mode="fill", bars=2, seed=3, notes=kept)
    assert filled["model"] == "fill.onnx"
    assert places(kept) <= places(filled["notes"])
    anew = compose(all_kinds, mode="fill", midi=opening["midi"], voices="2", fill_bars="1-1", seed=3)
    fixed = {place for place in places(opening["notes"]) if place[3] != 1}
    assert fixed <= places(anew["notes"])
    melody = midi_bytes(Piece((Note(0, 60, 4), Note(4, 62, 4)), 8))
    harmony = compose(all_kinds, mode="harmonize", midi=base64.b64encode(melody).decode(), voice="2", seed=1)
    assert {note["pitch"] for note in harmony["notes"] if note["voice"] == 1} == {60, 62}
    assert {note["voice"] for note in harmony["notes"]} == {0, 1, 2}


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        ({"bars": 1000}, "bars: input should be less than or equal to 64"),
        ({"midi": "?"}, "midi: is not base64; the bytes of a MIDI file in base64"),
        ({"midi": "aGVsbG8="}, "midi: begins with b'hell'; a MIDI file, which begins with b'MThd'"),
        ({"key": "H"}, "key H: not a key; use one such as"),
        (
            {"key": "F#", "midi": TWO_VOICES},
            "key F#: contradicts piece, of which",
        ),
        ({"mode": "harmonize"}, "mode 'harmonize': needs 'midi' with the voice that is harmonized"),
        (
            {"mode": "harmonize", "midi": TWO_VOICES},
            "midi: has 2 voices; only the voice to harmonize; leave the others",
        ),
        ({"mode": "fill", "model": "music.onnx"}, "mode 'fill': this model only continues music"),
        ({"notes": [{"start": 500, "end": 501, "pitch": 60}]}, "notes: a note of voice 0 that ends at 501.00 s"),
        (
            {"notes": [{"start": 0, "end": 1, "pitch": 99}]},
            "piece: has pitch 99 (Eb7); pitches from 55 (G3) to 66 (F#4)",
        ),
        ({"ending": "half"}, "ending: input should be 'free' or 'cadence'"),
        ({"model": "events.onnx", "ending": "cadence"}, "ending 'cadence': a model of events ends freely; use a model"),
        ({"model": "events.onnx", "notes": [{"start": 0, "end": 1, "pitch": 60}]}, "notes: a model of events cannot"),
        ({"model": "tiny.onnx"}, "model 'tiny.onnx': is a recognizer; this server has 'music.onnx', 'fill.onnx'"),
        ({"tones": 1}, "tones: extra inputs are not permitted"),
    ],
    ids=str,
)
def test_music_that_cannot_be_written_is_told(all_kinds, request_, told):
    answer = post(f"{all_kinds.url}/v1/music", json=request_)
    assert (answer.status_code, answer.json()["error"]["message"][: len(told)]) == (400, told)


def test_a_server_without_a_recognizer_serves_its_kinds_and_says_what_it_lacks(others, recording):
    with fuzz_server.running(Service(Server([others["classifier"]]))) as service:
        with connect(web_socket(service, f"/v1/stream?rate={RATE}")) as live:
            live.send(samples().tobytes())
            live.send('{"type": "finish"}')
            assert json.loads(live.recv(30))["type"] == "label"
        with connect(web_socket(service, "/")) as live:
            told = json.loads(live.recv(30))
        assert told["error"] == "this server has no model for live speech; start it with another --model"
        file = {"file": recording.read_bytes()}
        answer = post(f"{service.url}/v1/audio/transcriptions", files=file)
        told = "this server has no model for /v1/audio/transcriptions, which needs a recognizer; start it with another"
        assert (answer.status_code, answer.json()["error"]["message"].startswith(told)) == (400, True)
        assert post(f"{service.url}/v1/audio/classifications", files=file).status_code == 200


def test_a_recognizer_that_needs_whole_recordings_says_so_to_live_clients(tmp_path):
    export_model(tiny.recognizer(seed=2), tmp_path / "whole.onnx")
    server = Server([ServedModel.load(tmp_path / "whole.onnx")])
    with (
        fuzz_server.running(Service(server)) as service,
        connect(web_socket(service, "/v1/stream?model=whole.onnx")) as live,
    ):
        told = json.loads(live.recv(30))["message"]
    assert told == "model 'whole.onnx': does not stream; send recordings to /v1/audio/transcriptions"


def test_a_model_that_cannot_be_served_is_refused(tmp_path):
    export_model(every_kind.make("g2p"), tmp_path / "g2p.onnx")
    with pytest.raises(
        UsageError, match=r"--model g2p.onnx: is a letter-to-sound model; models that can be served are"
    ):
        ServedModel.load(tmp_path / "g2p.onnx")


# Recordings


BROKEN = {
    "crash": "the recording: cannot be decoded (the decoder ended: SIGSEGV)",
    "loop": "the recording: takes more than 3 s to decode",
    "sleep": "the recording: takes more than 3 s to decode",
    "memory": "the recording: needs more than 64 MB of memory to decode",
    "leak": "the recording: needs more than 64 MB of memory to decode",
}


def test_a_file_that_breaks_the_decoder_costs_only_its_client_an_error(recognizer, recording):
    with serving(recognizer) as service:
        service.server.pool.decoders = Decoders(3.0, 64, broken_decoder.serve)
        url = f"{service.url}/v1/audio/transcriptions"
        with connect(web_socket(service, f"/v1/stream?rate={RATE}")) as live:
            live.send(samples().tobytes())
            for fault, told in BROKEN.items():
                answer = post(url, files={"file": fault.encode()})
                assert (answer.status_code, answer.json()["error"]["message"][: len(told)]) == (400, told)
            live.send('{"type": "finish"}')
            assert finals([json.loads(message) for message in live]) == finals(events_alone(recognizer, samples()))
        expected = recognizer.transcribe(recording).text
        assert post(url, files={"file": recording.read_bytes()}).json() == {"text": expected}


def test_a_decoder_that_does_not_start_is_told_as_a_busy_server(recognizer, recording):
    with serving(recognizer) as service:
        service.server.pool.decoders = Decoders(3.0, 64, broken_decoder.ends_at_once)
        answer = post(f"{service.url}/v1/audio/transcriptions", files={"file": recording.read_bytes()})
        assert answer.status_code == 503
        assert "no process that decodes recordings could be started" in answer.json()["error"]["message"]


def test_clients_of_openai_get_what_the_recognizer_says(service, recognizer, recording):
    client = openai.OpenAI(base_url=f"{service.url}/v1", api_key="none")
    expected = recognizer.transcribe(recording)
    assert expected.text

    def create(**options):
        with recording.open("rb") as file:
            return client.audio.transcriptions.create(model="whisper-1", file=file, **options)

    assert create().text == expected.text
    assert create(response_format="text") == f"{expected.text}\n"
    verbose = create(response_format="verbose_json", timestamp_granularities=["word", "segment"])
    assert [(w.word, w.start, w.end) for w in verbose.words] == [(w.word, w.start_s, w.end_s) for w in expected.words]
    assert [s.text for s in verbose.segments] == [s.text for s in expected.segments]
    assert verbose.duration == round(expected.duration_s, 3)
    assert create(response_format="srt").startswith("1\n00:00:0")
    assert create(response_format="vtt").startswith("WEBVTT\n\n00:00:0")
    events = list(create(stream=True))
    assert "".join(event.delta for event in events[:-1]) == expected.text == events[-1].text
    assert [model.id for model in client.models.list()] == ["tiny.onnx"]
    assert client.models.retrieve("tiny.onnx").id == "tiny.onnx"
    with pytest.raises(openai.NotFoundError, match="model 'x': this server has"):
        client.models.retrieve("x")


def test_readable_text_is_for_people_and_clients_of_vosk_get_words(recognizer, recording):
    audio, readable = samples(), Recognizer(recognizer.network, "tiny", text="readable")
    with serving(readable) as service:
        captions = finals(stream(service, audio, 4001))
        body = httpx.post(f"{service.url}/v1/audio/transcriptions", files={"file": recording.read_bytes()}).json()
        with connect(web_socket(service, f"/?sample_rate={RATE}")) as live:
            live.send(audio.tobytes())
            answers = [json.loads(live.recv(10))]
            live.send('{"eof" : 1}')
            answers.append(json.loads(live.recv(10)))
    assert captions == finals(events_alone(readable, audio)) != finals(events_alone(recognizer, audio))
    assert body["text"] == readable.transcribe(recording).text != recognizer.transcribe(recording).text
    expected = " ".join(final["text"] for final in finals(events_alone(recognizer, audio)))
    assert " ".join(answer["text"] for answer in answers if answer.get("text")) == expected


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"model": "gpt-4o-transcribe"}, "model 'gpt-4o-transcribe': this server has 'tiny.onnx'"),
        ({"response_format": "docx"}, "response_format 'docx': must be one of json, text, srt, vtt, verbose_json"),
        ({"timestamp_granularities[]": "phrase"}, "timestamp_granularities 'phrase': must be word or segment"),
    ],
    ids=["model", "format", "granularity"],
)
def test_what_cannot_be_done_is_told(service, recording, fields, told):
    answer = post(f"{service.url}/v1/audio/transcriptions", data=fields, files={"file": recording.read_bytes()})
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, told)


def test_what_is_no_recording_is_told_without_a_name_of_the_server(service, recording):
    for stream in ("false", "true"):
        answer = post(
            f"{service.url}/v1/audio/transcriptions", data={"stream": stream}, files={"file": ("/etc/x", b"no sound")}
        )
        assert "the recording: is not audio that can be read" in answer.text
        assert "/tmp" not in answer.text
        assert "/etc" not in answer.text
    for form in ({}, {"files": {"file": (None, b"talk.wav")}}, {"content": recording.read_bytes()}):
        answer = post(f"{service.url}/v1/audio/transcriptions", **form)
        told = "file: must be a recording, in a form (curl -F file=@talk.wav)"
        assert (answer.status_code, answer.json()["error"]["message"]) == (400, told)
    answer = post(f"{service.url}/v1/audio/transcriptions", files={"file": recording.read_bytes()[:1000]})
    assert answer.json()["error"]["message"].endswith("missing; send it again, whole"), "no option of a command"
    for kind in ("application/json", "text/plain"):
        answer = post(f"{service.url}/v1/music", content=b"{", headers={"content-type": kind})
        assert answer.json()["error"]["message"] == "the request: must be a JSON object, sent as application/json"
    assert httpx.get(f"{service.url}/v1/none").json()["error"]["message"] == "not found"


def test_uploads_and_recordings_have_limits(recognizer, recording):
    with serving(recognizer, limits=Limits(upload_mb=0.01, recording_s=0.1)) as service:
        url = f"{service.url}/v1/audio/transcriptions"
        assert post(url, files={"file": bytes(20000)}).status_code == 413
        unknown_length = (b"--x\r\n" if number == 0 else bytes(8000) for number in range(4))
        kind = {"content-type": "multipart/form-data; boundary=x"}
        assert post(url, content=unknown_length, headers=kind).status_code == 400
    with serving(recognizer, limits=Limits(recording_s=0.1)) as service:
        answer = post(f"{service.url}/v1/audio/transcriptions", files={"file": recording.read_bytes()})
        told = "the recording: is too long; at most 0.1 s; cut it, or raise --recording-s"
        assert (answer.status_code, answer.json()["error"]["message"]) == (400, told)


def test_when_enough_recordings_wait_no_more_are_taken(recognizer, recording):
    with serving(recognizer, limits=Limits(recordings=1)) as service:
        service.server.pool.running = 2
        answer = post(f"{service.url}/v1/audio/transcriptions", files={"file": recording.read_bytes()})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        service.server.pool.running = 0


# Access


def test_a_client_that_waits_for_the_server_is_not_taken_for_dead(service):
    """What it sends is not read meanwhile, and so would no answer to a ping be."""
    assert service.config.ws_ping_interval is None


def test_a_bug_is_told_without_its_details_and_counted(recognizer, recording, monkeypatch):
    with serving(recognizer) as service:
        monkeypatch.setattr(service.server.pool, "require_slot", lambda: 1 / 0)
        answer = post(f"{service.url}/v1/audio/transcriptions", files={"file": recording.read_bytes()})
        assert (answer.status_code, answer.json()["error"]["message"]) == (
            500,
            "an error of the server; its log has more",
        )
        assert "recitative_errors_total 1.0" in httpx.get(f"{service.url}/metrics").text


def test_without_the_token_only_the_page_and_the_probes_answer(recognizer, caplog, monkeypatch):
    with serving(recognizer, access=Access(token="secret")) as service:
        monkeypatch.setattr(logging.getLogger("uvicorn"), "propagate", True)  # to caplog
        for path in ("/", "/page/app.js", "/healthz", "/readyz"):
            assert httpx.get(service.url + path).status_code == 200, path
        for path in ("/v1/models", "/metrics", "/openapi.json"):
            assert httpx.get(service.url + path).status_code == 401, path
            assert httpx.get(service.url + path, headers={"Authorization": "Bearer secret"}).status_code == 200, path
            assert httpx.get(service.url + path, headers={"Authorization": "Bearer secre"}).status_code == 401, path
        with pytest.raises(InvalidStatus) as refused, connect(web_socket(service, "/v1/stream?token=no")):
            pass
        assert refused.value.response.status_code == 401
        assert b"the token is missing or wrong" in refused.value.response.body
        http_refusals = 6
        with connect(web_socket(service, "/v1/stream?token=secret")) as live:
            live.send('{"type": "finish"}')
            assert json.loads(live.recv(10))["type"] == "end"
    told = [record.getMessage() for record in caplog.records if record.name == "uvicorn.error"]
    assert len(told) == http_refusals + 1, "one line for each refusal"
    assert all("refused: the token is missing or wrong" in line for line in told)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Host": "evil.example:2700"}, 403),
        ({"Host": "localhost:2700", "Origin": "http://localhost:2700"}, 200),
    ],
    ids=str,
)
def test_pages_of_other_servers_cannot_use_one_on_this_machine(service, headers, status):
    assert httpx.get(f"{service.url}/v1/models", headers=headers).status_code == status


def test_an_origin_that_is_allowed_may_read_the_answers(recognizer):
    with serving(recognizer, access=Access(token="secret", origins=("https://captions.example",))) as service:
        url, known = f"{service.url}/v1/models", {"Origin": "https://captions.example"}
        answer = httpx.get(url, headers={**known, "Authorization": "Bearer secret"})
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, known["Origin"])
        question = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}
        answer = httpx.options(url, headers={**known, **question})  # a browser's, before it sends the token
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (204, known["Origin"])
        assert "Authorization" in answer.headers["access-control-allow-headers"]
        assert httpx.get(url, headers=known).status_code == 401
        for method, more in (("OPTIONS", question), ("GET", {"Authorization": "Bearer secret"})):
            answer = httpx.request(method, url, headers={"Origin": "https://other.example", **more})
            assert answer.status_code == 403


# The command


@pytest.fixture
def start(model) -> Iterator[Callable[..., tuple[subprocess.Popen[str], str]]]:
    started: list[subprocess.Popen[str]] = []

    def run(*options: str) -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "recitative", "serve", "--model", str(model), "--port", "0", *options],
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        assert process.stderr
        line = process.stderr.readline()
        assert line.startswith("tiny.onnx at http://127.0.0.1:"), line
        return process, line.split()[2]

    yield run
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.parametrize("processes", ["1", "2"])
def test_sigterm_lets_live_streams_come_to_their_ends_and_takes_no_new_ones(start, recognizer, processes):
    process, url = start("--silence-s", "0.4", "--processes", processes)
    audio = samples()
    half = len(audio) // 2 * 2
    with connect(url.replace("http", "ws") + f"/v1/stream?rate={RATE}") as live:
        live.send(audio.tobytes()[:half])
        while not httpx.get(f"{url}/metrics").text.count("recitative_live_streams 1.0"):
            time.sleep(0.05)
        for one in (process.pid, *_children(process.pid)):  # as systemd does
            os.kill(one, signal.SIGTERM)
        while httpx.get(f"{url}/readyz").status_code != 503:
            time.sleep(0.05)
        live.send(audio.tobytes()[half:])
        live.send('{"type": "finish"}')
        events = [json.loads(message) for message in live]
    assert finals(events) == finals(events_alone(recognizer, audio))
    assert process.wait(20) in (0, -signal.SIGTERM)


def test_workers_of_the_command_share_its_memory_and_one_that_dies_is_replaced(start, recognizer):
    process, url = start("--silence-s", "0.4", "--processes", "2")

    def metric(name: str) -> float:
        lines = httpx.get(f"{url}/metrics").text.splitlines()
        return next(float(line.split(" ")[1]) for line in lines if line.startswith(f"{name} "))

    assert metric("recitative_memory_bytes") < 0.7 * metric("recitative_resident_bytes")
    worker, other = _children(process.pid)
    os.kill(worker, signal.SIGKILL)
    while (metric("recitative_worker_deaths_total"), metric("recitative_workers")) != (1.0, 2.0):
        time.sleep(0.05)
    audio = samples().tobytes()
    address = url.replace("http", "ws") + f"/v1/stream?rate={RATE}"
    with connect(address) as first, connect(address) as second:  # one in each worker
        for live in (first, second):
            live.send(audio)
            live.send('{"type": "finish"}')
        for live in (first, second):
            events = [json.loads(message) for message in live]
            assert finals(events) == finals(events_alone(recognizer, samples()))
    process.kill()
    while Path(f"/proc/{other}").exists():  # it ends with the server
        time.sleep(0.05)


def _children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_port_that_is_taken_and_bad_options_are_one_line(service, model, recitative):
    port = service.url.rsplit(":", 1)[1]
    done = recitative("serve", "--model", model, "--port", port)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "in use" in done.stderr
    done = recitative("serve", "--model", model, "--certificate", "none.pem")
    assert (done.returncode, done.stderr) == (2, "error: --certificate and --key: give both or neither\n")
    done = recitative("serve", "--model", model, "--certificate", __file__, "--key", __file__)
    told = "error: --certificate, --key: are no certificate and its key in PEM files (not PEM)\n"
    assert (done.returncode, done.stderr) == (2, told)
    done = recitative("serve", "--model", model, "--port", port, "--allow-origin", "http://a.example/")
    told = "error: --allow-origin http://a.example/: must be such as https://example.com, without a path, or '*'\n"
    assert (done.returncode, done.stderr) == (2, told)
