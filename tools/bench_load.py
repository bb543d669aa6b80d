"""Load for a server of live streams: clients that speak in real time, in a process of their own.

Every client sends its recording over WebSocket in messages of 100 ms, each at the moment at which its last sample would
have been heard, and keeps every event with the moment of its arrival. That moment, and not the one at which the socket
took the message, is what latencies are counted from: a server that reads too slowly gains nothing by it.
"""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

MESSAGE_S = 0.1
SAMPLE_BYTES = 2  # 16-bit
FINISH = '{"type": "finish"}'
READY_S = 1.0  # from the start of the generator to its first client

Event = dict[str, Any]


@dataclass(frozen=True)
class Load:
    """urls: of ``/v1/stream``, which the clients share; programs: 16-bit samples, one for each client in turn;
    stagger_s: the clients start at random moments of it; patience_s: for the end, after the audio; cores: that the
    generator may use"""

    urls: tuple[str, ...]
    programs: tuple[bytes, ...]
    rate: int
    streams: int
    stagger_s: float
    patience_s: float = 5.0
    cores: tuple[int, ...] = ()


@dataclass
class Played:
    """What one client saw. Times are those of ``time.monotonic``.

    start:    when its first sample was spoken
    late_s:   of each message, how long after its moment the socket had taken it
    arrivals: of each event
    error:    why it ended early; '' = it did not
    """

    program: int
    start: float
    late_s: list[float] = field(default_factory=list)
    arrivals: list[float] = field(default_factory=list)
    messages: list[str | bytes] = field(default_factory=list)
    error: str = ""

    @property
    def events(self) -> list[Event]:
        return [json.loads(message) for message in self.messages]

    def due(self, message: int) -> float:
        """The moment of a message, from 0; the order to finish is sent with the last."""
        return self.start + (message + 1) * MESSAGE_S


def pieces(audio: bytes, rate: int) -> list[bytes]:
    """A recording as messages."""
    size = SAMPLE_BYTES * round(MESSAGE_S * rate)
    return [audio[begin : begin + size] for begin in range(0, len(audio), size)]


async def play(
    url: str, audio: bytes, rate: int, number: int = 0, start: float | None = None, patience_s: float = 5.0
) -> Played:
    """Speak a recording in real time and hear the server to its end. start: None = now."""
    played = Played(number, time.monotonic() if start is None else start)
    messages = pieces(audio, rate)
    try:
        await asyncio.sleep(played.start - time.monotonic())
        async with (
            asyncio.timeout_at(_loop_time(played.due(len(messages)) + patience_s)),
            connect(f"{url}?rate={rate}") as socket,
        ):

            async def hear() -> None:
                async for message in socket:
                    played.arrivals.append(time.monotonic())
                    played.messages.append(message)

            hearing = asyncio.create_task(hear())
            hearing.add_done_callback(lambda task: task.cancelled() or task.exception())  # sending fails, too
            for message, content in enumerate(messages):
                await asyncio.sleep(played.due(message) - time.monotonic())
                await socket.send(content)
                played.late_s.append(time.monotonic() - played.due(message))
            await socket.send(FINISH)
            await hearing
    except TimeoutError:
        played.error = f"no end within {patience_s:g} s"
    except (OSError, WebSocketException) as error:
        played.error = str(error) or type(error).__name__
    return played


def _loop_time(moment: float) -> float:
    return asyncio.get_running_loop().time() + moment - time.monotonic()


async def play_all(load: Load) -> list[Played]:
    begin = time.monotonic() + READY_S
    delays = np.random.default_rng(load.streams).uniform(0.0, load.stagger_s, load.streams).tolist()
    clients = (
        play(
            load.urls[client % len(load.urls)],
            load.programs[client % len(load.programs)],
            load.rate,
            client % len(load.programs),
            begin + delay,
            load.patience_s,
        )
        for client, delay in enumerate(delays)
    )
    return await asyncio.gather(*clients)


@dataclass(frozen=True)
class Generated:
    """cpu_s: what the generator took of its cores"""

    played: list[Played]
    cpu_s: float


def generate(load: Load, meanwhile: Callable[[], object] = lambda: None) -> Generated:
    """Run a load in a process of its own; ``meanwhile`` is called about twice a second."""
    command = [sys.executable, "-c", "from bench_load import answer; answer()"]
    with tempfile.TemporaryFile() as asked:
        pickle.dump(load, asked)
        asked.seek(0)
        process = subprocess.Popen(command, stdin=asked, stdout=subprocess.PIPE, cwd=Path(__file__).parent)
        while True:
            try:
                content, _ = process.communicate(timeout=0.5)
                break
            except subprocess.TimeoutExpired:
                meanwhile()
    if process.returncode:
        raise RuntimeError("the load generator failed; its message is above")
    generated: Generated = pickle.loads(content)
    return generated


def answer() -> None:
    """In the process of ``generate``: a load from stdin, what its clients saw to stdout."""
    load: Load = pickle.loads(sys.stdin.buffer.read())
    if load.cores:
        os.sched_setaffinity(0, load.cores)
    played = asyncio.run(play_all(load))
    sys.stdout.buffer.write(pickle.dumps(Generated(played, time.process_time())))


# What the events mean


@dataclass(frozen=True)
class Expected:
    """An event of a stream alone, and the message after which it comes; of the last ones, the order to finish."""

    message: int
    event: Event


@dataclass(frozen=True)
class Heard:
    """An event of a client. latency_s: since the moment of the message that it needed; behind_s: since the moment of
    the last sample that it tells of; at: its arrival"""

    event: Event
    latency_s: float
    behind_s: float
    at: float


def told(event: Event) -> tuple[Any, ...]:
    """What must be equal, whoever runs the stream: all but confidences, which feel the order of sums in float32."""
    words = [(word["word"], word["start"], word["end"]) for word in event.get("words", ())]
    return event.get("type"), event.get("utterance"), event.get("start"), event.get("end"), event.get("text"), words


def compare(played: Played, expected: Sequence[Expected]) -> tuple[list[Heard], int]:
    """The events of a client beside those of the stream alone, and how many are wrong: differ, or did not come.

    Partial results may be left out by a server that is busy; final ones may not.
    """
    heard, wrong, place = [], 0, 0
    for at, event in zip(played.arrivals, played.events, strict=True):
        if event.get("type") not in ("partial", "final"):
            continue
        here = next((i for i in range(place, len(expected)) if told(expected[i].event) == told(event)), None)
        if here is None:
            wrong += 1
            continue
        wrong += sum(one.event["type"] == "final" for one in expected[place:here])
        place = here + 1
        behind_s = at - (played.start + event["end"])
        heard.append(Heard(event, at - played.due(expected[here].message), behind_s, at))
    return heard, wrong + sum(one.event["type"] == "final" for one in expected[place:])


@dataclass
class Changes:
    """Words of partial results and what became of them, added up over streams.

    shown:    words of all partial results
    changed:  those of them that the final result does not have at their place
    revised:  those that the very next result of the utterance does not have at their place
    final:    words of the final results
    unstable: partial results whose stable part the final result does not begin with
    """

    shown: int = 0
    changed: int = 0
    revised: int = 0
    final: int = 0
    unstable: int = 0

    def add(self, events: Sequence[Event]) -> None:
        """The events of a stream, in order; utterances without a final result do not count."""
        utterances: dict[int, list[Event]] = {}
        for event in events:
            utterances.setdefault(event.get("utterance", 0), []).append(event)
        for results in utterances.values():
            if results[-1].get("type") != "final":
                continue
            rows = [result["text"].split() for result in results]
            self.final += len(rows[-1])
            for row, following, result in zip(rows[:-1], rows[1:], results[:-1], strict=True):
                self.shown += len(row)
                self.changed += _differing(row, rows[-1])
                self.revised += _differing(row, following)
                stable = result.get("stable", "").split()
                self.unstable += rows[-1][: len(stable)] != stable


def _differing(row: Sequence[str], later: Sequence[str]) -> int:
    return sum(i >= len(later) or word != later[i] for i, word in enumerate(row))
