"""The optimizer, the learning rate over a run, and the moving average of the weights."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise

import torch
from torch import Tensor, nn

from recitative.config import TrainSettings


def new_optimizer(network: nn.Module, settings: TrainSettings) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter 2019) without weight decay of biases and normalization gains.

    Frozen parameters are left out.
    """
    trained = [p for p in network.parameters() if p.requires_grad]
    matrices = [p for p in trained if p.dim() >= 2]
    vectors = [p for p in trained if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": settings.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    # Fused: one pass over the memory, a seventh of the time on a CPU.
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.98), fused=True)


def learning_rate(settings: TrainSettings, step: int, epochs_done: float) -> float:
    """Linear warm-up over ``warmup_steps``; half a cosine from the peak down to ``final_lr_fraction`` of it, from each
    restart to the next (SGDR, Loshchilov & Hutter 2017).

        lr = peak * min(1, (step + 1) / warmup) * (f + (1 - f) * (1 + cos(pi * progress)) / 2)

    step: optimizer steps taken so far, from 0; epochs_done: epochs so far with their fraction; progress: the part of
    the current cycle that is done, 0 to 1.
    """
    warm = min(1.0, (step + 1) / settings.warmup_steps) if settings.warmup_steps else 1.0
    low = settings.final_lr_fraction
    cosine = math.cos(math.pi * _cycle_progress(settings, epochs_done))
    return settings.learning_rate * warm * (low + (1 - low) * (1 + cosine) / 2)


def _cycle_progress(settings: TrainSettings, epochs_done: float) -> float:
    for start, end in pairwise((0, *settings.restarts, settings.epochs)):
        if epochs_done < end:
            return (epochs_done - start) / (end - start)
    return 1.0


class WeightAverage:
    """An exponential moving average of the weights (Polyak & Juditsky 1992; Tarvainen & Valpola 2017):

        average = decay * average + (1 - decay) * weights, after each step

    The decay of step n is at most (1 + n) / (10 + n), so that the first weights are soon forgotten. Buffers that are
    not floating point are copied.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        """decay: 0 to 1; 0 = no average: the weights themselves."""
        self.decay = decay
        self._average = {name: value.detach().clone() for name, value in network.state_dict().items()} if decay else {}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """After step number ``step``, from 1."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in network.state_dict().items():
            if name in self._average and value.is_floating_point():
                self._average[name].lerp_(value, 1 - decay)
            elif name in self._average:
                self._average[name].copy_(value)

    @contextmanager
    def in_place(self, network: nn.Module) -> Iterator[None]:
        """The network with the averaged weights, until the block ends."""
        own = {name: value.detach().clone() for name, value in network.state_dict().items() if self._average}
        network.load_state_dict(self._average or network.state_dict())
        try:
            yield
        finally:
            network.load_state_dict(own or network.state_dict())

    def state(self) -> dict[str, Tensor]:
        """For a checkpoint; empty without an average."""
        return dict(self._average)

    def load(self, state: Mapping[str, Tensor]) -> None:
        """From a checkpoint. Raises KeyError for that of another network."""
        for name, value in self._average.items():
            value.copy_(state[name])
