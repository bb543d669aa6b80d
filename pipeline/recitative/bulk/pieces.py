"""The one call: pieces go out to whatever does the work, and their results come back in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Literal, TypeVar

from recitative.bulk.processes import processes
from recitative.bulk.tasks import Workers

P = TypeVar("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Engine:
    """What does the work.

    kind:    "local": processes of this machine; "ray": a Ray cluster that runs already
    jobs:    pieces done at once; one is done in this process. 0, of a cluster: as many as it has cores
    address: of the cluster; empty: RAY_ADDRESS, or the cluster that this machine belongs to
    """

    kind: Literal["local", "ray"] = "local"
    jobs: int = 1
    address: str = ""


def map_pieces(
    work: Callable[[P], R],
    pieces: Iterable[P],
    engine: Engine,
    *,
    name: Callable[[P], str] = str,
    advance: Callable[[int], None] = lambda done: None,
    failed: Callable[[P, Exception], R] | None = None,
) -> Iterator[R]:
    """``work(piece)`` of each piece, in the order of ``pieces``, which are taken as they are needed.

    work:    is pickled, and unpickled once in each process: what it keeps in itself, such as an open model, stays
    name:    what errors call a piece
    advance: is told before each result how many there are by then
    failed:  makes the result of a piece whose work raised an error or whose worker died twice; None: it is raised

    What ``work`` raises is raised here, after the results of the pieces before. A piece whose worker dies is done
    again; if that worker dies too, RunError names the piece. RunError if there is no cluster.
    """
    if engine.kind == "local" and engine.jobs == 1:
        results: Iterator[R] = (_result(partial(work, piece), piece, failed) for piece in pieces)
    else:
        results = _in_order(_workers(work, engine, name), pieces, failed)
    for done, result in enumerate(results, start=1):
        advance(done)
        yield result


def _workers(work: Callable[[P], R], engine: Engine, name: Callable[[P], str]) -> AbstractContextManager[Workers[P, R]]:
    if engine.kind == "local":
        return processes(work, name, engine.jobs)
    from recitative.bulk.cluster import ray_tasks  # the package ray is not always installed

    return ray_tasks(work, name, engine.jobs, engine.address)


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
