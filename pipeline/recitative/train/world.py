"""The workers of a run: one process each, started by torchrun on one machine or many, or just this one.

Every worker holds the same weights. A global batch is shared out, each worker computes the gradient of the *sum* of its
losses, and these sums are added up over all workers and divided by what all of them counted: the number of workers
changes the order of additions and nothing else.

The gradients travel as one buffer after the backward pass, where PyTorch's DistributedDataParallel sends buckets
during it. For networks of this size (some 10 million parameters) the transfer takes a few milliseconds; in exchange a
worker may have no utterance in a batch, split its share or do it again, and nothing can hang on a hook.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from recitative.errors import RecitativeError, RunError

T = TypeVar("T")

TIMEOUT = timedelta(minutes=30)  # the others wait while the first one scores the dev set


@dataclass(frozen=True)
class World:
    """This worker among all of them. Without torchrun it is alone, and the calls below are for free."""

    rank: int = 0
    size: int = 1
    local_size: int = 1  # workers on this machine

    @property
    def is_first(self) -> bool:
        """Whether this worker writes files and talks."""
        return self.rank == 0

    def add_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Add up ``grad`` over all workers, in place; where a worker has none it counts as zero."""
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        if self.size > 1:
            gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
            flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
            self._reduce(flat)
            parts = torch.split(flat, [gradient.numel() for gradient in gradients])
            for gradient, part in zip(gradients, parts, strict=True):
                gradient.copy_(part.view_as(gradient))

    def add(self, *numbers: float) -> list[float]:
        """The sum over all workers of each number, in float64."""
        if self.size == 1:
            return list(numbers)
        sums = torch.tensor(numbers, dtype=torch.float64, device=_communication_device())
        self._reduce(sums)
        return sums.tolist()

    def from_first(self, value: T | None) -> T:
        """What the first worker passes, on every worker."""
        box = [value]
        if self.size > 1:
            with _losing_a_worker():
                dist.broadcast_object_list(box, src=0)
        received: Any = box[0]
        return received  # type: ignore[no-any-return]

    def require_same(self, facts: Mapping[str, object]) -> None:
        """Raises RunError, on every worker, that names the facts in which workers differ from the first."""
        everyone = self._from_all(dict(facts))
        for rank, theirs in enumerate(everyone):
            differing = [
                f"{name} {theirs[name]} against {value}" for name, value in everyone[0].items() if theirs[name] != value
            ]
            if differing:
                raise RunError(
                    f"worker {rank} differs from worker 0: {', '.join(differing)}; give all machines the same data, "
                    "settings and version"
                )

    def together(self, error: RecitativeError | None) -> None:
        """Raise what any worker ran into, on all of them, so that none waits for one that is gone."""
        faults = self._from_all(str(error) if error else "")
        if error is not None and (self.is_first or faults[0] != str(error)):
            raise error
        if any(faults):
            same = "has the same fault as worker 0" if error else "stopped, since another could not start"
            raise RunError(f"worker {self.rank} {same}; see its message")

    def _from_all(self, value: T) -> list[T]:
        """What each worker passes, on every worker."""
        values: list[Any] = [value] * self.size
        if self.size > 1:
            with _losing_a_worker():
                dist.all_gather_object(values, value)
        return values

    def _reduce(self, tensor: Tensor) -> None:
        with _losing_a_worker():
            dist.all_reduce(tensor)


@contextmanager
def join_world(device: torch.device) -> Iterator[World]:
    """The world that torchrun describes in the environment; the connections are closed when the block ends."""
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        yield World()
        return
    world = World(*(int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")))
    if world.size == 1:
        yield world
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=_store(world), rank=world.rank, world_size=world.size, timeout=TIMEOUT)
    try:
        yield world
    finally:
        dist.destroy_process_group()


def _store(world: World) -> Any:
    """Where workers tell each other their addresses; None: as PyTorch has it.

    torchrun (2.11) keeps one store over all restarts, and a worker that is quick finds the address of one that is dead.
    On one machine the number of restarts keeps them apart; on several each counts its own, and there torchrun needs
    TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1, which the recipes set.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True" or os.environ.get("GROUP_WORLD_SIZE") != "1":
        return None
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    shared = dist.TCPStore(address, port, world.size, is_master=False, timeout=TIMEOUT)  # type: ignore[attr-defined]
    attempt = f"restart{os.environ['TORCHELASTIC_RESTART_COUNT']}"
    return dist.PrefixStore(attempt, shared)  # type: ignore[attr-defined]


def is_first_worker() -> bool:
    """Whether this process is the one that talks; also before and after the world is joined."""
    return int(os.environ.get("RANK", "0")) == 0


def local_rank() -> int:
    """The number of this worker on its machine, which is the GPU it uses."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def _communication_device() -> torch.device:
    return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")


@contextmanager
def _losing_a_worker() -> Iterator[None]:
    """A worker that dies breaks the others' connections to it, which PyTorch tells with a trace of C++."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise RunError(
            f"the connection to another worker was lost ({reason[:120]}); see that worker's message"
        ) from None
