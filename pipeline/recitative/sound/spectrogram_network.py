"""A model of mel frames that are told labels: what is told, the frame before, the recurrent core, a density of the
next frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recitative.model.kind import AnyKind
from recitative.nn.heads import MixtureDensity
from recitative.nn.normalize import Normalize
from recitative.nn.ragged import zero_padding
from recitative.nn.recurrent import RecurrentStack
from recitative.nn.stages import Project
from recitative.sound.conditioning import Labels
from recitative.sound.kinds import SPECTROGRAM
from recitative.sound.spectrogram_settings import SpectrogramSettings
from recitative.stage import Padded


class SpectrogramNetwork(nn.Module):
    """Before the first frame stands the mean of all frames."""

    def __init__(self, settings: SpectrogramSettings, labels: Labels) -> None:
        super().__init__()
        channels, model = settings.features.dim, settings.model
        self.past_dropout = model.past_dropout
        self.normalise = Normalize(channels)
        self.past = Project(channels, model.width)
        self.told = Project(labels.width(), model.width)
        self.core = RecurrentStack(2 * model.width, model.recurrent)
        self.density = MixtureDensity(self.core.output_width, channels, model.components, model.least_deviation)

    def surprise(self, frames: Padded[Tensor], told: Tensor) -> Tensor:
        """Teacher forcing: log-mel frames (N, T, C) and what is told at each, (N, T, W) -> (N, T) nats per dimension of
        the normalized frames, each given those before it; anything beyond a row's length."""
        n = len(frames.lengths)
        normal, _ = self.normalise.step(frames, self.normalise.initial_state(n), last=True)
        now = zero_padding(normal)
        before = F.dropout(F.pad(now[:, :-1], (0, 0, 1, 0)), self.past_dropout, self.training)
        x = torch.cat([self.past(before), self.told(told)], dim=-1)
        h, _ = self.core.step(Padded(x, frames.lengths), self.core.initial_state(n), last=True)
        surprise: Tensor = self.density(h.data).surprise(now)
        return surprise


@dataclass(frozen=True)
class SpectrogramModel:
    """A network with what it can be told."""

    kind: ClassVar[AnyKind] = SPECTROGRAM
    settings: SpectrogramSettings
    labels: Labels
    network: SpectrogramNetwork


def new_spectrogram_model(settings: SpectrogramSettings, labels: Labels) -> SpectrogramModel:
    """A model with random weights (from torch's generator)."""
    return SpectrogramModel(settings, labels, SpectrogramNetwork(settings, labels))
