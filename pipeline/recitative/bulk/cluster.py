"""Pieces of bulk work as tasks of a Ray cluster that runs already: https://docs.ray.io."""

from __future__ import annotations

import logging
import os
import platform
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

import ray
from ray import cloudpickle
from ray.exceptions import NodeDiedError, OutOfMemoryError, RayError, WorkerCrashedError

from recitative.bulk.tasks import AHEAD, TRIES, Workers, answer, death, load_work, open_answer
from recitative.errors import DataError, RunError

P = TypeVar("P")
R = TypeVar("R")

CONNECT_S = 10.0  # for the cluster's head to answer


@contextmanager
def ray_tasks(work: Callable[[P], R], name: Callable[[P], str], jobs: int, address: str) -> Iterator[Workers[P, R]]:
    """jobs: tasks that are handed out at once; 0: as many as keep all cores of the cluster busy.

    A cluster that the caller has joined already is used, and isn't left.
    """
    joins = not ray.is_initialized()
    if joins:
        _join(address)
    try:
        content = ray.put(cloudpickle.dumps(work))  # sent to a machine once, not with each piece
        task = ray.remote(_do).options(num_cpus=1, max_retries=TRIES - 1)
        yield Workers(
            lambda piece: _Task(task.remote(content, os.getcwd(), piece), name(piece)), jobs or AHEAD * _num_cores()
        )
    finally:
        if joins:
            ray.shutdown()


def _join(address: str) -> None:
    """Raises RunError if there is no cluster. What its tasks print stays in Ray's logs: stdout is for results."""
    address = address or os.environ.get("RAY_ADDRESS", "auto")
    try:
        _knock(address)
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError, RayError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].partition(". ")[0]
        remedy = "start one with 'ray start --head', or correct --address or RAY_ADDRESS"
        raise RunError(f"Ray cluster '{address}': cannot be joined ({reason}); a cluster that runs; {remedy}") from None


def _knock(address: str) -> None:
    """Raises OSError where nobody listens: Ray itself would try again for many minutes."""
    server = urlsplit(f"//{address.rpartition('://')[2]}")
    if server.hostname and server.port:
        socket.create_connection((server.hostname, server.port), CONNECT_S).close()


def _num_cores() -> int:
    return max(1, int(ray.cluster_resources().get("CPU", 1)))


class _Task(Generic[R]):
    def __init__(self, reference: Any, name: str) -> None:
        self._reference = reference
        self._name = name

    def result(self) -> R:
        try:
            result: R = open_answer(ray.get(self._reference))
        except (WorkerCrashedError, OutOfMemoryError, NodeDiedError) as error:
            raise death(self._name, type(error).__name__) from None
        except RayError as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
            remedy = "the same recitative on every machine of the cluster; install it there"
            raise RunError(f"{self._name}: the Ray cluster could not do it ({reason}); {remedy}") from None
        return result

    def cancel(self) -> None:
        ray.cancel(self._reference)


def _do(work: bytes, folder: str, piece: Any) -> bytes:
    return answer(partial(_compute, work, folder, piece))


def _compute(work: bytes, folder: str, piece: Any) -> Any:
    """Relative paths mean there what they mean to the caller."""
    try:
        os.chdir(folder)
    except OSError:
        found = f"is not on {platform.node()}, a machine of the cluster"
        raise DataError(folder, found, "a folder that all machines share", "mount it there at the same path") from None
    return load_work(work)(piece)
