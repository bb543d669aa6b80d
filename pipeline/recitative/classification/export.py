"""Export of classifiers in int8, compared with float32."""

from __future__ import annotations

from pathlib import Path

import torch

from recitative.classification.classifier import load_classifier
from recitative.classification.evaluation import classify_directory
from recitative.classification.network import ClassifierModel
from recitative.classification.task import load_scored_set
from recitative.data.directory import DataDirectory
from recitative.model.export.file import Ranges
from recitative.model.export.quantization import Advance, measure_ranges
from recitative.score.wer import ErrorCounts


class ClassifierCheck:
    """Wrong labels on a development set; see ``QuantizationCheck``."""

    rate = "accuracy"

    def __init__(self, model: ClassifierModel, dev: Path) -> None:
        self.model, self.dev = model, dev

    def ranges(self) -> Ranges:
        batches = load_scored_set(DataDirectory.read(self.dev), self.model, self.dev)
        return measure_ranges(self.model.network, (batch.features for batch in batches))

    def errors(self, content: bytes, advance: Advance) -> ErrorCounts:
        labeled = classify_directory(load_classifier(content, threads=torch.get_num_threads()), self.dev, advance)
        found = labeled.confusions
        return ErrorCounts(ref=found.total, substitutions=found.total - found.correct)
