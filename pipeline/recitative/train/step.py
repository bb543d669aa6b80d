"""One step: the gradient of a global batch, of which this worker has a share, clipping, and the optimiser.

    gradient = sum over workers and parts of d(loss sum) / (count of all workers and parts)

A share is computed in parts if it must be (``train.accumulate``, ``train.most_s``), and in twice as many if memory runs
out. Neither the number of workers nor that of parts changes the gradient, but for rounding and the places of dropout.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from recitative.config import TrainSettings
from recitative.errors import RunError
from recitative.train.device import has_bf16
from recitative.train.stop import Stop
from recitative.train.task import Batch, Task
from recitative.train.world import World


@dataclass(frozen=True)
class StepResult:
    """Of all workers together."""

    loss_sum: float
    count: int
    grad_norm: float
    clipped: bool
    skipped: bool
    splits: int  # shares that were done again in smaller parts, since memory ran out
    stop: bool  # somebody asked some worker to stop

    @property
    def loss(self) -> float:
        return self.loss_sum / max(self.count, 1)

    def to_log(self) -> dict[str, float | bool]:
        return {"loss": self.loss, "grad_norm": self.grad_norm, "clipped": self.clipped, "skipped": self.skipped}


def new_optimiser(network: nn.Module, settings: TrainSettings) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter 2019); biases and normalisation gains are not decayed, what is frozen isn't in it."""
    trained = [p for p in network.parameters() if p.requires_grad]
    matrices = [p for p in trained if p.dim() >= 2]
    vectors = [p for p in trained if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": settings.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    # Fused: one pass over the memory, a seventh of the time on a CPU.
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.98), fused=True)


@dataclass(frozen=True)
class Stepper:
    """Takes the steps of one worker."""

    task: Task
    optimiser: torch.optim.Optimizer
    settings: TrainSettings
    device: torch.device
    world: World

    def take(self, batch: Any, rate: float, step: int, stop: Stop) -> StepResult:
        """One optimiser step on this worker's share of a global batch, skipped if a loss or a gradient is not finite.

        rate: of learning; step: how many were tried before, by all starts of the run
        A request to stop that came to any worker by the end of its backward pass is told to all.
        Raises RunError for an utterance that alone does not fit into memory.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        sums, splits = self._accumulate(batch, step)
        loss_sum, count, all_splits, stops = self.world.add(*sums, splits, float(stop.requested))
        norm = self._mean_gradient(max(count, 1.0))
        skipped = not (math.isfinite(loss_sum) and math.isfinite(norm))
        if not skipped:
            self.optimiser.step()
        clipped = norm > self.settings.clip_norm
        return StepResult(loss_sum, int(count), norm, clipped, skipped, int(all_splits), stops > 0)

    def _accumulate(self, batch: Batch, step: int) -> tuple[tuple[float, int], int]:
        """The gradient of the sum of this worker's losses in ``grad``; ((sum, count), times that memory ran out)."""
        wanted = max(self.settings.accumulate, parts_that_fit(batch, self.settings))
        parts, splits = min(wanted, max(batch.rows, 1)), 0
        while True:
            self.optimiser.zero_grad(set_to_none=True)
            try:
                return self._gradients(self.task.split(batch, parts), step), splits
            except RuntimeError as error:
                if not ran_out_of_memory(error):
                    raise
            if parts >= batch.rows:
                raise RunError(
                    f"step {step}: {', '.join(batch.names)} alone do not fit into memory on {self.device}; lower "
                    "train.max_duration_s or the model's size, or set train.recompute=true"
                )
            if self.device.type == "cuda":
                torch.cuda.empty_cache()  # what is free lies in pieces of the wrong sizes
            parts, splits = min(2 * parts, batch.rows), splits + 1

    def _gradients(self, parts: Sequence[Any], step: int) -> tuple[float, int]:
        loss_sum, count = 0.0, 0
        bf16 = self.settings.bf16 and has_bf16(self.device)
        for number, part in enumerate(parts):
            torch.manual_seed(_seed(self.settings.seed, step, self.world.rank, number))
            with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
                part_sum, part_count = self.task.loss(part)
            part_sum.backward()  # type: ignore[no-untyped-call]
            loss_sum, count = loss_sum + float(part_sum.detach()), count + part_count
        return loss_sum, count

    def _mean_gradient(self, count: float) -> float:
        """Turn ``grad`` into the mean over all workers, clipped (Pascanu et al. 2013); its norm before that."""
        parameters = [p for group in self.optimiser.param_groups for p in group["params"]]
        self.world.add_gradients(parameters)
        for parameter in parameters:
            assert parameter.grad is not None
            parameter.grad.div_(count)
        return float(nn.utils.clip_grad_norm_(parameters, self.settings.clip_norm))


def parts_that_fit(batch: Batch, settings: TrainSettings) -> int:
    """In how many parts ``train.most_s`` has this share computed."""
    for longest_s, most_s in settings.most_s:
        if batch.longest_s <= longest_s:
            return math.ceil(batch.padded_s / most_s)
    return math.ceil(batch.padded_s / settings.most_s[-1][1]) if settings.most_s else 1


def ran_out_of_memory(error: RuntimeError) -> bool:
    """PyTorch has a class for a GPU's memory, and for the machine's only a text."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _seed(seed: int, step: int, rank: int, part: int) -> int:
    """Another one for each part of each worker, so that no two drop the same places out."""
    return (seed * 1_000_003 + step + 2**33 * (rank * 4096 + part)) % 2**63
