"""The network of an anomaly model: normalization, and the NLL of each feature frame given those before it.

And its ONNX graph, in which the state is an input and an output.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from recitative.anomaly.kind import FORECASTER, AnomalyNetworkSettings, AnomalySettings, Threshold
from recitative.features.extraction import CmvnStats
from recitative.model.export.cells import CellWriter
from recitative.model.export.file import Written
from recitative.model.export.graph import Graph, Ragged
from recitative.model.export.stages import Writer
from recitative.model.kind import ModelKind
from recitative.nn.heads import INITIAL_RAW, MixtureDensity
from recitative.nn.ragged import zero_padding
from recitative.nn.recurrent import RecurrentStack
from recitative.nn.stages import Chain, Delay, Dropout, Normalize, Project, normalization_stages
from recitative.stage import Padded, State, run_whole


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
        return run_whole(self.network, features)

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


# The ONNX graph


def write_forecaster(forecaster: AnomalyModel) -> Written:
    """In float32: features (N, T, C), lengths (N,) int64, state.* -> surprise (N, T, 1), new_state.*. T is any number
    from 1 on; a length may be 0.
    """
    graph = Graph()
    dim = forecaster.settings.features.dim
    x = Ragged(graph.input("features", "float32", ("N", "T", dim)), graph.input("lengths", "int64", ("N",)))
    writer = Writer(graph, CellWriter(graph, ranges=None), last="")  # nothing is held back, so nothing is flushed
    stages = dict(forecaster.network.stages.items())
    forecast = stages.pop("forecast")
    assert isinstance(forecast, Forecast)
    seen = writer.write("", Chain(stages), x)
    h = writer.write("forecast", forecast.past, seen)
    graph.output("surprise", _surprise(graph, writer.cells, forecast, h.data, seen.data), "float32", ("N", "T", 1))
    return Written(graph, writer.initial)


def _surprise(g: Graph, cells: CellWriter, forecast: Forecast, h: str, x: str) -> str:
    """(N, T, H) and (N, T, C) -> (N, T, 1)."""
    density, channels = forecast.density, forecast.density.channels
    log_weights, means, deviations = _gaussians(g, cells, density, h)
    distance = g.op("Div", g.op("Sub", g.op("Unsqueeze", x, g.ints(2)), means), deviations)  # (N, T, K, C)
    half_squares = g.op("Mul", g.op("Mul", distance, distance), g.real(0.5))
    parts = g.op("ReduceSum", g.op("Add", half_squares, g.op("Log", deviations)), g.ints(3), keepdims=0)
    log_p = g.op("ReduceLogSumExp", g.op("Sub", log_weights, parts), g.ints(2), keepdims=1)
    constant = 0.5 * math.log(2 * math.pi) - float(forecast.unit)
    return g.op("Sub", g.real(constant), g.op("Div", log_p, g.real(channels)))


def _gaussians(g: Graph, cells: CellWriter, density: MixtureDensity, h: str) -> tuple[str, str, str]:
    """(N, T, K), and twice (N, T, K, C): see ``nn.heads``."""
    said = cells.linear("", density.linear, h)
    weights, means, raw = g.ops("Split", said, g.ints(*density.sizes), outputs=3, axis=2)
    shape = g.ints(0, 0, density.components, density.channels)
    spread = g.op("Softplus", g.op("Add", raw, g.real(INITIAL_RAW)))
    deviations = g.op("Add", spread, g.real(density.least_deviation))
    return g.op("LogSoftmax", weights, axis=-1), g.op("Reshape", means, shape), g.op("Reshape", deviations, shape)
