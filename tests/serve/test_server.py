"""The server: what its clients hear is what the recognizer says, and what it does not allow is refused."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import browser
import httpx
import numpy as np
import openai
import pytest
import tiny
from websockets.asyncio.client import connect as connect_async
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from wyoming.asr import Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.info import Describe, Info

from recitative.asr.recognizer import Recognizer
from recitative.asr.recognizer_kind import RECOGNIZER
from recitative.asr.stream import EndpointRules
from recitative.audio.files import write_wav
from recitative.export.file import export_model
from recitative.serve.app import Server, Service
from recitative.serve.limits import Access, Limits
from recitative.serve.models import ServedModel

RATE = tiny.RATE
TEXTS = ("abc acab", "b", "cab bca b")
RULES = EndpointRules(silence_s=0.4)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.onnx"
    core = {"recurrent": {"direction": "forward", "layers": 2, "hidden": 16}}
    export_model(tiny.recognizer(seed=2, **core), path)
    return path


@pytest.fixture(scope="module")
def recognizer(model) -> Recognizer:
    return Recognizer.load(model)


@contextmanager
def serving(recognizer, *others, **parts) -> Iterator[Service]:
    models = [ServedModel(recognizer.name, RECOGNIZER, recognizer), *others]
    service = Service(Server(models, rules=RULES, **parts))
    thread = threading.Thread(target=service.run)
    thread.start()
    try:
        end = time.monotonic() + 30
        while not service.started:
            assert time.monotonic() < end
            time.sleep(0.01)
        yield service
    finally:
        service.stop()
        thread.join(30)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def service(recognizer) -> Iterator[Service]:
    with serving(recognizer) as running:
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


def test_the_rate_cannot_change_in_mid_stream(service):
    with connect(web_socket(service, f"/v1/stream?rate={RATE}")) as live:
        live.send(bytes(3200))
        live.send(json.dumps({"type": "config", "rate": 2 * RATE}))
        *_, last = _until_closed(live)
    assert "the stream has 4000 Hz; send the rate before any audio" in json.loads(last)["message"]


def test_no_more_streams_than_allowed_are_live(recognizer):
    with serving(recognizer, limits=Limits(streams=1)) as service, connect(web_socket(service, "/v1/stream")):
        assert httpx.get(f"{service.url}/readyz").status_code == 503
        with connect(web_socket(service, "/v1/stream")) as second:
            assert "1 streams are live; try again later" in json.loads(second.recv(10))["message"]
            with pytest.raises(ConnectionClosed) as closed:
                second.recv(10)
        assert closed.value.rcvd.code == 1013


def test_silent_clients_and_endless_streams_are_ended(recognizer):
    with serving(recognizer, limits=Limits(idle_s=0.3, total_s=1.0)) as service:
        with connect(web_socket(service, f"/v1/stream?rate={RATE}")) as live:
            assert json.loads(live.recv(10))["message"] == "nothing came for 0.3 s"
        with connect(web_socket(service, f"/v1/stream?rate={RATE}")) as live:
            live.send(bytes(4 * RATE))
            messages = [json.loads(message) for message in _until_closed(live)]
            assert messages[-1]["message"] == "the stream is longer than 1 s: begin a new one"


def _until_closed(live: ClientConnection) -> Iterator[str]:
    while True:
        try:
            yield live.recv(10)
        except ConnectionClosed:
            return


def test_home_assistant_gets_a_transcript_by_the_wyoming_protocol(recognizer):
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

    with serving(recognizer, assistant_port=port):
        info, texts = asyncio.run(ask())
    assert info.asr[0].models[0].name == "tiny.onnx"
    words = [word["word"] for final in finals(events_alone(recognizer, audio)) for word in final["words"]]
    assert texts == [" ".join(words)] * 2


# Recordings


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


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"model": "gpt-4o-transcribe"}, "model 'gpt-4o-transcribe': this server has 'tiny.onnx'"),
        ({"response_format": "docx"}, "response_format 'docx': must be one of json, text, srt, vtt, verbose_json"),
    ],
    ids=["model", "format"],
)
def test_what_cannot_be_done_is_told(service, recording, fields, told):
    answer = httpx.post(f"{service.url}/v1/audio/transcriptions", data=fields, files={"file": recording.read_bytes()})
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, told)


def test_what_is_no_recording_is_told_without_a_name_of_the_server(service):
    for stream in ("false", "true"):
        answer = httpx.post(
            f"{service.url}/v1/audio/transcriptions", data={"stream": stream}, files={"file": ("/etc/x", b"no sound")}
        )
        assert "the recording: is not audio that can be read" in answer.text
        assert "/tmp" not in answer.text
        assert "/etc" not in answer.text
    assert httpx.post(f"{service.url}/v1/audio/transcriptions").json()["error"]["message"] == "file: field required"


def test_uploads_and_recordings_have_limits(recognizer, recording):
    with serving(recognizer, limits=Limits(upload_mb=0.01, recording_s=0.1)) as service:
        url = f"{service.url}/v1/audio/transcriptions"
        assert httpx.post(url, files={"file": bytes(20000)}).status_code == 413
        unknown_length = (b"--x\r\n" if number == 0 else bytes(8000) for number in range(4))
        kind = {"content-type": "multipart/form-data; boundary=x"}
        assert httpx.post(url, content=unknown_length, headers=kind).status_code == 400
    with serving(recognizer, limits=Limits(recording_s=0.1)) as service:
        answer = httpx.post(f"{service.url}/v1/audio/transcriptions", files={"file": recording.read_bytes()})
        told = "the recording: is too long; at most 0.1 s; cut it, or raise --recording-s"
        assert (answer.status_code, answer.json()["error"]["message"]) == (400, told)


def test_when_enough_recordings_wait_no_more_are_taken(recognizer, recording):
    with serving(recognizer, limits=Limits(recordings=1)) as service:
        service._served.pool.running = 2
        answer = httpx.post(f"{service.url}/v1/audio/transcriptions", files={"file": recording.read_bytes()})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        service._served.pool.running = 0


# Access


def test_without_the_token_only_the_page_and_the_probes_answer(recognizer, recording):
    with serving(recognizer, access=Access(token="secret")) as service:
        for path in ("/", "/page/app.js", "/healthz", "/readyz"):
            assert httpx.get(service.url + path).status_code == 200, path
        for path in ("/v1/models", "/metrics", "/docs"):
            assert httpx.get(service.url + path).status_code == 401, path
            assert httpx.get(service.url + path, headers={"Authorization": "Bearer secret"}).status_code == 200, path
            assert httpx.get(service.url + path, headers={"Authorization": "Bearer secre"}).status_code == 401, path
        with pytest.raises(InvalidStatus, match="403"), connect(web_socket(service, "/v1/stream")):
            pass
        with connect(web_socket(service, "/v1/stream?token=secret")) as live:
            live.send('{"type": "finish"}')
            assert json.loads(live.recv(10))["type"] == "end"


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
    with serving(recognizer, access=Access(origins=("https://captions.example",))) as service:
        answer = httpx.get(f"{service.url}/v1/models", headers={"Origin": "https://captions.example"})
        assert answer.headers["access-control-allow-origin"] == "https://captions.example"
        assert httpx.get(f"{service.url}/v1/models", headers={"Origin": "https://other.example"}).status_code == 403


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


def test_sigterm_lets_live_streams_come_to_their_ends_and_takes_no_new_ones(start, recognizer):
    process, url = start("--silence-s", "0.4")
    audio = samples()
    half = len(audio) // 2 * 2
    with connect(url.replace("http", "ws") + f"/v1/stream?rate={RATE}") as live:
        live.send(audio.tobytes()[:half])
        while not httpx.get(f"{url}/metrics").text.count("recitative_live_streams 1.0"):
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        while httpx.get(f"{url}/readyz").status_code != 503:
            time.sleep(0.05)
        live.send(audio.tobytes()[half:])
        live.send('{"type": "finish"}')
        events = [json.loads(message) for message in live]
    assert finals(events) == finals(events_alone(recognizer, audio))
    assert process.wait(20) in (0, -signal.SIGTERM)


def test_a_port_that_is_taken_and_bad_options_are_one_line(service, model, recitative):
    port = service.url.rsplit(":", 1)[1]
    done = recitative("serve", "--model", model, "--port", port)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "in use" in done.stderr
    done = recitative("serve", "--model", model, "--certificate", "none.pem")
    assert (done.returncode, done.stderr) == (2, "error: --certificate and --key: give both or neither\n")


# The page


@pytest.mark.skipif(not browser.find(), reason="needs Chromium")
def test_the_page_captions_the_microphone_and_transcribes_a_file(service, recognizer, recording, tmp_path):
    write_wav(tmp_path / "microphone.wav", np.tile(samples() / np.float32(32768), 4), RATE)
    with browser.open_page(f"{service.url}/", tmp_path / "microphone.wav") as page:
        text = "document.getElementById('%s').innerText"
        assert page.wait_for(f"{text % 'model'}.includes('tiny') && {text % 'model'}").startswith("model tiny.onnx, ")
        page.run("document.getElementById('microphone').click()")
        assert page.wait_for(f"{text % 'captions'}.trim()"), "captions come"
        assert page.run("document.getElementById('microphone').getAttribute('aria-pressed')") == "true"
        page.run("document.getElementById('microphone').click()")
        page.take_file("#file", recording)
        page.wait_for("!document.getElementById('downloads').hidden")
        heard = " ".join(page.run(text % "transcript").split())
        assert heard == recognizer.transcribe(recording).text
        assert page.run("document.querySelectorAll('#transcript .word').length") == len(heard.split())
        assert page.run("document.getElementById('problem').hidden")


def test_the_page_needs_nothing_from_elsewhere(service):
    for path in ("/", "/page/style.css", "/page/app.js", "/page/capture.js"):
        with urllib.request.urlopen(service.url + path, timeout=10) as answer:
            assert b"https://" not in answer.read(), path
