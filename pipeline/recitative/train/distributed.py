"""Distributed training: one process alone, or the ranks that torchrun starts on one machine or many.

Every rank holds the same weights. Each takes its part of a global batch and computes the gradient of the *sum* of its
losses; these sums are added up over all ranks and divided by what all of them counted: the number of ranks changes the
order of additions and nothing else.

The gradients travel as one buffer after the backward pass, where PyTorch's DistributedDataParallel sends buckets
during it. For networks of this size (some 10 million parameters) the transfer takes a few milliseconds; in exchange a
rank may have no utterance in a batch, split its part or compute it again, and nothing can hang on a hook.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from recitative.config import TrainSettings
from recitative.errors import RecitativeError, RunError

T = TypeVar("T")

TIMEOUT = timedelta(minutes=30)  # the other ranks wait while the first one scores the dev set


@dataclass(frozen=True)
class DistributedContext:
    """This process among all of a run. Without torchrun it is alone, and the calls below cost nothing."""

    rank: int = 0
    size: int = 1
    local_size: int = 1  # ranks on this machine

    @property
    def is_first(self) -> bool:
        """Whether this rank writes files and prints."""
        return self.rank == 0

    def add_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Add up ``grad`` over all ranks, in place; where a rank has none it counts as zero."""
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
        """The sum over all ranks of each number, in float64."""
        if self.size == 1:
            return list(numbers)
        sums = torch.tensor(numbers, dtype=torch.float64, device=_communication_device())
        self._reduce(sums)
        return sums.tolist()

    def from_first(self, value: T | None) -> T:
        """The value of the first rank, on every rank."""
        box = [value]
        if self.size > 1:
            with _naming_a_lost_rank():
                dist.broadcast_object_list(box, src=0)
        received: Any = box[0]
        return received  # type: ignore[no-any-return]

    def assert_same_across_ranks(self, values: Mapping[str, object]) -> None:
        """Raises RunError, on every rank, that names the values in which ranks differ from the first."""
        everyone = self._from_all(dict(values))
        for rank, theirs in enumerate(everyone):
            differing = [
                f"{name} {theirs[name]} against {value}" for name, value in everyone[0].items() if theirs[name] != value
            ]
            if differing:
                raise RunError(
                    f"worker {rank} differs from worker 0: {', '.join(differing)}; give all machines the same data, "
                    "settings and version"
                )

    def raise_together(self, error: RecitativeError | None) -> None:
        """Raise an error of any rank on all of them, so that none waits for one that is gone."""
        faults = self._from_all(str(error) if error else "")
        if error is not None and (self.is_first or faults[0] != str(error)):
            raise error
        if any(faults):
            same = "has the same fault as worker 0" if error else "stopped, since another could not start"
            raise RunError(f"worker {self.rank} {same}; see its message")

    def _from_all(self, value: T) -> list[T]:
        """The values of all ranks, on every rank."""
        values: list[Any] = [value] * self.size
        if self.size > 1:
            with _naming_a_lost_rank():
                dist.all_gather_object(values, value)
        return values

    def _reduce(self, tensor: Tensor) -> None:
        with _naming_a_lost_rank():
            dist.all_reduce(tensor)


@contextmanager
def join_ranks(device: torch.device) -> Iterator[DistributedContext]:
    """The context that torchrun describes in the environment; the connections are closed when the block ends."""
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        yield DistributedContext()
        return
    context = DistributedContext(*(int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")))
    if context.size == 1:
        yield context
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=_store(context), rank=context.rank, world_size=context.size, timeout=TIMEOUT)
    try:
        yield context
    finally:
        dist.destroy_process_group()


def _store(context: DistributedContext) -> Any:
    """The store in which ranks exchange their addresses; None: PyTorch's default.

    torchrun (2.11) keeps one store over all restarts, and a rank that is quick finds the address of one that is dead.
    On one machine the number of restarts keeps them apart; on several each counts its own, and there torchrun needs
    TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1, which the recipes set.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True" or os.environ.get("GROUP_WORLD_SIZE") != "1":
        return None
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    shared = dist.TCPStore(address, port, context.size, is_master=False, timeout=TIMEOUT)  # type: ignore[attr-defined]
    attempt = f"restart{os.environ['TORCHELASTIC_RESTART_COUNT']}"
    return dist.PrefixStore(attempt, shared)  # type: ignore[attr-defined]


def is_first_rank() -> bool:
    """Whether this process is the one that prints; also before the ranks join and after they part."""
    return int(os.environ.get("RANK", "0")) == 0


def num_ranks() -> int:
    """The number of ranks of the run; also before they join."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def choose_device(settings: TrainSettings) -> torch.device:
    """The device of ``train.device``; ``auto`` takes a GPU if there is one, each rank its own.

    Raises RunError without one, and for more ranks on this machine than it has GPUs.
    """
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise RunError("train.device=cuda: this machine has no usable GPU; set train.device to cpu or auto")
    if settings.device == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    if local_rank >= torch.cuda.device_count():
        raise RunError(
            f"worker {local_rank} of this machine has no GPU of its own: there are {torch.cuda.device_count()}; "
            "start as many workers as GPUs, or set train.device to cpu"
        )
    return torch.device("cuda", local_rank)


def has_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 itself; elsewhere it would be emulated, and slower."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    if platform.machine() not in ("x86_64", "AMD64"):
        return True
    # oneDNN says yes to any AVX-512, but without these instructions an LSTM takes twice as long as in float32
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def _communication_device() -> torch.device:
    return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")


@contextmanager
def _naming_a_lost_rank() -> Iterator[None]:
    """A rank that dies breaks the others' connections to it, which PyTorch reports with a trace of C++."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise RunError(
            f"the connection to another worker was lost ({reason[:120]}); see that worker's message"
        ) from None
