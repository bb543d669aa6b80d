"""Live streams, stepped together, in this process or in workers, so that their searches run on all cores.

A ``LiveStream`` belongs to one client. A host does its work: ``LocalHost`` in this process, ``Worker`` in another one.
Both give the same events.

In a host, all streams of a model share one thread. A round takes the piece of audio that each stream has waiting, runs
the network once for all of them, and then each stream's search. A stream has at most one piece waiting: its next piece
is accepted when the events of the last one are there, so a client that sends faster than the machine computes is
slowed down by its own connection. A piece is at most ``PIECE_S`` long, so that a client that sends a minute at once
takes turns with the others. The events of a stream do not depend on the rounds.

A worker hosts a share of the streams. A stream stays in one worker from its start to its end. The server process passes
audio to the workers and events back, as pickled messages with their length in front, over a pair of sockets. It waits
for the answer to a request of a stream before it sends the next one, so there is at most one message of each stream on
its way.

On Linux the workers are forked from the server as soon as it has opened the models: they share its memory until they
write to it. This needs a process without other threads, whose locks a fork would copy. Elsewhere, and in place of a
worker that died, a new process opens the models itself.

A worker ends when the server closes the sockets or dies. A worker that dies on its own is replaced; its streams end
with a ``WorkerError`` that tells their clients.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import multiprocessing
import pickle
import signal
import socket
import sys
import threading
import time
import traceback
import weakref
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from functools import partial
from itertools import count
from typing import Any, Protocol

import numpy as np

from recitative.asr.stream import EndpointRules
from recitative.errors import RecitativeError, RunError, UsageError
from recitative.model.stream import NetworkStream, Work, run_together
from recitative.serve.access import Metrics
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
        while True:
            await self._wake.wait()
            await asyncio.sleep(GATHER_S)
            await self._round()  # its streams must not live on in a variable here

    async def _round(self) -> None:
        pieces, self._waiting = self._waiting, []
        self._wake.clear()
        if pieces:
            work_s = await asyncio.get_running_loop().run_in_executor(self._thread, _step, pieces)
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


READY, REPORT = 0, -1  # in place of a stream's number: the models are open; what a round took
RESTART_S = 1.0  # until a worker that died is replaced
WARM_UP_S = 2  # of silence

OpenModels = Callable[[], Iterable[ServedModel]]  # pickled for the workers

_SPAWN = multiprocessing.get_context("spawn")
log = logging.getLogger("uvicorn.error")


class WorkerError(RunError):
    """The worker process of a stream has ended."""


class Workers:
    """The workers of a server: ``async with Workers(...).running()``."""

    def __init__(
        self, count: int, models: Sequence[ServedModel], open_models: OpenModels, rules: EndpointRules, metrics: Metrics
    ) -> None:
        """models: those of the server; open_models: opens the same ones in another process"""
        self._arguments, self._metrics = (open_models, rules), metrics
        self._started = (
            _forked(count, models, rules) if _can_fork() else [_spawned(open_models, rules) for _ in range(count)]
        )
        self.workers: list[Worker] = []
        weakref.finalize(self, _kill, self._started)  # if the server never runs: SIGTERM does not end them

    @property
    def num_ready(self) -> int:
        return sum(worker.is_ready for worker in self.workers)

    def choose(self) -> Worker:
        """The worker with the fewest streams, if possible one that has opened its models."""
        return min(self.workers, key=lambda worker: (not worker.is_ready, len(worker.streams)))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Workers]:
        tasks: list[asyncio.Task[None]] = []
        try:
            for number, started in enumerate(self._started):
                self.workers.append(await Worker.of(*started, self._metrics))
                tasks.append(asyncio.create_task(self._keep(number)))
            for worker in list(self.workers):
                await worker.started.wait()
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for worker in self.workers:
                worker.kill()

    async def _keep(self, number: int) -> None:
        """Replace a worker whenever it dies."""
        while True:
            worker = self.workers[number]
            await worker.run()
            log.error("%s; it had %d live streams and is replaced", worker.how_it_ended, len(worker.streams))
            self._metrics.worker_deaths.inc()
            await asyncio.sleep(RESTART_S)
            self.workers[number] = await Worker.of(*_spawned(*self._arguments), self._metrics)


class Worker:
    """A worker process, seen from the server: a ``StreamHost``. Made by ``of``."""

    def __init__(
        self, process: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, metrics: Metrics
    ) -> None:
        self.streams: set[int] = set()
        self.started = asyncio.Event()  # it is ready, or has ended
        self.is_ready = False
        self.how_it_ended = ""
        self._process, self._reader, self._writer, self._metrics = process, reader, writer, metrics
        self._answers: dict[int, asyncio.Future[Any]] = {}

    @classmethod
    async def of(cls, process: Any, connection: socket.socket, metrics: Metrics) -> Worker:
        """connection: to the process. It can be asked at once, and answers when it has the models."""
        return cls(process, *await asyncio.open_connection(sock=connection), metrics)

    @property
    def pid(self) -> int:
        return int(self._process.pid)

    async def run(self) -> None:
        """Take the answers until the process ends."""
        try:
            while True:
                self._take(*await _receive(self._reader))
        except (asyncio.IncompleteReadError, OSError):
            pass  # it has ended
        except Exception:
            log.exception("a message from a worker process cannot be read")
        self.is_ready = False
        self.kill()
        code = self._process.exitcode or 0
        how = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        self.how_it_ended = f"a worker process of the server ended ({how})"
        self.started.set()
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(self._error())

    def _take(self, number: int, result: Any) -> None:
        if number == READY:
            self.is_ready = True
            self.started.set()
        elif number == REPORT:
            self._metrics.count_audio(*result)
        elif (answer := self._answers.get(number)) and not answer.done():
            if isinstance(result, Exception):
                answer.set_exception(result)
            else:
                answer.set_result(result)

    def kill(self) -> None:
        self._writer.close()
        self._process.join(0.1)  # it may have ended: then this is how
        self._process.kill()
        self._process.join()

    async def open(self, number: int, model: str, options: StreamOptions) -> None:
        await self._ask(number, "open", model, options)

    async def accept(self, number: int, audio: bytes, rate: int) -> Events:
        events: Events = await self._ask(number, "accept", audio, rate)
        return events

    async def finish(self, number: int) -> Events:
        events: Events = await self._ask(number, "finish")
        return events

    def close(self, number: int) -> None:
        if not self.how_it_ended:
            _send(self._writer, (number, "close", ()))

    async def _ask(self, number: int, method: str, *arguments: Any) -> Any:
        if self.how_it_ended:
            raise self._error()
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        try:
            _send(self._writer, (number, method, arguments))
            return await answer
        finally:
            self._answers.pop(number, None)

    def _error(self) -> WorkerError:
        return WorkerError(f"{self.how_it_ended}, and the stream with it; connect again")


def _send(writer: asyncio.StreamWriter, message: Any) -> None:
    content = pickle.dumps(message)
    writer.write(len(content).to_bytes(4, "big") + content)


async def _receive(reader: asyncio.StreamReader) -> Any:
    """Raises IncompleteReadError, OSError at the end of the connection."""
    size = int.from_bytes(await reader.readexactly(4), "big")
    return pickle.loads(await reader.readexactly(size))


# Processes, each with the server's end of its connection

_Started = tuple[Any, socket.socket]


def _can_fork() -> bool:
    # PyTorch has threads that Python does not count.
    return sys.platform == "linux" and threading.active_count() == 1 and "torch" not in sys.modules


def _forked(count: int, models: Sequence[ServedModel], rules: EndpointRules) -> list[_Started]:
    for model in models:
        if model.streams:  # what it loads with its first stream is shared, too
            stream = model.stream(DEFAULT_OPTIONS, rules)
            stream.accept(np.zeros(WARM_UP_S * 16000, np.int16), 16000)
            stream.finish()
    release_memory()  # each worker would write to the free pages, which would then be its own
    gc.freeze()  # the collector would write to all objects
    context, pairs = multiprocessing.get_context("fork"), [socket.socketpair() for _ in range(count)]
    started = []
    for ours, theirs in pairs:
        others = [end for pair in pairs for end in pair if end is not theirs]
        process = context.Process(target=_work, args=(theirs, partial(list, models), rules, others), daemon=True)
        process.start()
        started.append((process, ours))
    for _, theirs in pairs:
        theirs.close()
    return started


def _spawned(open_models: OpenModels, rules: EndpointRules) -> _Started:
    ours, theirs = socket.socketpair()
    with theirs:
        process = _SPAWN.Process(target=_work, args=(theirs, open_models, rules), daemon=True)
        process.start()
    return process, ours


def _kill(started: Sequence[_Started]) -> None:
    for process, _ in started:
        process.kill()


def _work(
    connection: socket.socket, open_models: OpenModels, rules: EndpointRules, others: Sequence[socket.socket] = ()
) -> None:
    """The main function of a worker. others: what it has of other connections, which would not end otherwise"""
    for other in others:
        other.close()
    for number in (signal.SIGINT, signal.SIGTERM):  # Ctrl-C and systemd signal all processes; the server drains first
        signal.signal(number, signal.SIG_IGN)
    asyncio.run(_serve(connection, open_models(), rules))


async def _serve(connection: socket.socket, models: Iterable[ServedModel], rules: EndpointRules) -> None:
    reader, writer = await asyncio.open_connection(sock=connection)
    tasks: set[asyncio.Task[None]] = set()

    async def answer(host: LocalHost, number: int, method: str, arguments: tuple[Any, ...]) -> None:
        try:
            _send(writer, (number, await getattr(host, method)(number, *arguments)))
        except RecitativeError as error:
            _send(writer, (number, error))
        except Exception:  # a bug, which the server logs
            _send(writer, (number, RuntimeError(traceback.format_exc())))

    async with LocalHost(models, rules, lambda *took: _send(writer, (REPORT, took))).running() as host, releasing():
        _send(writer, (READY, None))
        with suppress(asyncio.IncompleteReadError, OSError):
            while True:
                number, method, arguments = await _receive(reader)
                if method == "close":
                    host.close(number)
                    continue
                task = asyncio.create_task(answer(host, number, method, arguments))
                tasks.add(task)
                task.add_done_callback(tasks.discard)


# Memory of a process

RELEASE_S = 30.0  # between releases of free memory

_trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None  # glibc only


def release_memory() -> None:
    """Return the free memory of this process to the system.

    Python keeps lists of freed objects, and the allocator what is free between blocks in use. Each of its heaps (one
    for every few threads) would stay as large as the largest uploads and rounds that ever came together, and in a
    forked process every page that is used again becomes a copy.
    """
    gc.collect()
    if _trim:
        _trim(0)


@asynccontextmanager
async def releasing() -> AsyncIterator[None]:
    """Release memory every ``RELEASE_S``, except for the objects that there are at the start: searching them takes
    long."""
    release_memory()
    gc.freeze()

    async def repeat() -> None:
        while True:
            await asyncio.sleep(RELEASE_S)
            await asyncio.to_thread(release_memory)

    task = asyncio.create_task(repeat())
    try:
        yield
    finally:
        task.cancel()
        gc.unfreeze()
