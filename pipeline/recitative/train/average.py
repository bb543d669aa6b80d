"""An exponential moving average of the weights (Polyak & Juditsky 1992; Tarvainen & Valpola 2017)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class MovingAverage:
    """average = decay * average + (1 - decay) * weights, after each step.

    The decay of the first steps is (1 + step) / (10 + step), as the beginning is soon to be forgotten. What isn't
    floating point is taken as it is.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        """decay: 0 to 1, 0 = no average: the weights themselves."""
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
