"""Export with its proof: what a model's file costs beside the model is measured on a development set."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from recitative.asr.network import RecognizerModel
from recitative.asr.recognizer import word_errors
from recitative.asr.stream import load_transcriber
from recitative.classification.classifier import load_classifier
from recitative.classification.evaluation import classify_directory
from recitative.classification.network import ClassifierModel
from recitative.classification.task import load_scored_set
from recitative.data.directory import DataDirectory
from recitative.export.file import build_file
from recitative.features.extraction import audio_duration_s, read_utterance
from recitative.features.frontend import FeatureExtractor
from recitative.model.export.network import Ranges, measure_ranges
from recitative.model.export.smallest import Advance, Exported, Weights, require_dev, write_float32, write_smallest
from recitative.nn.ragged import pad_features
from recitative.score.wer import ErrorCounts
from recitative.stage import Padded

BATCH = 16  # utterances decoded together


def export_recognizer(
    recognizer: RecognizerModel,
    output: Path,
    *,
    dev: Path | None,
    weights: Weights = "auto",
    notes: str = "",
    advance: Advance = lambda done, total: None,
) -> Exported:
    """Write a model file; atomic. ``advance(done, total)`` counts recordings decoded.

    Raises UsageError if int8 is wanted without a development set, and DataError if it is demanded and costs more than
    0.2 % of WER; with 'auto' the file is float32 then.
    """
    build = partial(build_file, recognizer, notes=notes)
    if weights == "float32":
        return write_float32(output, build)
    trial = _SpeechTrial(recognizer, require_dev(dev))
    return write_smallest(output, build, trial, weights, "WER", advance)


def export_classifier(
    classifier: ClassifierModel,
    output: Path,
    *,
    dev: Path | None,
    weights: Weights = "auto",
    notes: str = "",
    advance: Advance = lambda done, total: None,
) -> Exported:
    """The same of a classifier, measured by how many recordings are given another label than theirs."""
    build = partial(build_file, classifier, notes=notes)
    if weights == "float32":
        return write_float32(output, build)
    trial = _LabelTrial(classifier, require_dev(dev))
    return write_smallest(output, build, trial, weights, "accuracy", advance)


@dataclass(frozen=True)
class _SpeechTrial:
    """See ``export.smallest.Trial``: words that are recognized."""

    recognizer: RecognizerModel
    where: Path

    def ranges(self) -> Ranges:
        for utterance in DataDirectory.read(self.where).utterances:
            audio_duration_s(
                utterance, self.recognizer.settings.features.sample_rate
            )  # an error now, not in the middle
        return measure_ranges(self.recognizer.network, self._features())

    def errors(self, content: bytes, advance: Advance) -> ErrorCounts:
        return word_errors(load_transcriber(content, threads=torch.get_num_threads()), self.where, advance)

    def _features(self) -> Iterator[Padded[Tensor]]:
        extractor = FeatureExtractor(self.recognizer.settings.features)
        device = next(self.recognizer.network.parameters()).device
        utterances = DataDirectory.read(self.where).utterances
        for start in range(0, len(utterances), BATCH):
            rows = [extractor.compute(read_utterance(u)) for u in utterances[start : start + BATCH]]
            x = pad_features(rows, rows[0].shape[1])
            yield Padded(x.data.to(device), x.lengths.to(device))


@dataclass(frozen=True)
class _LabelTrial:
    """The same of recordings that are named."""

    classifier: ClassifierModel
    where: Path

    def ranges(self) -> Ranges:
        batches = load_scored_set(DataDirectory.read(self.where), self.classifier, self.where)
        return measure_ranges(self.classifier.network, (batch.features for batch in batches))

    def errors(self, content: bytes, advance: Advance) -> ErrorCounts:
        labeled = classify_directory(load_classifier(content, threads=torch.get_num_threads()), self.where, advance)
        found = labeled.confusions
        return ErrorCounts(ref=found.total, substitutions=found.total - found.correct)
