"""A recogniser's network as a stage on NumPy arrays, run by PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from recitative.models.decoders import Wishes
from recitative.models.folder import Recogniser
from recitative.models.transcriber import Transcriber
from recitative.stage import Padded, State

Array = npt.NDArray[Any]


class TorchNetwork:
    """Stage: features (N, T, C) float32 -> log probabilities (N, T', V) float32. State: the network's, as arrays."""

    def __init__(self, recogniser: Recogniser) -> None:
        self._network = recogniser.network
        self._device = next(recogniser.network.parameters()).device

    @property
    def stride(self) -> int:
        return self._network.stride

    @property
    def lookahead(self) -> int | None:
        return self._network.lookahead

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

    def _tensor(self, array: Array) -> torch.Tensor:
        return torch.from_numpy(np.asarray(array)).to(self._device)


def new_transcriber(recogniser: Recogniser, wishes: Wishes | None = None) -> Transcriber:
    """The whole chain from samples to words around a recogniser in memory."""
    return Transcriber(TorchNetwork(recogniser), recogniser.settings, recogniser.tokens, recogniser.language, wishes)
