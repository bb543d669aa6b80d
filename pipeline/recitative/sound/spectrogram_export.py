"""A spectrogram model as the graph that draws a frame."""

from __future__ import annotations

from torch import Tensor

from recitative.model.export.cells import CellWriter
from recitative.model.export.graph import INT64, Graph, Ragged
from recitative.model.export.network import Written
from recitative.model.export.stages import Writer
from recitative.nn.heads import INITIAL_RAW, MixtureDensity
from recitative.sound.network import SpectrogramModel
from recitative.stage import Array


def write_spectrogram(model: SpectrogramModel) -> Written:
    """In float32.

    Graph: past (N, C) the normalized frame before, told (N, W), uniforms (N, 1) in [0, 1) choose a Gaussian, normals
    (N, C) and heat () are what a frame is away from its middle; lengths (N,) of ones; state.*
    -> normal (N, C) the next past, frame (N, C) log-mel, new_state.*
    """
    network, channels = model.network, model.settings.features.dim
    graph = Graph()
    writer = Writer(graph, CellWriter(graph, ranges=None), last="")
    parts = []
    for name, width, project in (("past", channels, network.past), ("told", model.labels.width(), network.told)):
        value = graph.input(name, "float32", ("N", width))
        parts.append(graph.op("Relu", writer.cells.linear("", project.linear, value)))
    x = graph.op("Unsqueeze", graph.op("Concat", *parts, axis=1), graph.ints(1))
    y = writer.write("core", network.core, Ragged(x, graph.input("lengths", "int64", ("N",))))
    drawn = _draw(graph, writer.cells, network.density, graph.op("Squeeze", y.data, graph.ints(1)))
    mean, scale = (graph.constant(_array(v)) for v in (network.normalise.mean, network.normalise.inverse_stddev))
    graph.output("normal", drawn, "float32", ("N", channels))
    graph.output("frame", graph.op("Add", graph.op("Div", drawn, scale), mean), "float32", ("N", channels))
    return Written(graph, writer.initial)


def _draw(g: Graph, cells: CellWriter, density: MixtureDensity, h: str) -> str:
    """(N, H) -> a normalized frame (N, C)."""
    k, channels = density.components, density.channels
    weights, means, raw = g.ops(
        "Split", cells.linear("", density.linear, h), g.ints(k, k * channels, k * channels), outputs=3, axis=1
    )
    below = g.op("CumSum", g.op("Softmax", weights, axis=1), g.integer(1))
    passed = g.op("Less", below, g.input("uniforms", "float32", ("N", 1)))
    chosen = g.op("ReduceSum", g.op("Cast", passed, to=INT64), g.ints(1), keepdims=0)  # (N,)
    chosen = g.op("Min", chosen, g.integer(k - 1))  # the sum of all may fall short of 1 by rounding
    index = g.op("Unsqueeze", chosen, g.ints(1, 2))  # (N, 1, 1)
    index = g.op("Expand", index, g.ints(1, 1, channels))
    mean, wide = (
        g.op("Squeeze", g.op("GatherElements", g.op("Reshape", v, g.ints(0, k, channels)), index, axis=1), g.ints(1))
        for v in (means, raw)
    )
    deviation = g.op("Add", g.op("Softplus", g.op("Add", wide, g.real(INITIAL_RAW))), g.real(density.least_deviation))
    away = g.op("Mul", g.input("normals", "float32", ("N", channels)), g.input("heat", "float32", ()))
    return g.op("Add", mean, g.op("Mul", deviation, away))


def _array(value: Tensor) -> Array:
    return value.detach().cpu().float().numpy()
