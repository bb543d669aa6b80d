"""A PyTorch network as a stage on NumPy arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from recitative.stage import Array, Padded, State


class TorchStage:
    """Stage: input of the network -> its output, float32, without gradients. State: that of the network, as arrays."""

    def __init__(self, network: Any) -> None:
        """network: a module that is a stage"""
        self._network = network
        self._device = next(network.parameters()).device

    @property
    def stride(self) -> int:
        return int(self._network.stride)

    @property
    def lookahead(self) -> int | None:
        lookahead: int | None = self._network.lookahead
        return lookahead

    def output_lengths(self, lengths: Array) -> Array:
        frames: Array = self._network.output_lengths(torch.from_numpy(np.asarray(lengths))).numpy()
        return frames

    def initial_state(self, n: int) -> State:
        return {key: value.cpu().numpy() for key, value in self._network.initial_state(n).items()}

    def step(self, x: Padded[Array], state: State, *, last: bool) -> tuple[Padded[Array], State]:
        tensors = Padded(self._tensor(x.data), self._tensor(x.lengths))
        with torch.inference_mode():
            y, new_state = self._network.step(tensors, {k: self._tensor(v) for k, v in state.items()}, last=last)
        arrays = {key: value.cpu().numpy() for key, value in new_state.items()}
        return Padded(y.data.float().cpu().numpy(), y.lengths.cpu().numpy()), arrays

    def call(self, part: str, feeds: Mapping[str, Array]) -> Array:
        """The output of a part of the network that is no stage; in an exported file it is a graph of its own."""
        with torch.inference_mode():
            y = getattr(self._network, part)(*(self._tensor(np.ascontiguousarray(value)) for value in feeds.values()))
        array: Array = y.cpu().numpy()
        return array

    def _tensor(self, array: Array) -> torch.Tensor:
        return torch.from_numpy(np.asarray(array)).to(self._device)


def run_model(model: Any) -> Any:
    """A model in memory, ready to run on PyTorch: the result of ``kind.run``.

    Call ``eval`` first to turn off dropout.
    """
    return model.kind.run(TorchStage(model.network), model.settings, model.kind.values_of(model))
