"""A sound model as graphs: the one that draws the samples of a step, and the one that reads what is told.

The samples of a step are drawn one after another inside the graph, from uniform random numbers that are an input: as
many calls of a graph as there are samples would cost more than their arithmetic.
"""

from __future__ import annotations

import onnx

from recitative.audio.mulaw import LEVELS, companded
from recitative.model.export.cells import CellWriter
from recitative.model.export.graph import INT64, Graph, Ragged
from recitative.model.export.network import Written
from recitative.model.export.stages import Writer
from recitative.nn.heads import SampleHead
from recitative.nn.stages import Chain
from recitative.sound.network import WaveModel


def write_wave(model: WaveModel) -> Written:
    """In float32.

    Graph: told (N, W) what the encoder says here, unless nothing is told; past (N, history) what networks read of the
    samples before; last (N,) int64 the level before; given (N, step) int64 levels that are not drawn, -1: draw;
    uniforms (N, step) in [0, 1); cooling () 1 / temperature; lengths (N,) of ones; state.*
    -> levels (N, step) int64, new_state.*. Second graph: frames (N, T, C), lengths (N,) -> said (N, T, W).
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
    levels = _draw(graph, writer.cells, network.head, h, past)
    graph.output("levels", levels, "int64", ("N", sound.step))
    told_by = {} if network.encoder is None else {"encoder": _encoder_graph(network.encoder).SerializeToString()}
    return Written(graph, writer.initial, graphs=told_by)


def _encoder_graph(encoder: Chain) -> onnx.ModelProto:
    graph = Graph()
    frames = Ragged(graph.input("frames", "float32", ("N", "T", "C")), graph.input("lengths", "int64", ("N",)))
    said = Writer(graph, CellWriter(graph, ranges=None), last="").write("", encoder, frames)
    graph.output("said", said.data, "float32", ("N", "T", "W"))
    return graph.model({})


def _draw(g: Graph, cells: CellWriter, head: SampleHead, h: str, past: str) -> str:
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
