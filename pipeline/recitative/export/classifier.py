"""A classifier as one ONNX file: its network's ``step`` with the state as inputs and outputs, and its card."""

from __future__ import annotations

import onnx

from recitative.export.network import Ranges, write_step
from recitative.models.classifier import Classifier
from recitative.models.classifier_card import ClassifierCard


def build_classifier_file(
    classifier: Classifier, *, ranges: Ranges | None = None, smoothing: float = 0.5, notes: str = ""
) -> onnx.ModelProto:
    """The file's content: the graph of ``write_step``, and the card."""
    network, settings = classifier.network, classifier.settings
    written = write_step(network, settings.features.dim, len(classifier.labels), ranges, smoothing)
    card = ClassifierCard(
        settings=settings,
        labels=classifier.labels,
        stride=network.stride,
        lookahead=network.lookahead,
        state=written.state,
        parameters=written.parameters,
        weights=written.weights,
        piece_frames=written.piece_frames,
        notes=notes,
    )
    return written.graph.model(card.to_metadata())
