"""Live streams, stepped together.

A ``LiveStream`` belongs to one client. A host does its work: ``LocalHost`` in this process, ``workers.Worker`` in
another one. Both give the same events.

In a host, all streams of a model share one thread. A round takes the piece of audio that each stream has waiting, runs
the network once for all of them, and then each stream's search. A stream has at most one piece waiting: its next piece
is accepted when the events of the last one are there, so a client that sends faster than the machine computes is
slowed down by its own connection. A piece is at most ``PIECE_S`` long, so that a client that sends a minute at once
takes turns with the others. The events of a stream do not depend on the rounds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from itertools import count
from typing import Any, Protocol

from recitative.asr.stream import EndpointRules
from recitative.errors import UsageError
from recitative.model.stream import NetworkStream, Work, run_together
from recitative.serve.metrics import Metrics
from recitative.serve.models import DEFAULT_OPTIONS, ServedModel, StreamOptions

PIECE_S = 1.0
GATHER_S = 0.005  # a round waits this long for more streams: short compared with a step, long enough for packets
SAMPLE_BYTES = 2  # 16-bit

Events = list[Any]  # Partial and Final, Spotted, Label, or Alarm: all have ``to_dict``
Report = Callable[[float, float, int], object]  # seconds of audio, seconds of computing, number of streams of a round

_numbers = count(1)


class StreamHost(Protocol):
    """Does the work of live streams. streams: the numbers of those that are live."""

    streams: set[int]

    async def open(self, number: int, model: str, options: StreamOptions) -> None:
        """Begin a stream anew. Raises UsageError, DataError for what the model cannot do."""

    async def accept(self, number: int, audio: bytes, rate: int) -> Events:
        """The events of the next 16-bit samples, at most ``PIECE_S``."""

    async def finish(self, number: int) -> Events:
        """The last events; the stream is new then."""

    def close(self, number: int) -> None:
        """Drop a stream."""


class LocalHost:
    """Hosts streams in this process."""

    def __init__(self, models: Iterable[ServedModel], rules: EndpointRules, report: Report) -> None:
        self.streams: set[int] = set()
        self._models = {model.name: model for model in models if model.streams}
        self._rounds = {name: _Rounds(report) for name in self._models}
        self._rules = rules
        self._opened: dict[int, tuple[_Rounds, NetworkStream[Any]]] = {}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[LocalHost]:
        tasks = [asyncio.create_task(rounds.run()) for rounds in self._rounds.values()]
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            for rounds in self._rounds.values():
                rounds.close()

    async def open(self, number: int, model: str, options: StreamOptions) -> None:
        stream = await asyncio.to_thread(self._models[model].stream, options, self._rules)
        self._opened[number] = self._rounds[model], stream

    async def accept(self, number: int, audio: bytes, rate: int) -> Events:
        rounds, stream = self._opened[number]
        return await rounds.step(_Piece(stream, audio, rate))

    async def finish(self, number: int) -> Events:
        rounds, stream = self._opened[number]
        return await rounds.step(_Piece(stream, None, 0))

    def close(self, number: int) -> None:
        self._opened.pop(number, None)


class _Rounds:
    """Steps all streams of a model in one thread of its own."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._waiting: list[_Piece] = []
        self._wake = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="recitative-streams")

    async def run(self) -> None:
        """Run rounds until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._wake.wait()
            await asyncio.sleep(GATHER_S)
            pieces, self._waiting = self._waiting, []
            self._wake.clear()
            if pieces:
                work_s = await loop.run_in_executor(self._thread, _step, pieces)
                self._report(sum(piece.duration_s for piece in pieces), work_s, len(pieces))
                for piece in pieces:
                    piece.resolve()

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def step(self, piece: _Piece) -> Events:
        self._waiting.append(piece)
        self._wake.set()
        return await piece.done


def _step(pieces: Sequence[_Piece]) -> float:
    """Run the work of all pieces, with shared calls of the network. Returns the seconds that it took."""
    started = time.monotonic()
    try:
        run_together(pieces[0].stream.network, [piece.work() for piece in pieces])
    except Exception as error:  # an error of the network, which all of them needed
        for piece in pieces:
            piece.error = piece.error or (error if piece.events is None else None)
    return time.monotonic() - started


class _Piece:
    """Work that a stream waits for. audio: 16-bit little-endian samples; None: the stream ends."""

    def __init__(self, stream: NetworkStream[Any], audio: bytes | None, rate: int) -> None:
        self.stream, self.audio, self.rate = stream, audio, rate
        self.done: asyncio.Future[Events] = asyncio.get_running_loop().create_future()
        self.events: Events | None = None
        self.error: Exception | None = None

    @property
    def duration_s(self) -> float:
        return len(self.audio) / SAMPLE_BYTES / self.rate if self.audio else 0.0

    def work(self) -> Work[None]:
        """An error of one stream is kept for its own client; the other streams go on."""
        try:
            if self.audio is None:
                self.events = yield from self.stream.finishing()
            else:
                self.events = yield from self.stream.accepting(self.audio, self.rate)
        except Exception as error:
            self.error = error

    def resolve(self) -> None:
        """In the event loop: hand over the events or the error, unless the waiting task was cancelled."""
        if self.done.done():
            return
        if self.error:
            self.done.set_exception(self.error)
        else:
            self.done.set_result(self.events or [])


def checked_rate(value: object) -> int:
    """A sample rate as clients give it, in Hz. Raises UsageError for what is none."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 4000 <= value <= 192000:
        raise UsageError(f"sample rate {value!r}: must be a whole number from 4000 to 192000 Hz")
    return value


class LiveStream:
    """A client's stream. rate: of its samples, in Hz. The rate and ``options`` may be set until the first samples."""

    def __init__(self, host: StreamHost, model: ServedModel, metrics: Metrics) -> None:
        self.model, self.rate, self.options = model, 16000, DEFAULT_OPTIONS
        self._host, self._metrics = host, metrics
        self._number = next(_numbers)
        self._is_open = False
        self._num_bytes = 0  # accepted since the stream began
        self._rest = b""  # half a sample at the end of a message
        host.streams.add(self._number)

    @property
    def duration_s(self) -> float:
        return self._num_bytes / SAMPLE_BYTES / self.rate

    @property
    def has_begun(self) -> bool:
        return self._num_bytes > 0

    async def set_options(self, options: StreamOptions) -> None:
        """Choose the events. Raises UsageError, DataError for what the model cannot do."""
        if not self._is_open or options != self.options:
            await self._host.open(self._number, self.model.name, options)
            self._is_open = True
        self.options = options

    async def accept(self, audio: bytes) -> Events:
        """The events of the next 16-bit little-endian samples; a message may end within a sample."""
        await self.set_options(self.options)
        audio = self._rest + audio
        whole = len(audio) // SAMPLE_BYTES * SAMPLE_BYTES
        self._rest = audio[whole:]
        self._num_bytes += whole
        size = SAMPLE_BYTES * max(1, int(PIECE_S * self.rate))
        events: Events = []
        for start in range(0, whole, size):
            started = time.monotonic()
            events += await self._host.accept(self._number, audio[start : min(start + size, whole)], self.rate)
            self._metrics.lag.observe(time.monotonic() - started)
        return events

    async def finish(self) -> Events:
        """The last events; the stream is new then."""
        await self.set_options(self.options)
        self._rest, self._num_bytes = b"", 0
        started = time.monotonic()
        events = await self._host.finish(self._number)
        self._metrics.lag.observe(time.monotonic() - started)
        return events

    def close(self) -> None:
        """The client is gone."""
        self._host.streams.discard(self._number)
        self._host.close(self._number)
