"""Worker processes for live streams, so that their searches run on all cores.

A worker hosts a share of the streams (``streams.LocalHost``). A stream stays in one worker from its start to its end.
The server process passes audio to the workers and events back, as pickled messages with their length in front, over a
pair of sockets. It waits for the answer to a request of a stream before it sends the next one, so there is at most one
message of each stream on its way.

On Linux the workers are forked from the server as soon as it has opened the models: they share its memory until they
write to it. This needs a process without other threads, whose locks a fork would copy. Elsewhere, and in place of a
worker that died, a new process opens the models itself.

A worker ends when the server closes the sockets or dies. A worker that dies on its own is replaced; its streams end
with a ``WorkerError`` that tells their clients.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import multiprocessing
import pickle
import signal
import socket
import sys
import threading
import traceback
import weakref
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import numpy as np

from recitative.asr.stream import EndpointRules
from recitative.errors import RecitativeError, RunError
from recitative.serve.metrics import Metrics
from recitative.serve.models import DEFAULT_OPTIONS, ServedModel, StreamOptions
from recitative.serve.streams import Events, LocalHost

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
    gc.collect()
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

    async with LocalHost(models, rules, lambda *took: _send(writer, (REPORT, took))).running() as host:
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
