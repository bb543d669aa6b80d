"""A recogniser as one ONNX file: its network's ``step`` with the state as inputs and outputs, and its card."""

from __future__ import annotations

import onnx

from recitative.asr.folder import Recogniser
from recitative.asr.metadata import ModelCard
from recitative.model.export.network import Ranges, write_step


def build_model(
    recogniser: Recogniser,
    *,
    ranges: Ranges | None = None,
    smoothing: float = 0.5,
    notes: str = "",
) -> onnx.ModelProto:
    """The model file's content: the graph of ``write_step``, and the card."""
    network, settings = recogniser.network, recogniser.settings
    written = write_step(network, settings.features.dim, len(recogniser.tokens), ranges, smoothing)
    card = ModelCard(
        settings=settings,
        tokens=recogniser.tokens,
        stride=network.stride,
        lookahead=network.lookahead,
        state=written.state,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        weights=written.weights,
        piece_frames=written.piece_frames,
        notes=notes,
        language=recogniser.language,
    )
    return written.graph.model(card.to_metadata())
