"""Pieces of bulk work in processes of this machine."""

from __future__ import annotations

import atexit
import multiprocessing
import pickle
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from queue import SimpleQueue
from threading import Thread
from typing import Any, Generic, TypeVar

from recitative.bulk.tasks import AHEAD, TRIES, Workers, answer, death, load_work, open_answer

P = TypeVar("P")
R = TypeVar("R")

STOP_S = 5.0  # for a process to clean up once nobody wants its piece any more

_SPAWN = multiprocessing.get_context("spawn")  # forking a caller that has threads, such as a progress bar's, can hang


@contextmanager
def processes(work: Callable[[P], R], name: Callable[[P], str], jobs: int) -> Iterator[Workers[P, R]]:
    """A thread for each process hands it one piece at a time: if it dies it takes that one with it and no other.

    (A ProcessPoolExecutor loses the pieces of all its processes, doesn't say which of them was at fault, and its
    processes outlive a parent that is killed.)
    """
    todo: SimpleQueue[tuple[P, Future[R]] | None] = SimpleQueue()
    content = pickle.dumps(work)
    workers: list[_Process[P, R]] = [_Process(content) for _ in range(jobs)]

    def submit(piece: P) -> Future[R]:
        future: Future[R] = Future()
        todo.put((piece, future))
        return future

    def stop() -> None:
        for worker in workers:
            todo.put(None)
            worker.terminate()
        for worker in workers:
            worker.join()

    for worker in workers:
        Thread(target=_hand_out, args=(todo, worker, name), daemon=True).start()
    atexit.register(stop)  # for a caller that ends with an error and still holds the results
    try:
        yield Workers(submit, AHEAD * jobs)
    finally:
        atexit.unregister(stop)
        stop()


def _hand_out(todo: SimpleQueue[tuple[P, Future[R]] | None], worker: _Process[P, R], name: Callable[[P], str]) -> None:
    resource_tracker.ensure_running()  # starting it lets the signal through again
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # Ctrl-C is the parent's; its processes inherit this
    while (item := todo.get()) is not None:
        piece, future = item
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(_do(worker, piece, name))
            except BaseException as error:  # for whoever waits for the result
                future.set_exception(error)


def _do(worker: _Process[P, R], piece: P, name: Callable[[P], str]) -> R:
    for _ in range(TRIES):
        with suppress(_DiedError):
            return worker.do(piece)
    raise death(name(piece), worker.end)


class _DiedError(Exception):
    pass


class _Process(Generic[P, R]):
    """A spawned process and a pipe to it, which ends when either side dies. It starts when there is work."""

    def __init__(self, work: bytes) -> None:
        self.end = "stopped"  # how it died
        self._work = work  # pickled
        self._running: multiprocessing.context.SpawnProcess | None = None
        self._stopped = False

    def do(self, piece: P) -> R:
        """Raises what the work raises; _DiedError if the process dies, and the next piece starts another."""
        if self._running is None:
            self._start()
        try:
            self._connection.send_bytes(pickle.dumps(piece))
            content = self._connection.recv_bytes()
        except (EOFError, ConnectionError):
            self._bury()
            raise _DiedError from None
        result: R = open_answer(content)
        return result

    def terminate(self) -> None:
        """For good; what it does is stopped, and its ``finally`` blocks run."""
        self._stopped = True
        if running := self._running:
            running.terminate()

    def join(self) -> None:
        """After ``terminate``."""
        if running := self._running:
            running.join(STOP_S)
            running.kill()
            running.join()

    def _start(self) -> None:
        if self._stopped:
            raise _DiedError
        self._connection, theirs = _SPAWN.Pipe()
        running = _SPAWN.Process(target=_serve, args=(theirs, self._work), daemon=True)
        running.start()
        theirs.close()
        self._running = running

    def _bury(self) -> None:
        assert self._running is not None
        self._running.join(STOP_S)
        code = self._running.exitcode or 0
        self.end = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        self._connection.close()
        self._running = None


def _serve(connection: Connection, work: bytes) -> None:
    signal.signal(signal.SIGTERM, lambda signum, frame: sys.exit(1))  # so that half-written files are removed
    with suppress(EOFError, ConnectionError):  # the parent is gone
        while True:
            connection.send_bytes(answer(partial(_compute, work, connection.recv_bytes())))


def _compute(work: bytes, piece: bytes) -> Any:
    return load_work(work)(pickle.loads(piece))
