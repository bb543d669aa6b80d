"""A language model as one ONNX file: its network's ``step`` with the state as inputs and outputs, and its card."""

from __future__ import annotations

from pathlib import Path

import onnx

from recitative.atomic import write_bytes
from recitative.export.cells import CellWriter
from recitative.export.graph import Graph, Ragged, file_content
from recitative.export.stages import Writer
from recitative.model.file import InitialState
from recitative.models.language_card import LanguageModelCard
from recitative.models.language_model import LanguageModelNetwork
from recitative.nn.chain import Chain


def write_network(network: Chain, num_tokens: int) -> tuple[Graph, dict[str, InitialState]]:
    """The ``step`` of a network that predicts tokens, in float32, and what its state begins with.

    Graph: tokens (N, T) int64, lengths (N,) int64, state.* -> log_probs (N, T, V), new_state.*. T is any number from
    1 on; a length may be 0.
    """
    graph = Graph()
    x = Ragged(graph.input("tokens", "int64", ("N", "T")), graph.input("lengths", "int64", ("N",)))
    writer = Writer(graph, CellWriter(graph, ranges=None), last="")  # nothing is held back, so nothing is flushed
    y = writer.write("", network, x)
    graph.output("log_probs", y.data, "float32", ("N", "T", num_tokens))
    return graph, writer.initial


def build_language_model_file(model: LanguageModelNetwork, *, notes: str = "") -> onnx.ModelProto:
    """The file's content: ``write_network``'s graph, and the card."""
    graph, initial = write_network(model.network, len(model.vocabulary))
    card = LanguageModelCard(
        settings=model.settings,
        vocabulary=model.vocabulary,
        state=initial,
        parameters=sum(parameter.numel() for parameter in model.network.parameters()),
        notes=notes,
    )
    return graph.model(card.to_metadata())


def export_language_model(model: LanguageModelNetwork, output: Path, *, notes: str = "") -> int:
    """Write the file; atomic. Returns its size in bytes."""
    content = file_content(build_language_model_file(model, notes=notes))
    write_bytes(output, content)
    return len(content)
