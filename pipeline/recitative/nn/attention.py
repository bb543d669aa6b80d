"""Location-aware additive attention over encoded audio (Bahdanau et al. 2015, Chorowski et al. 2015).

    e[t] = w . tanh(W q + V h[t] + b + U f[t])        f = F * a', the previous weights a' under a convolution
    a    = softmax of e over the frames of the row     context = sum a[t] h[t]

V h, and U and F as one filter, are equal at every step and computed once (``Memory``).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recitative.nn.ragged import valid_mask, zero_padding
from recitative.stage import Padded


@dataclass(frozen=True)
class Memory:
    """The attended sequence, computed once. M rows: one for each query, or a single one for all queries.

    keys:    (M, T, K)
    values:  (M, T, C), zeros beyond a row's length
    padding: (M, T) True for frames beyond their row
    places:  (kernel, K), the contribution of each previous weight to the energy, by its distance
    """

    keys: Tensor
    values: Tensor
    padding: Tensor
    places: Tensor

    def first_weights(self, n: int) -> Tensor:
        """(n, T), all weight on the first frame, where speech begins."""
        weights = self.values.new_zeros(n, self.values.shape[1], dtype=torch.float32)
        weights[:, :1] = 1.0
        return weights


class LocationAttention(nn.Module):
    """One step: query (N, H) and previous weights (N, T) -> context (N, C) and weights (N, T).

    The weights are zero in the padding and sum to one over a row's frames. A row without a frame has a context of
    zeros.
    """

    def __init__(self, query_width: int, value_width: int, key_width: int, channels: int, kernel: int) -> None:
        super().__init__()
        self.query = nn.Linear(query_width, key_width, bias=False)
        self.key = nn.Linear(value_width, key_width)
        self.locate = nn.Linear(kernel, channels, bias=False)
        self.place = nn.Linear(channels, key_width, bias=False)
        self.energy = nn.Linear(key_width, 1, bias=False)

    def remember(self, x: Padded[Tensor]) -> Memory:
        """The memory of encoded rows (M, T, C)."""
        values = zero_padding(x)
        places = (self.place.weight @ self.locate.weight).T  # (kernel, K)
        return Memory(self.key(values), values, ~valid_mask(x), places)

    def forward(self, query: Tensor, previous: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        heard = self.query(query)[:, None] + memory.keys  # (N, T, K)
        windows = _windows(previous, len(memory.places))
        compared = torch.tanh(torch.addmm(heard.flatten(0, 1), windows, memory.places))  # (N * T, K)
        energies = (compared @ self.energy.weight[0]).float().reshape(previous.shape)
        # Not -inf: a row without a frame would be NaN.
        energies = energies.masked_fill(memory.padding, torch.finfo(energies.dtype).min)
        weights = torch.softmax(energies, dim=-1)
        return _mean(weights, memory.values), weights


def _windows(weights: Tensor, kernel: int) -> Tensor:
    """(N, T) -> (N * T, kernel): the weights around each frame, zeros beyond the ends."""
    if weights.shape[1] == 0:
        return weights.new_zeros(0, kernel)
    return F.pad(weights, (kernel // 2, kernel // 2)).unfold(1, kernel, 1).reshape(-1, kernel)


def _mean(weights: Tensor, values: Tensor) -> Tensor:
    """(N, T) and (M, T, C) -> (N, C)"""
    weights = weights.to(values.dtype)
    if len(values) == 1:
        return weights @ values[0]
    return torch.bmm(weights[:, None], values)[:, 0]
