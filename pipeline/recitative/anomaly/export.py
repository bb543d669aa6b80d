"""The ``step`` of an anomaly model as a graph with the state as inputs and outputs."""

from __future__ import annotations

import math

from recitative.anomaly.network import AnomalyModel, Forecast
from recitative.model.export.cells import CellWriter
from recitative.model.export.file import Written
from recitative.model.export.graph import Graph, Ragged
from recitative.model.export.stages import Writer
from recitative.nn.heads import INITIAL_RAW, MixtureDensity
from recitative.nn.stages import Chain


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
