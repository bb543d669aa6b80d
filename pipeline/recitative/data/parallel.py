"""Parallel work: a function mapped over pieces, in order, by processes of this machine or by a Ray cluster.

    for result in parallel_map(work, pieces, Engine(jobs=8)): ...

A worker may die, for example for lack of memory, and its piece is then done again. So what ``work`` writes must be
atomic (``atomic``), and doing it twice must give the same result.
"""

from __future__ import annotations

import atexit
import multiprocessing
import pickle
import signal
import sys
import textwrap
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import islice
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from queue import SimpleQueue
from threading import Thread
from typing import Any, Generic, Literal, Protocol, TypeVar

from recitative.errors import RecitativeError, RunError

P = TypeVar("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

TRIES = 2  # of a piece whose worker dies
AHEAD = 3  # pieces per worker that wait, are being done, or are done and not yet consumed
STOP_S = 5.0  # for a process to clean up when its result is no longer needed

_SPAWN = multiprocessing.get_context("spawn")  # forking a caller that has threads, such as a progress bar's, can hang


@dataclass(frozen=True)
class Engine:
    """Where the work is done.

    kind:    "local": processes of this machine; "ray": a running Ray cluster
    jobs:    pieces done at once; 1: in this process. 0, for a cluster: as many as it has cores
    address: of the cluster; empty: RAY_ADDRESS, or the cluster that this machine belongs to
    """

    kind: Literal["local", "ray"] = "local"
    jobs: int = 1
    address: str = ""


def parallel_map(
    work: Callable[[P], R],
    pieces: Iterable[P],
    engine: Engine,
    *,
    name: Callable[[P], str] = str,
    advance: Callable[[int], None] = lambda done: None,
    failed: Callable[[P, Exception], R] | None = None,
) -> Iterator[R]:
    """``work(piece)`` of each piece, in the order of ``pieces``, which are consumed as needed.

    work:    is pickled, and unpickled once in each process, so it may keep state such as an open model
    name:    how errors call a piece
    advance: is called before each result with the number of results so far
    failed:  makes the result of a piece whose work raised an error or whose worker died twice; None: it is raised

    An error of ``work`` is raised here, after the results of the pieces before. A piece whose worker dies is done
    again; if that worker dies too, RunError names the piece. RunError if there is no cluster.
    """
    if engine.kind == "local" and engine.jobs == 1:
        results: Iterator[R] = (_result(partial(work, piece), piece, failed) for piece in pieces)
    elif engine.kind == "local":
        results = _in_order(_processes(work, name, engine.jobs), pieces, failed)
    else:
        from recitative.data.cluster import ray_tasks  # the package ray is optional

        results = _in_order(ray_tasks(work, name, engine.jobs, engine.address), pieces, failed)
    for done, result in enumerate(results, start=1):
        advance(done)
        yield result


def _result(take: Callable[[], R], piece: P, failed: Callable[[P, Exception], R] | None) -> R:
    try:
        return take()
    except Exception as error:
        if failed is None:
            raise
        return failed(piece, error)


def _in_order(
    workers: AbstractContextManager[Workers[P, R]],
    pieces: Iterable[P],
    failed: Callable[[P, Exception], R] | None,
) -> Iterator[R]:
    with workers as opened:
        waiting = iter(pieces)
        tasks = deque((piece, opened.submit(piece)) for piece in islice(waiting, opened.in_flight))
        try:
            while tasks:
                piece, task = tasks.popleft()
                result = _result(task.result, piece, failed)
                for more in islice(waiting, 1):  # before the caller takes its time
                    tasks.append((more, opened.submit(more)))
                yield result
        finally:
            for _, task in tasks:
                task.cancel()


class SubmittedPiece(Protocol[R_co]):
    """A submitted piece."""

    def result(self) -> R_co:
        """Wait for the result. Raises what the work raised, or RunError if its worker died twice."""
        ...

    def cancel(self) -> object:
        """The result is no longer needed."""
        ...


@dataclass(frozen=True)
class Workers(Generic[P, R]):
    submit: Callable[[P], SubmittedPiece[R]]
    in_flight: int  # pieces that may be submitted and not yet consumed


@contextmanager
def _processes(work: Callable[[P], R], name: Callable[[P], str], jobs: int) -> Iterator[Workers[P, R]]:
    """One thread per process hands it one piece at a time: a process that dies takes only its own piece with it.

    (A ProcessPoolExecutor loses the pieces of all its processes, does not say which of them failed, and its processes
    outlive a parent that is killed.)
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
        Thread(target=_feed, args=(todo, worker, name), daemon=True).start()
    atexit.register(stop)  # for a caller that ends with an error and still holds the results
    try:
        yield Workers(submit, AHEAD * jobs)
    finally:
        atexit.unregister(stop)
        stop()


def _feed(todo: SimpleQueue[tuple[P, Future[R]] | None], worker: _Process[P, R], name: Callable[[P], str]) -> None:
    resource_tracker.ensure_running()  # starting it unblocks the signal again
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # Ctrl-C is for the parent; its processes inherit this
    while (item := todo.get()) is not None:
        piece, future = item
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(_do(worker, piece, name))
            except BaseException as error:  # raised where the result is awaited
                future.set_exception(error)


def _do(worker: _Process[P, R], piece: P, name: Callable[[P], str]) -> R:
    for _ in range(TRIES):
        with suppress(_DiedError):
            return worker.do(piece)
    raise worker_died(name(piece), worker.end)


class _DiedError(Exception):
    pass


class _Process(Generic[P, R]):
    """A spawned process with a pipe that closes when either side dies. It is started when there is work."""

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
        result: R = unpickle_result(content)
        return result

    def terminate(self) -> None:
        """Stop for good; the ``finally`` blocks of its work are run."""
        self._stopped = True
        if running := self._running:
            running.terminate()

    def join(self) -> None:
        """Wait, after ``terminate``."""
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
            connection.send_bytes(pickled_result(partial(_compute, work, connection.recv_bytes())))


def _compute(work: bytes, piece: bytes) -> Any:
    return load_work(work)(pickle.loads(piece))


# What both engines use: pickled work and results, and the error of a piece whose workers died.


@lru_cache(maxsize=1)
def load_work(content: bytes) -> Callable[[Any], Any]:
    """In the worker: the unpickled work, the same object for every piece."""
    work: Callable[[Any], Any] = pickle.loads(content)
    return work


def pickled_result(compute: Callable[[], object]) -> bytes:
    """In the worker: (result, None) or (None, error), pickled."""
    try:
        return pickle.dumps((compute(), None))
    except RecitativeError as error:
        return pickle.dumps((None, error))
    except Exception as error:  # a bug: tracebacks are not pickled, so it is added as a note
        error.add_note(f"in a worker:\n{traceback.format_exc()}")
        try:
            content = pickle.dumps((None, error))
            pickle.loads(content)
        except Exception:  # errors of other libraries cannot always be pickled
            stand_in = RuntimeError(f"{type(error).__name__}: {error}")
            stand_in.add_note(error.__notes__[-1])
            return pickle.dumps((None, stand_in))
        return content


def unpickle_result(content: bytes) -> Any:
    """In the caller: the result; raises its error."""
    result, error = pickle.loads(content)
    if error is not None:
        raise error
    return result


def worker_died(name: str, how: str) -> RunError:
    """The error for a piece whose every worker died."""
    short = textwrap.shorten(name, 80, placeholder=" ...")
    return RunError(f"{short}: its worker died {TRIES} times ({how}), perhaps for lack of memory; use fewer --jobs")
