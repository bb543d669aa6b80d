"""The output layer of forecasts: a mixture of Gaussians over the next frame (Bishop 1994, "Mixture density networks").

    p(x | h) = sum over k of w_k prod over c of N(x_c; m_kc, s_kc)

The channels of a component are independent; which component it is ties them together. A deviation never falls below
``least_deviation``, so that no frame is infinitely probable: a channel that never changes would else take over the
loss.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

AT_FIRST = math.log(math.e - 1)  # softplus of this is 1: a deviation of the corpus


@dataclass(frozen=True)
class Gaussians:
    """log_weights (..., K); means and deviations (..., K, C)."""

    log_weights: Tensor
    means: Tensor
    deviations: Tensor

    def surprise(self, x: Tensor) -> Tensor:
        """-ln p(x) / C of frames (..., C), in nats per dimension -> (...)."""
        distance = (x[..., None, :] - self.means) / self.deviations
        parts = -0.5 * distance.square() - self.deviations.log()
        log_p = torch.logsumexp(self.log_weights + parts.sum(-1), dim=-1) - 0.5 * x.shape[-1] * math.log(2 * math.pi)
        return -log_p / x.shape[-1]


class MixtureDensity(nn.Module):
    """What the core says, (..., H), as a density of a frame of ``channels``."""

    def __init__(self, input_width: int, channels: int, components: int, least_deviation: float) -> None:
        super().__init__()
        self.channels, self.components, self.least_deviation = channels, components, least_deviation
        self.linear = nn.Linear(input_width, components * (1 + 2 * channels))
        self.sizes = (components, components * channels, components * channels)

    def forward(self, h: Tensor) -> Gaussians:
        weights, means, raw = self.linear(h).float().split(self.sizes, dim=-1)
        shape = (*h.shape[:-1], self.components, self.channels)
        deviations = self.least_deviation + F.softplus(raw + AT_FIRST)
        return Gaussians(F.log_softmax(weights, dim=-1), means.view(shape), deviations.view(shape))
