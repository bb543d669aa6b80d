"""Parallel work: a function mapped over pieces, in order, by processes of this machine or by a Ray cluster.

    for result in parallel_map(work, pieces, Engine(jobs=8)): ...

A worker may die, for example for lack of memory, and its piece is then done again. So what ``work`` writes must be
atomic (``atomic``), and doing it twice must give the same result.
"""

from __future__ import annotations

import atexit
import logging
import multiprocessing
import os
import pickle
import platform
import signal
import socket
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
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import urlsplit

from recitative.errors import DataError, RecitativeError, RunError

P = TypeVar("P")
R = TypeVar("R")

TRIES = 2  # of a piece whose worker dies
AHEAD = 3  # pieces per worker that wait, are being done, or are done and not yet consumed
STOP_S = 5.0  # for a process to clean up when its result is no longer needed

_SPAWN = multiprocessing.get_context("spawn")  # forking a caller that has threads, such as a progress bar's, can hang


@dataclass(frozen=True)
class Engine:
    """Processes of this machine, or a cluster.

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
        results = _in_order(_ray_tasks(work, name, engine.jobs, engine.address), pieces, failed)
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


@dataclass(frozen=True)
class Workers(Generic[P, R]):
    submit: Callable[[P], Future[R] | _Task[R]]  # their results raise what the work raised, or RunError
    in_flight: int  # pieces that may be submitted and not yet consumed


@contextmanager
def _processes(work: Callable[[P], R], name: Callable[[P], str], jobs: int) -> Iterator[Workers[P, R]]:
    """One thread per process hands it one piece at a time: a process that dies takes only its own piece with it.

    (A ProcessPoolExecutor loses the pieces of all its processes, does not say which of them failed, and its processes
    outlive a parent that is killed.)
    """
    todo: SimpleQueue[tuple[P, Future[R]] | None] = SimpleQueue()
    content = pickle.dumps(work)
    workers: list[_Process[P, R]] = [_Process(content, name) for _ in range(jobs)]

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
        Thread(target=_feed, args=(todo, worker), daemon=True).start()
    atexit.register(stop)  # for a caller that ends with an error and still holds the results
    try:
        yield Workers(submit, AHEAD * jobs)
    finally:
        atexit.unregister(stop)
        stop()


def _feed(todo: SimpleQueue[tuple[P, Future[R]] | None], worker: _Process[P, R]) -> None:
    resource_tracker.ensure_running()  # starting it unblocks the signal again
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # Ctrl-C is for the parent; its processes inherit this
    while (item := todo.get()) is not None:
        piece, future = item
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(worker.do(piece))
            except BaseException as error:  # raised where the result is awaited
                future.set_exception(error)


class _Process(Generic[P, R]):
    """A spawned process with a pipe that closes when either side dies. It is started when there is work."""

    def __init__(self, work: bytes, name: Callable[[P], str]) -> None:
        """work: pickled; name: of a piece, for errors."""
        self._work, self._name = work, name
        self._end = "stopped"  # how it died
        self._running: multiprocessing.context.SpawnProcess | None = None
        self._stopped = False

    def do(self, piece: P) -> R:
        """Raises what the work raises; RunError if the process dies TRIES times, and the next piece starts another."""
        for _ in range(TRIES):
            if self._running is None and not self._stopped:
                self._start()
            if self._running is None:
                break
            try:
                self._connection.send_bytes(pickle.dumps(piece))
                content = self._connection.recv_bytes()
            except (EOFError, ConnectionError):
                self._bury(self._running)
            else:
                result: R = _unpickle_result(content)
                return result
        raise _worker_died(self._name(piece), self._end)

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
        self._connection, theirs = _SPAWN.Pipe()
        running = _SPAWN.Process(target=_serve, args=(theirs, self._work), daemon=True)
        running.start()
        theirs.close()
        self._running = running

    def _bury(self, dead: multiprocessing.context.SpawnProcess) -> None:
        dead.join(STOP_S)
        code = dead.exitcode or 0
        self._end = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        self._connection.close()
        self._running = None


def _serve(connection: Connection, work: bytes) -> None:
    signal.signal(signal.SIGTERM, lambda signum, frame: sys.exit(1))  # so that half-written files are removed
    with suppress(EOFError, ConnectionError):  # the parent is gone
        while True:
            connection.send_bytes(_pickled_result(partial(_do_pickled, work, connection.recv_bytes())))


def _do_pickled(work: bytes, piece: bytes) -> Any:
    return _load_work(work)(pickle.loads(piece))


# A running Ray cluster: https://docs.ray.io. The package ray is optional.

CONNECT_S = 10.0  # timeout of the cluster's head


@contextmanager
def _ray_tasks(work: Callable[[P], R], name: Callable[[P], str], jobs: int, address: str) -> Iterator[Workers[P, R]]:
    """jobs: tasks submitted at once; 0: enough to keep all cores of the cluster busy.

    If the caller has joined a cluster already, it is used and not left.
    """
    import ray
    from ray import cloudpickle

    joins = not ray.is_initialized()
    if joins:
        _join(address)
    try:
        content = ray.put(cloudpickle.dumps(work))  # sent once per machine, not with each piece
        task = ray.remote(_do_remotely).options(num_cpus=1, max_retries=TRIES - 1)
        cores = max(1, int(ray.cluster_resources().get("CPU", 1)))
        yield Workers(lambda piece: _Task(task.remote(content, os.getcwd(), piece), name(piece)), jobs or AHEAD * cores)
    finally:
        if joins:
            ray.shutdown()


def _join(address: str) -> None:
    """Raises RunError if there is no cluster. Output of tasks stays in Ray's logs: stdout is for results."""
    import ray
    from ray.exceptions import RayError

    address = address or os.environ.get("RAY_ADDRESS", "auto")
    try:
        server = urlsplit(f"//{address.rpartition('://')[2]}")
        if server.hostname and server.port:  # Ray itself would try for many minutes where nobody listens
            socket.create_connection((server.hostname, server.port), CONNECT_S).close()
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError, RayError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].partition(". ")[0]
        remedy = "start one with 'ray start --head', or correct --address or RAY_ADDRESS"
        raise RunError(f"Ray cluster '{address}': cannot be joined ({reason}); a running cluster; {remedy}") from None


class _Task(Generic[R]):
    def __init__(self, reference: Any, name: str) -> None:
        self._reference = reference
        self._name = name

    def result(self) -> R:
        import ray
        from ray.exceptions import NodeDiedError, OutOfMemoryError, RayError, WorkerCrashedError

        try:
            result: R = _unpickle_result(ray.get(self._reference))
        except (WorkerCrashedError, OutOfMemoryError, NodeDiedError) as error:
            raise _worker_died(self._name, type(error).__name__) from None
        except RayError as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
            remedy = "the same recitative on every machine of the cluster; install it there"
            raise RunError(f"{self._name}: the Ray cluster could not do it ({reason}); {remedy}") from None
        return result

    def cancel(self) -> None:
        import ray

        ray.cancel(self._reference)


def _do_remotely(work: bytes, folder: str, piece: Any) -> bytes:
    return _pickled_result(partial(_compute, work, folder, piece))


def _compute(work: bytes, folder: str, piece: Any) -> Any:
    """In the caller's folder, so that relative paths mean the same."""
    try:
        os.chdir(folder)
    except OSError:
        found = f"is not on {platform.node()}, a machine of the cluster"
        raise DataError(folder, found, "a folder that all machines share", "mount it there at the same path") from None
    return _load_work(work)(piece)


# What both engines use: pickled work and results, and the error of a piece whose workers died.


@lru_cache(maxsize=1)
def _load_work(content: bytes) -> Callable[[Any], Any]:
    """In the worker: the unpickled work, the same object for every piece."""
    work: Callable[[Any], Any] = pickle.loads(content)
    return work


def _pickled_result(compute: Callable[[], object]) -> bytes:
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


def _unpickle_result(content: bytes) -> Any:
    """In the caller: the result; raises its error."""
    result, error = pickle.loads(content)
    if error is not None:
        raise error
    return result


def _worker_died(name: str, how: str) -> RunError:
    """The error for a piece whose every worker died."""
    short = textwrap.shorten(name, 80, placeholder=" ...")
    return RunError(f"{short}: its worker died {TRIES} times ({how}), perhaps for lack of memory; use fewer --jobs")


def available_cores() -> int:
    """CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
