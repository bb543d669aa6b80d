"""The network of an anomaly model: normalization, and the NLL of each feature frame given those before it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from recitative.anomaly.kind import FORECASTER, AnomalyNetworkSettings, AnomalySettings, Threshold
from recitative.features.cmvn import CmvnStats
from recitative.model.kind import ModelKind
from recitative.nn.heads import MixtureDensity
from recitative.nn.normalize import Normalize, normalization_stages
from recitative.nn.ragged import zero_padding
from recitative.nn.recurrent import RecurrentStack
from recitative.nn.stages import Chain, Delay, Dropout, Project
from recitative.stage import Padded, State


class Forecast(nn.Module):
    """The negative log-likelihood (NLL) of each normalized frame, (N, T, C) -> (N, T, 1):

        -ln p(x[t] | x[0] ... x[t - horizon]) / C - unit        in nats per dimension

    with ``unit`` the mean of ln (1 / deviation) over the channels, so that it is the NLL of the features before their
    normalization. Output t reads x[t] only to compare it with the prediction.

    State: that of ``past``, a chain of the delay that hides the present, and the core.
    """

    stride = 1
    lookahead = 0
    unit: Tensor

    def __init__(self, channels: int, settings: AnomalyNetworkSettings) -> None:
        super().__init__()
        self.input_width, self.output_width = channels, 1
        past: dict[str, nn.Module] = {"delay": Delay(channels, settings.horizon)}
        if settings.width:
            past["project"] = Project(channels, settings.width)
        core = RecurrentStack(settings.width or channels, settings.recurrent)
        past["core"] = core
        if settings.dropout:
            past["dropout"] = Dropout(core.output_width, settings.dropout)
        self.past = Chain(past)
        self.density = MixtureDensity(core.output_width, channels, settings.components, settings.least_deviation)
        self.register_buffer("unit", torch.zeros(()))

    def output_lengths(self, lengths: Tensor) -> Tensor:
        return lengths

    def initial_state(self, n: int) -> State:
        return self.past.initial_state(n)

    def step(self, x: Padded[Tensor], state: State, *, last: bool) -> tuple[Padded[Tensor], State]:
        frames = Padded(zero_padding(x), x.lengths)  # a gradient at a padded frame would be 0 * NaN
        h, new_state = self.past.step(frames, state, last=last)
        nats = self.density(h.data).nll(frames.data) - self.unit
        return Padded(nats[..., None], x.lengths), new_state


@dataclass(frozen=True)
class AnomalyModel:
    """A network with its settings and the threshold of its anomaly score."""

    kind: ClassVar[ModelKind] = FORECASTER
    settings: AnomalySettings
    network: Chain
    threshold: Threshold | None = None

    def nll(self, features: Padded[Tensor]) -> Padded[Tensor]:
        """Whole inputs (N, T, C) -> (N, T, 1) nats per dimension."""
        return self.network.step(features, self.network.initial_state(len(features.lengths)), last=True)[0]

    def normalise(self, stats: CmvnStats) -> None:
        """Set the statistics of the normalization."""
        normalise, forecast = self.network.stages["normalise"], self.network.stages["forecast"]
        assert isinstance(normalise, Normalize)
        assert isinstance(forecast, Forecast)
        normalise.mean.copy_(torch.from_numpy(stats.mean))
        normalise.inverse_stddev.copy_(torch.from_numpy(stats.inverse_stddev))
        forecast.unit.copy_(normalise.inverse_stddev.log().mean())


def build_network(settings: AnomalyNetworkSettings, feature_dim: int) -> Chain:
    """The network as one stage: features (N, T, feature_dim) -> NLL (N, T, 1)."""
    stages = normalization_stages(settings.cmvn, feature_dim)
    stages["forecast"] = Forecast(feature_dim, settings)
    return Chain(stages)


def new_anomaly_model(settings: AnomalySettings, threshold: Threshold | None = None) -> AnomalyModel:
    """An anomaly model with random weights (from torch's generator)."""
    return AnomalyModel(settings, build_network(settings.model, settings.features.dim), threshold)
