"""Parallel work as tasks of a running Ray cluster: https://docs.ray.io."""

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

from recitative.data.parallel import AHEAD, TRIES, Workers, load_work, pickled_result, unpickle_result, worker_died
from recitative.errors import DataError, RunError

P = TypeVar("P")
R = TypeVar("R")

CONNECT_S = 10.0  # timeout of the cluster's head


@contextmanager
def ray_tasks(work: Callable[[P], R], name: Callable[[P], str], jobs: int, address: str) -> Iterator[Workers[P, R]]:
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
        task = ray.remote(_do).options(num_cpus=1, max_retries=TRIES - 1)
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
            result: R = unpickle_result(ray.get(self._reference))
        except (WorkerCrashedError, OutOfMemoryError, NodeDiedError) as error:
            raise worker_died(self._name, type(error).__name__) from None
        except RayError as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
            remedy = "the same recitative on every machine of the cluster; install it there"
            raise RunError(f"{self._name}: the Ray cluster could not do it ({reason}); {remedy}") from None
        return result

    def cancel(self) -> None:
        import ray

        ray.cancel(self._reference)


def _do(work: bytes, folder: str, piece: Any) -> bytes:
    return pickled_result(partial(_compute, work, folder, piece))


def _compute(work: bytes, folder: str, piece: Any) -> Any:
    """In the caller's folder, so that relative paths mean the same."""
    try:
        os.chdir(folder)
    except OSError:
        found = f"is not on {platform.node()}, a machine of the cluster"
        raise DataError(folder, found, "a folder that all machines share", "mount it there at the same path") from None
    return load_work(work)(piece)
