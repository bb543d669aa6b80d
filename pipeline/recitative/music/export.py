"""A music model as ONNX graphs: one reads frames, the other scores a decision and runs once for each voice."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from recitative.model.export.cells import CellWriter, quantize_rows
from recitative.model.export.graph import FLOAT, Graph, Ragged
from recitative.model.export.network import Written
from recitative.model.export.stages import Writer
from recitative.music.network import MusicModel
from recitative.nn.heads import PitchHead

MIN_QUANTIZED = 2048  # smaller constants stay in float32


def write_music(model: MusicModel, *, int8: bool = False) -> Written:
    """Graph: ids (N, T, F) int64, lengths (N,) int64, state.* -> hidden (N, T, H), new_state.*; without state if it is
    bidirectional. Graph 'choice': hidden (M, H), ids (M, G), beside (M, R) int64 -> scores (M, outputs).

    int8: weights are stored as int8 with a scale for each row, a quarter of the size; the arithmetic is float32.
    """
    graph = Graph()
    ids = graph.input("ids", "int64", ("N", "T", "F"))
    x = Ragged(ids, graph.input("lengths", "int64", ("N",)))
    writer = Writer(graph, CellWriter(graph, ranges=None), last="")
    h = writer.write("", model.network.context, x)
    graph.output("hidden", h.data, "float32", ("N", "T", model.network.choice.from_core.in_features))
    choice = _choice_graph(model.network.choice)
    content = (in_int8(choice) if int8 else choice).SerializeToString()
    return Written(graph, writer.initial, "int8" if int8 else "float32", graphs={"choice": content})


def _choice_graph(head: PitchHead) -> onnx.ModelProto:
    g = Graph()
    cells = CellWriter(g, ranges=None)
    writer = Writer(g, cells, last="")
    hidden = g.input("hidden", "float32", ("M", head.from_core.in_features))
    ids, beside = g.input("ids", "int64", ("M", "G")), g.input("beside", "int64", ("M", "R"))
    r = _gelu(g, g.op("Add", cells.linear("", head.from_core, hidden), writer.embedding_sum(head.choices, ids)))
    inner = g.op("Add", r, _gelu(g, cells.linear("", head.inner, r)))
    shape = g.ints(0, -1, 2 * head.pitches - 1)  # (M, R (2 K - 1)) -> (M, R, 2 K - 1)
    by_interval = g.op("Reshape", cells.linear("", head.between, inner), shape)
    known = g.op("Less", beside, g.integer(head.pitches))
    lowest = g.op("Sub", g.integer(head.pitches - 1), g.op("Where", known, beside, g.integer(0)))
    index = g.op("Add", g.op("Unsqueeze", lowest, g.ints(2)), g.constant(np.arange(head.pitches)))  # (M, R, K)
    gathered = g.op("GatherElements", by_interval, index, axis=2)
    weight = g.op("Unsqueeze", g.op("Cast", known, to=FLOAT), g.ints(2))
    intervals = g.op("ReduceSum", g.op("Mul", gathered, weight), g.ints(1), keepdims=0)
    padded = g.op("Pad", intervals, g.ints(0, 0, 0, 1))
    scores = g.op("Add", cells.linear("", head.alone, inner), padded)
    g.output("scores", scores, "float32", ("M", head.pitches + 1))
    return g.model({})


def _gelu(g: Graph, x: str) -> str:
    """x (1 + erf(x / sqrt 2)) / 2 (Hendrycks & Gimpel 2016)."""
    erf = g.op("Erf", g.op("Mul", x, g.real(float(np.sqrt(0.5)))))
    return g.op("Mul", g.op("Mul", x, g.real(0.5)), g.op("Add", erf, g.real(1.0)))


def in_int8(model: onnx.ModelProto) -> onnx.ModelProto:
    """Store large constants as levels and scales, which are multiplied when the file is opened."""
    graph = model.graph
    kept, before = [], []
    for tensor in graph.initializer:
        value = numpy_helper.to_array(tensor)
        if value.dtype != np.float32 or value.size < MIN_QUANTIZED or value.ndim < 2:
            kept.append(tensor)
            continue
        levels, scales = quantize_rows(value.reshape(-1, value.shape[-1]))
        kept += [
            numpy_helper.from_array(levels.reshape(value.shape), f"{tensor.name}_levels"),
            numpy_helper.from_array(scales.reshape(*value.shape[:-1], 1), f"{tensor.name}_scales"),
        ]
        before += [
            helper.make_node("Cast", [f"{tensor.name}_levels"], [f"{tensor.name}_float"], to=FLOAT),
            helper.make_node("Mul", [f"{tensor.name}_float", f"{tensor.name}_scales"], [tensor.name]),
        ]
    nodes = [*before, *graph.node]
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(kept)
    graph.node.extend(nodes)
    onnx.checker.check_model(model)
    return model
