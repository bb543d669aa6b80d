"""The ``step`` of a network that predicts tokens as a graph with the state as inputs and outputs."""

from __future__ import annotations

from recitative.model.export.cells import CellWriter
from recitative.model.export.graph import Graph, Ragged
from recitative.model.export.network import Written
from recitative.model.export.stages import Writer
from recitative.nn.stages import Chain


def write_network(network: Chain, num_tokens: int) -> Written:
    """In float32: tokens (N, T) int64, lengths (N,) int64, state.* -> log_probs (N, T, V), new_state.*. T is any number
    from 1 on; a length may be 0.
    """
    graph = Graph()
    x = Ragged(graph.input("tokens", "int64", ("N", "T")), graph.input("lengths", "int64", ("N",)))
    writer = Writer(graph, CellWriter(graph, ranges=None), last="")  # nothing is held back, so nothing is flushed
    y = writer.write("", network, x)
    graph.output("log_probs", y.data, "float32", ("N", "T", num_tokens))
    return Written(graph, writer.initial)
