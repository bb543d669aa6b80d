"""A model of events as one ONNX file: its network's ``step`` with the state as inputs and outputs, and its card."""

from __future__ import annotations

from pathlib import Path

import onnx

from recitative.atomic import write_bytes
from recitative.export.graph import file_content
from recitative.export.language_model import write_network
from recitative.export.music import in_int8
from recitative.models.events import EventsModel
from recitative.models.events_card import EventsCard


def build_events_file(model: EventsModel, *, notes: str = "", int8: bool = False) -> onnx.ModelProto:
    """The file's content: the graph of ``export.language_model.write_network``, and the card.

    int8: weights are stored as int8 with a scale a row, a quarter of the size; the arithmetic stays float32.
    """
    graph, initial = write_network(model.network, len(model.vocabulary))
    parameters = sum(parameter.numel() for parameter in model.network.parameters())
    made = graph.model(EventsCard(model.settings, initial, parameters, notes).to_metadata())
    return in_int8(made) if int8 else made


def export_events(model: EventsModel, output: Path, *, notes: str = "", int8: bool = False) -> int:
    """Write the file; atomic. Returns its size in bytes."""
    content = file_content(build_events_file(model, notes=notes, int8=int8))
    write_bytes(output, content)
    return len(content)
