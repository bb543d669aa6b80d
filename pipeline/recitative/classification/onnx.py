"""A classifier's file, run by ONNX Runtime: labels of recordings and of streams, without PyTorch.

labeller = load_classifier(Path("words.onnx"))
labeller.label_file("recording.flac").guesses[0].label

stream = labeller.stream()
stream.accept(samples, 48000)      # as they come, in pieces of any length; returns the running label
stream.finish()                    # all labels at the end, likeliest first; then it is new again
"""

from __future__ import annotations

from pathlib import Path

from recitative.asr.onnx import OnnxFeatureNetwork
from recitative.classification.kind import CLASSIFIER
from recitative.classification.labeller import Labeller
from recitative.model.session import open_model


class OnnxClassifier(OnnxFeatureNetwork):
    """The network of a classifier's file, and its metadata."""

    def __init__(self, content: Path | bytes, *, threads: int = 1) -> None:
        """``content`` is a file of 'recitative export', or what is in one. Raises DataError for another."""
        session, self.metadata = open_model(content, CLASSIFIER, threads=threads)
        self.labels: tuple[str, ...] = self.metadata.extras["labels"]
        super().__init__(session, self.metadata, len(self.labels))


def load_classifier(model: str | Path | bytes, *, threads: int = 1) -> Labeller:
    """The whole chain from samples to labels around a classifier's file. Raises DataError for another."""
    network = OnnxClassifier(Path(model) if isinstance(model, str) else model, threads=threads)
    return Labeller(network, network.metadata.settings, network.labels)
