"""A letter-to-sound model as a graph: the stage of ``asr.g2p_network``."""

from __future__ import annotations

from recitative.asr.g2p_network import G2PModel
from recitative.model.export.cells import CellWriter
from recitative.model.export.graph import Graph, Ragged
from recitative.model.export.network import Written
from recitative.model.export.stages import Writer


def write_g2p(model: G2PModel, *, int8: bool = False) -> Written:
    """Graph: tokens (N, T) int64, which are letters, lengths (N,) int64 -> log_probs (N, T, frames_per_letter * V).

    int8: weights are stored as int8 with a scale a row, a quarter of the size; the arithmetic stays float32.
    """
    network, phones = model.network, len(model.phones)
    graph = Graph()
    cells = CellWriter(graph, ranges=None)
    writer = Writer(graph, cells, last="")
    x = Ragged(graph.input("tokens", "int64", ("N", "T")), graph.input("lengths", "int64", ("N",)))
    x = writer.write("core", network.core, writer.write("embedding", network.embedding, x))
    scores = cells.linear("head", network.head, x.data)
    by_frame = graph.op("Reshape", scores, graph.ints(0, 0, network.frames_per_letter, phones))
    flat = graph.op("Reshape", graph.op("LogSoftmax", by_frame, axis=-1), graph.ints(0, 0, -1))
    graph.output("log_probs", flat, "float32", ("N", "T", network.head.out_features))
    return Written(graph, writer.initial, "int8" if int8 else "float32", lookahead=None)
