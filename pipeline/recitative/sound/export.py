"""Models of sound as ONNX graphs: one draws the samples of a step, with its encoder, another draws a mel frame."""

from __future__ import annotations

from torch import Tensor

from recitative.audio.mulaw import LEVELS, companded
from recitative.model.export.cells import CellWriter
from recitative.model.export.graph import INT64, Graph, Ragged
from recitative.model.export.network import Written
from recitative.model.export.stages import Writer
from recitative.nn.heads import INITIAL_RAW, MixtureDensity, SampleHead
from recitative.nn.stages import Chain
from recitative.sound.network import SpectrogramModel, WaveModel
from recitative.stage import Array


def write_wave(model: WaveModel) -> Written:
    """A model of samples, in float32. The samples of a step are drawn inside the graph, from random numbers that are an
    input: one call for each sample would cost more than its arithmetic.

    Graph: told (N, W) the encoder's output at this step, if there is an encoder; past (N, history) companded values of
    the last samples; last (N,) int64 the last level; given (N, step) int64 fixed levels, -1: draw; uniforms (N, step)
    in [0, 1); cooling () 1 / temperature; lengths (N,) of ones; state.* -> levels (N, step) int64, new_state.*.
    Graph 'encoder': frames (N, T, C), lengths (N,) -> said (N, T, W).
    """
    network, sound = model.network, model.settings.sound
    graph = Graph()
    writer = Writer(graph, CellWriter(graph, ranges=None), last="")
    past = graph.input("past", "float32", ("N", sound.history))
    heard = past
    if network.encoder is not None:
        told = graph.input("told", "float32", ("N", model.settings.model.condition_width))
        heard = graph.op("Concat", told, past, axis=1)
    x = Ragged(graph.op("Unsqueeze", heard, graph.ints(1)), graph.input("lengths", "int64", ("N",)))
    h = graph.op("Squeeze", writer.write("core", network.core, x).data, graph.ints(1))  # (N, H)
    levels = _draw_samples(graph, writer.cells, network.head, h, past)
    graph.output("levels", levels, "int64", ("N", sound.step))
    if network.encoder is None:
        return Written(graph, writer.initial)
    return Written(graph, writer.initial, graphs={"encoder": _encoder_graph(network.encoder)})


def _encoder_graph(encoder: Chain) -> bytes:
    graph = Graph()
    frames = Ragged(graph.input("frames", "float32", ("N", "T", "C")), graph.input("lengths", "int64", ("N",)))
    y = Writer(graph, CellWriter(graph, ranges=None), last="").write("", encoder, frames)
    graph.output("said", y.data, "float32", ("N", "T", "W"))
    content: bytes = graph.model({}).SerializeToString()
    return content


def _draw_samples(g: Graph, cells: CellWriter, head: SampleHead, h: str, past: str) -> str:
    """(N, step) levels."""
    step = head.step
    last = g.input("last", "int64", ("N",))
    given = g.ops("Split", g.input("given", "int64", ("N", step)), outputs=step, axis=1, num_outputs=step)
    uniforms = g.ops("Split", g.input("uniforms", "float32", ("N", step)), outputs=step, axis=1, num_outputs=step)
    cooling = g.input("cooling", "float32", ())
    said = g.ops("Split", cells.linear("", head.from_core, h), outputs=step, axis=1, num_outputs=step)  # (N, W) each
    from_samples = g.constant(head.from_samples.weight.detach().float().numpy().T)
    from_level = g.constant(head.from_level.detach().float().numpy())
    values = g.constant(companded())
    drawn = []
    for number in range(step):
        heard = g.op("Add", g.op("MatMul", past, from_samples), g.op("Gather", from_level, last))
        r = g.op("Relu", g.op("Add", said[number], heard))
        scores = cells.linear("", head.scores, g.op("Relu", cells.linear("", head.inner, r)))
        probabilities = g.op("Softmax", g.op("Mul", scores, cooling), axis=1)
        below = g.op("Less", g.op("CumSum", probabilities, g.integer(1)), uniforms[number])
        level = g.op("ReduceSum", g.op("Cast", below, to=INT64), g.ints(1), keepdims=1)  # (N, 1)
        level = g.op("Min", level, g.integer(LEVELS - 1))  # the sum of all may fall short of 1 by rounding
        level = g.op("Where", g.op("Less", given[number], g.integer(0)), level, given[number])
        drawn.append(level)
        last = g.op("Squeeze", level, g.ints(1))
        past = g.op("Concat", g.op("Slice", past, g.ints(1), g.ints(head.history), g.ints(1)),
                    g.op("Gather", values, level), axis=1)  # fmt: skip
    return g.op("Concat", *drawn, axis=1)


def write_spectrogram(model: SpectrogramModel) -> Written:
    """A model of mel frames, in float32.

    Graph: past (N, C) the last normalized frame; told (N, W) conditioning; uniforms (N, 1) in [0, 1), which select a
    Gaussian; normals (N, C) and heat (), the temperature; lengths (N,) of ones; state.*
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
    drawn = _draw_frame(graph, writer.cells, network.density, graph.op("Squeeze", y.data, graph.ints(1)))
    mean, scale = (graph.constant(_array(v)) for v in (network.normalise.mean, network.normalise.inverse_stddev))
    graph.output("normal", drawn, "float32", ("N", channels))
    graph.output("frame", graph.op("Add", graph.op("Div", drawn, scale), mean), "float32", ("N", channels))
    return Written(graph, writer.initial)


def _draw_frame(g: Graph, cells: CellWriter, density: MixtureDensity, h: str) -> str:
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
