"""Soak test of ``recitative serve``: correct and faulty clients, for a given time.

Each of --streams clients does one thing after another. It sends speech in real time or as fast as the server accepts
it, at the model's rate or another; disconnects in mid-stream, stops reading, or sends nothing until the server ends the
stream; sends noise, half samples, malformed commands and invalid rates; uploads recordings, broken recordings and empty
files, and disconnects during an upload. Every transcript is compared with that of the same samples without a server.
Everything else must have the documented result: a certain error, or none.

The output has the number of times that each was done, the failures, the server's own count of errors, the streams that
are still live at the end, and the memory of the server with all its processes (what they share counts once): the median
in each tenth of the time. The first tenth is the warm-up, in which every client begins with another action, so that all
are done. Growth is from the second tenth to the last. In a run of half an hour or more, more than 5 % is a failure; a
shorter one still warms up.
"""

from __future__ import annotations

import asyncio
import io
import json
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import soundfile
import typer
from bench_load import FINISH, Expected, compare, pieces, play
from bench_serve import Contest, ServeOptions, ServerProcess, expected_events, programs_of, read_recordings
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from recitative.audio.files import resample
from recitative.cli.options import DecodingArguments, Without

IDLE_S = 3.0  # the server's limit for a silent client
PATIENCE_S = 30.0  # timeout of a client for any answer
PROGRAMS = 8
MIN_RATE = 4000  # Hz, of the server
SAMPLES = 10  # of memory, in each tenth of the time
MAX_GROWTH, GROWTH_MINUTES = 0.05, 30.0  # the shortest run that fails by growth
BROKEN = ("empty", "noise", "cut", "text")
BAD_COMMANDS = (
    "hello",
    "[1, 2]",
    '{"type": "stop"}',
    '{"type": "config", "rate": "fast"}',
    '{"type":',
    "\x00",
    "9" * 4000,
)


@dataclass(frozen=True)
class Program:
    """A recording, the events of its stream, and the transcript of its file."""

    audio: bytes
    rate: int
    events: list[Expected]
    file: bytes
    text: str


@dataclass(frozen=True)
class Result:
    """log: lines of the server other than its refusals; mb: of memory, the median in each tenth of the time"""

    done: Counter[str]
    wrong: list[str]
    errors: float
    live: float
    log: list[str]
    mb: list[float]
    minutes: float
    clients: int

    @property
    def growth(self) -> float:
        """Of memory, after the warm-up."""
        return self.mb[-1] / self.mb[1] - 1

    @property
    def passes(self) -> bool:
        grows = self.minutes >= GROWTH_MINUTES and self.growth > MAX_GROWTH
        return not self.wrong and not self.errors and not self.live and not grows


def bench_soak(
    options: Annotated[ServeOptions, Without("peers")],
    greedy: Annotated[bool, typer.Option("--greedy", help="--lm none --beam 1, which computes least.")] = False,
    pause_s: Annotated[
        float, typer.Option(min=0, help="The most seconds that a client waits between two things.")
    ] = 0.0,
) -> None:
    """Run the server under clients of every kind, good and bad. The exit status is 1 if anything was wrong."""
    result = soak(options, DecodingArguments(lm="none", beam=1) if greedy else None, pause_s)
    for action, count in sorted(result.done.items()):
        failed = sum(line.startswith(f"{action}: ") for line in result.wrong)
        print(f"soak      {action:34} {count:6d}{f', {failed} WRONG' if failed else ''}")
    for line, times in Counter(result.wrong).most_common(10):
        print(f"soak      WRONG, {times} times: {line}")
    for line in result.log[:10]:
        print(f"soak      the server wrote: {line}")
    print(
        f"soak      {result.minutes:.1f} minutes with {result.clients} clients: {len(result.wrong)} wrong, "
        f"{result.errors:g} errors of the server, {result.live:g} streams still live; "
        f"memory in each tenth of the time {', '.join(f'{mb:.0f}' for mb in result.mb)} MB, "
        f"{100 * result.growth:+.1f} % from the second to the last"
    )
    if not result.passes:
        raise typer.Exit(1)


def soak(options: ServeOptions, decoding: DecodingArguments | None = None, pause_s: float = 0.0) -> Result:
    options = options.with_defaults(minutes=5.0, streams=20)
    contest = Contest(options, read_recordings(options.data), decoding or DecodingArguments())
    programs = make_programs(contest)
    with contest.server("--idle-s", f"{IDLE_S:g}") as server:
        begin, started = time.monotonic(), len(server.lines)
        crowd = Crowd(server, programs, begin + 60 * options.minutes, pause_s)
        asyncio.run(crowd.run(options.streams))
        server.settle()
        errors = server.metric("recitative_errors_total")
        live = server.metric("recitative_live_streams")
        log = [line for line in server.lines[started:] if ": refused: " not in line]
        minutes = (time.monotonic() - begin) / 60
    return Result(crowd.done, crowd.wrong, errors, live, log, crowd.mb, minutes, options.streams)


def make_programs(contest: Contest) -> list[Program]:
    """Programs at the model's rate; every fourth at half or three times this rate."""
    seconds, made = min(contest.options.seconds, 6.0), []
    for number, audio in enumerate(programs_of(contest.recordings, contest.rate, PROGRAMS, seconds)):
        rate = {1: 3 * contest.rate, 5: max(MIN_RATE, contest.rate // 2)}.get(number, contest.rate)
        samples = resample(np.frombuffer(audio, "<i2").astype(np.float32) / 32768, contest.rate, rate)
        audio = (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()
        file = io.BytesIO()
        soundfile.write(file, np.frombuffer(audio, "<i2"), rate, format="FLAC")
        events = expected_events(contest.recognizer, audio, rate, contest.rules)
        text = contest.recognizer.transcribe(file.getvalue()).text
        made.append(Program(audio, rate, events, file.getvalue(), text))
    return made


class Crowd:
    """Clients that run until ``deadline``. done: count of each action; wrong: failures; mb: see ``Result``."""

    def __init__(self, server: ServerProcess, programs: list[Program], deadline: float, pause_s: float) -> None:
        self.server, self.programs, self.deadline, self.pause_s = server, programs, deadline, pause_s
        self.done: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.mb: list[float] = []
        self.rng = np.random.default_rng(0)
        speech = [self.speaks, self.speaks, self.sends_at_once, self.uploads]
        trouble = [
            self.vanishes, self.stops_reading, self.falls_silent, self.sends_noise, self.sends_a_bad_command,
            self.asks_for_a_rate_that_is_none, self.changes_the_rate, self.uploads_what_is_broken,
            self.leaves_an_upload,
        ]  # fmt: skip
        self.actions: list[Callable[[Program], Awaitable[str]]] = [*speech, *speech, *trouble]

    async def run(self, clients: int) -> None:
        await asyncio.gather(self._measure(), *(self._client(number) for number in range(clients)))

    async def _measure(self) -> None:
        for tenth in np.linspace(time.monotonic(), self.deadline, 10 * SAMPLES + 1)[1:].reshape(10, SAMPLES):
            found = []
            for moment in tenth.tolist():
                await asyncio.sleep(moment - time.monotonic())
                found.append(self.server.usage().mb)
            self.mb.append(float(np.median(found)))

    async def _client(self, number: int) -> None:
        """The first action of a client is that of its number, so that all actions are done."""
        turn = number
        while turn == number or time.monotonic() < self.deadline:
            action = self.actions[turn % len(self.actions)]
            name = action.__name__.replace("_", " ")
            program = self.programs[int(self.rng.integers(len(self.programs)))]
            try:
                problem = await asyncio.wait_for(action(program), 2 * PATIENCE_S)
            except Exception as error:  # of the client; it is reported with the results
                problem = f"{type(error).__name__}: {error}"
            self.done[name] += 1
            if problem:
                self.wrong.append(f"{name}: {problem}")
            await asyncio.sleep(self.rng.uniform(0, self.pause_s))
            turn = -1 - int(self.rng.integers(len(self.actions)))

    def _connect(self, rate: object) -> connect:
        # A server that computes more slowly than a client sends does not read its pings meanwhile.
        return connect(f"{self.server.stream_url}?rate={rate}", ping_interval=None)

    async def speaks(self, program: Program) -> str:
        played = await play(self.server.stream_url, program.audio, program.rate, patience_s=PATIENCE_S)
        _, wrong = compare(played, program.events)
        return played.error or (f"{wrong} events differ" if wrong else "")

    async def sends_at_once(self, program: Program) -> str:
        """Send messages of random lengths; only the final results equal those of messages of 100 ms."""
        async with self._connect(program.rate) as socket:
            hearing = asyncio.create_task(_messages(socket))
            size = int(self.rng.integers(1001, 30001))
            for begin in range(0, len(program.audio), size):
                await socket.send(program.audio[begin : begin + size])
            await socket.send(FINISH)
            events = await hearing
        texts = [event["text"] for event in events if event["type"] == "final"]
        wanted = [one.event["text"] for one in program.events if one.event["type"] == "final"]
        return "" if texts == wanted else f"{texts} instead of {wanted}"

    async def uploads(self, program: Program) -> str:
        status, body = await self._upload(program.file)
        if status == 503:  # all slots are taken
            return ""
        return "" if (status, body.get("text")) == (200, program.text) else f"{status} {body}, not {program.text!r}"

    async def vanishes(self, program: Program) -> str:
        async with self._connect(program.rate) as socket:
            for content in pieces(program.audio, program.rate)[: int(self.rng.integers(1, 20))]:
                await socket.send(content)
            socket.transport.abort()
        return ""

    async def stops_reading(self, program: Program) -> str:
        async with self._connect(program.rate) as socket:
            await socket.send(program.audio)
            socket.transport.pause_reading()
            await asyncio.sleep(1.0)
            socket.transport.abort()
        return ""

    async def falls_silent(self, program: Program) -> str:
        async with self._connect(program.rate) as socket:
            await socket.send(program.audio[: 2 * program.rate])
            return _error_problem(await _messages(socket), "nothing came for")

    async def sends_noise(self, program: Program) -> str:
        """All bytes are valid samples, also with half a sample at the end."""
        async with self._connect(program.rate) as socket:
            await socket.send(self.rng.bytes(2 * program.rate + 1))
            await socket.send(FINISH)
            events = await _messages(socket)
        return "" if events and events[-1]["type"] == "end" else f"no end, but {events[-1:]}"

    async def sends_a_bad_command(self, program: Program) -> str:
        async with self._connect(program.rate) as socket:
            await socket.send(program.audio[:2000])
            await socket.send(BAD_COMMANDS[int(self.rng.integers(len(BAD_COMMANDS)))])
            return _error_problem(await _messages(socket), "")

    async def asks_for_a_rate_that_is_none(self, program: Program) -> str:
        async with self._connect(("fast", 77, -16000, 10**9)[int(self.rng.integers(4))]) as socket:
            return _error_problem(await _messages(socket), "sample rate")

    async def changes_the_rate(self, program: Program) -> str:
        async with self._connect(program.rate) as socket:
            await socket.send(program.audio[:2000])
            await socket.send(json.dumps({"type": "config", "rate": 2 * program.rate}))
            return _error_problem(await _messages(socket), "send the rate before any audio")

    async def uploads_what_is_broken(self, program: Program) -> str:
        kind = BROKEN[int(self.rng.integers(len(BROKEN)))]
        noise = self.rng.bytes(2000)
        content = {"empty": b"", "noise": noise, "cut": program.file[: len(program.file) // 2], "text": b"hello"}[kind]
        status, body = await self._upload(content)
        return "" if status in (400, 503) and body["error"]["message"] else f"{kind}: {status} {body}"

    async def leaves_an_upload(self, program: Program) -> str:
        host, port = self.server.url.split("//")[1].split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        body = _form(program.file)
        writer.write(_head(host, len(body)) + body[: len(body) // 2])
        await writer.drain()
        writer.transport.abort()
        return ""

    async def _upload(self, content: bytes) -> tuple[int, dict]:
        request = urllib.request.Request(
            f"{self.server.url}/v1/audio/transcriptions", _form(content), {"Content-Type": _FORM_TYPE}
        )

        def post() -> tuple[int, dict]:
            try:
                with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
                    return answer.status, json.loads(answer.read())
            except urllib.error.HTTPError as error:
                return error.code, json.loads(error.read())

        return await asyncio.to_thread(post)


async def _messages(socket: ClientConnection) -> list[dict]:
    """All messages to the end of the connection."""
    found = []
    try:
        async for message in socket:
            found.append(json.loads(message))
    except ConnectionClosed:
        pass
    return found


def _error_problem(events: list[dict], wanted: str) -> str:
    """'' if the last event is an error with these words."""
    last = events[-1] if events else {}
    return "" if last.get("type") == "error" and wanted in last["message"] else f"no error, but {last}"


_BOUNDARY = "recitative-soak"
_FORM_TYPE = f"multipart/form-data; boundary={_BOUNDARY}"


def _form(content: bytes) -> bytes:
    head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    return head.encode() + content + f"\r\n--{_BOUNDARY}--\r\n".encode()


def _head(host: str, length: int) -> bytes:
    path = "/v1/audio/transcriptions"
    lines = (f"POST {path} HTTP/1.1", f"Host: {host}", f"Content-Type: {_FORM_TYPE}", f"Content-Length: {length}")
    return "\r\n".join([*lines, "", ""]).encode()
