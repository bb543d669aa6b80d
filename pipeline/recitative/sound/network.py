"""Networks of sound: audio sample by sample, and mel frames from labels.

``WaveNetwork`` consists of an encoder of the conditioning, the recurrent core, and the head that scores each sample.
``SpectrogramNetwork`` reads the labels and the previous frame, and gives the density of the next frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recitative.audio.mulaw import LEVELS
from recitative.model.kind import AnyKind
from recitative.nn.heads import MixtureDensity, SampleHead
from recitative.nn.normalize import Normalize
from recitative.nn.ragged import zero_padding
from recitative.nn.recurrent import RecurrentStack
from recitative.nn.stages import Chain, Project
from recitative.sound.conditioning import Labels, width_of
from recitative.sound.kind import SOUND, SPECTROGRAM
from recitative.sound.settings import SpectrogramSettings, WaveSettings
from recitative.stage import Padded, State


class WaveNetwork(nn.Module):
    """``encoder`` reads the conditioning, (N, T, C) -> (N, T, W), if there is one; then ``core`` and ``head``."""

    def __init__(self, settings: WaveSettings, labels: Labels) -> None:
        super().__init__()
        width, model, sound = width_of(settings, labels), settings.model, settings.sound
        self.encoder: Chain | None = None
        if width:
            self.encoder = Chain(
                {
                    "normalise": Normalize(width),
                    "first": Project(width, model.condition_width),
                    "second": Project(model.condition_width, model.condition_width),
                }
            )
        self.core = RecurrentStack((model.condition_width if width else 0) + sound.history, model.recurrent)
        self.head = SampleHead(self.core.output_width, model.width, sound.step, sound.history, LEVELS)

    def initial_state(self, n: int) -> State:
        """The state of the core."""
        return self.core.initial_state(n)

    def scores(self, encoded: Tensor | None, levels: Tensor, values: Tensor, lengths: Tensor, state: State) -> Tensor:
        """Teacher forcing over J steps of the core -> (N, J step, levels) before the softmax.

        encoded: (N, J, W) the encoder's output at the steps; levels: (N, J step) the level before each sample;
        values: (N, history - 1 + J step) the samples before, see ``SampleHead``; lengths: (N,) steps in each row
        """
        step, history = self.head.step, self.head.history
        past = values.unfold(1, history, step)  # (N, J, history): before each step's first sample
        x = past if encoded is None else torch.cat([encoded, past], dim=-1)
        h, _ = self.core.step(Padded(x, lengths), state, last=True)  # the state at the end of unequal rows would cost
        scores: Tensor = self.head(h.data, levels, values)
        return scores


@dataclass(frozen=True)
class WaveModel:
    """A network with its labels."""

    kind: ClassVar[AnyKind] = SOUND
    settings: WaveSettings
    labels: Labels
    network: WaveNetwork


def new_wave_model(settings: WaveSettings, labels: Labels) -> WaveModel:
    """A model with random weights (from torch's generator)."""
    return WaveModel(settings, labels, WaveNetwork(settings, labels))


class SpectrogramNetwork(nn.Module):
    """The first frame follows the mean of all frames."""

    def __init__(self, settings: SpectrogramSettings, labels: Labels) -> None:
        super().__init__()
        channels, model = settings.features.dim, settings.model
        self.past_dropout = model.past_dropout
        self.normalise = Normalize(channels)
        self.past = Project(channels, model.width)
        self.told = Project(labels.width(), model.width)
        self.core = RecurrentStack(2 * model.width, model.recurrent)
        self.density = MixtureDensity(self.core.output_width, channels, model.components, model.least_deviation)

    def nll(self, frames: Padded[Tensor], conditioning: Tensor) -> Tensor:
        """Teacher forcing: log-mel frames (N, T, C) and conditioning (N, T, W) -> (N, T), the NLL of each normalized
        frame in nats per dimension. Values beyond a row's length are undefined."""
        n = len(frames.lengths)
        normal, _ = self.normalise.step(frames, self.normalise.initial_state(n), last=True)
        now = zero_padding(normal)
        before = F.dropout(F.pad(now[:, :-1], (0, 0, 1, 0)), self.past_dropout, self.training)
        x = torch.cat([self.past(before), self.told(conditioning)], dim=-1)
        h, _ = self.core.step(Padded(x, frames.lengths), self.core.initial_state(n), last=True)
        nll: Tensor = self.density(h.data).nll(now)
        return nll


@dataclass(frozen=True)
class SpectrogramModel:
    """A network with its labels."""

    kind: ClassVar[AnyKind] = SPECTROGRAM
    settings: SpectrogramSettings
    labels: Labels
    network: SpectrogramNetwork


def new_spectrogram_model(settings: SpectrogramSettings, labels: Labels) -> SpectrogramModel:
    """A model with random weights (from torch's generator)."""
    return SpectrogramModel(settings, labels, SpectrogramNetwork(settings, labels))
