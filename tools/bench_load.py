"""Load generator for a server of live streams: clients that speak in real time, in a separate process.

Every client sends its recording over WebSocket in messages of 100 ms. A message is due when its last sample has been
spoken. Latencies are measured from this moment, not from the moment at which the socket accepted the message, so a
server that reads slowly has no advantage.
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
    """
    urls:       addresses of ``/v1/stream``, assigned to the clients in turn
    programs:   16-bit samples, assigned to the clients in turn
    stagger_s:  the clients start at random times within it
    patience_s: timeout for the end of a stream after its audio
    cores:      CPU cores of the generator; () = all
    """

    urls: tuple[str, ...]
    programs: tuple[bytes, ...]
    rate: int
    streams: int
    stagger_s: float
    patience_s: float = 5.0
    cores: tuple[int, ...] = ()


@dataclass
class Played:
    """The record of one client. Times are those of ``time.monotonic``.

    start:    when its first sample was spoken
    late_s:   delay of each message, from when it was due until the socket had accepted it
    arrivals: time of each event
    error:    why the stream ended early; '' = it did not
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
        """When a message (from 0) is due. ``FINISH`` is sent after the last."""
        return self.start + (message + 1) * MESSAGE_S


def pieces(audio: bytes, rate: int) -> list[bytes]:
    """Cut a recording into messages."""
    size = SAMPLE_BYTES * round(MESSAGE_S * rate)
    return [audio[begin : begin + size] for begin in range(0, len(audio), size)]


async def play(
    url: str, audio: bytes, rate: int, number: int = 0, start: float | None = None, patience_s: float = 5.0
) -> Played:
    """Send a recording in real time and receive events to the end of the stream. start: None = now."""
    played = Played(number, time.monotonic() if start is None else start)
    messages = pieces(audio, rate)
    try:
        await asyncio.sleep(played.start - time.monotonic())
        async with (
            asyncio.timeout_at(_loop_time(played.due(len(messages)) + patience_s)),
            connect(f"{url}?rate={rate}") as socket,
        ):

            async def receive() -> None:
                async for message in socket:
                    played.arrivals.append(time.monotonic())
                    played.messages.append(message)

            receiving = asyncio.create_task(receive())
            receiving.add_done_callback(lambda task: task.cancelled() or task.exception())  # sending fails too
            for message, content in enumerate(messages):
                await asyncio.sleep(played.due(message) - time.monotonic())
                await socket.send(content)
                played.late_s.append(time.monotonic() - played.due(message))
            await socket.send(FINISH)
            await receiving
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
    """cpu_s: CPU time of the generator"""

    played: list[Played]
    cpu_s: float


def generate(load: Load, meanwhile: Callable[[], object] = lambda: None) -> Generated:
    """Run a load in a separate process; ``meanwhile`` is called about twice a second."""
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
    """Main function of the process: a load from stdin, the records of its clients to stdout."""
    load: Load = pickle.loads(sys.stdin.buffer.read())
    if load.cores:
        os.sched_setaffinity(0, load.cores)
    played = asyncio.run(play_all(load))
    sys.stdout.buffer.write(pickle.dumps(Generated(played, time.process_time())))


# Events


@dataclass(frozen=True)
class Expected:
    """An event of a stream without a server, and the number of the message after which it occurs."""

    message: int
    event: Event


@dataclass(frozen=True)
class Heard:
    """An event that a client received.

    latency_s: since the message that it needed was due
    behind_s:  since the last sample that it describes was spoken
    at:        time of its arrival
    """

    event: Event
    latency_s: float
    behind_s: float
    at: float


def told(event: Event) -> tuple[Any, ...]:
    """The values that must be equal on every run: all but confidences, which depend on the order of float32 sums."""
    words = [(word["word"], word["start"], word["end"]) for word in event.get("words", ())]
    return event.get("type"), event.get("utterance"), event.get("start"), event.get("end"), event.get("text"), words


def compare(played: Played, expected: Sequence[Expected]) -> tuple[list[Heard], int]:
    """Compare the events of a client with those of a stream without a server.

    Returns the events that agree, and the number of wrong ones: different, or missing. A busy server may skip partial
    results, but not final ones.
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
    """Counts of words of partial results that changed later, added up over streams.

    shown:    words of all partial results
    changed:  words that differ from the final result at their position
    revised:  words that differ from the next result of the utterance at their position
    final:    words of the final results
    unstable: partial results whose stable part is not a prefix of the final result
    """

    shown: int = 0
    changed: int = 0
    revised: int = 0
    final: int = 0
    unstable: int = 0

    def add(self, events: Sequence[Event]) -> None:
        """Add the events of a stream, in order; utterances without a final result are skipped."""
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
