"""A language model's network as a stage on NumPy arrays, run by PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from recitative.models.language_model import LanguageModelNetwork
from recitative.models.text_scores import RecurrentLanguageModel
from recitative.nn.chain import Chain
from recitative.stage import Padded, State

Array = npt.NDArray[Any]


class TorchLanguageNetwork:
    """Stage: token ids (N, T) int64 -> ln P of the next token (N, T, V) float32. State: the network's, as arrays."""

    stride = 1
    lookahead = 0

    def __init__(self, network: Chain) -> None:
        self._network = network
        self._device = next(network.parameters()).device

    def output_lengths(self, lengths: Array) -> Array:
        return lengths

    def initial_state(self, n: int) -> State:
        return {key: value.cpu().numpy() for key, value in self._network.initial_state(n).items()}

    def step(self, x: Padded[Array], state: State, *, last: bool) -> tuple[Padded[Array], State]:
        tensors = Padded(self._tensor(x.data), self._tensor(x.lengths))
        with torch.inference_mode():
            y, new_state = self._network.step(tensors, {k: self._tensor(v) for k, v in state.items()}, last=last)
        arrays = {key: value.cpu().numpy() for key, value in new_state.items()}
        return Padded(y.data.cpu().numpy(), y.lengths.cpu().numpy()), arrays

    def _tensor(self, array: Array) -> torch.Tensor:
        return torch.from_numpy(np.asarray(array)).to(self._device)


def new_scorer(model: LanguageModelNetwork) -> RecurrentLanguageModel:
    """The scorer around a language model in memory, as it stands: in evaluation mode it has no dropout."""
    return RecurrentLanguageModel(TorchLanguageNetwork(model.network), model.vocabulary)
