"""Export of recognizers in int8, compared with float32."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from recitative.asr.network import RecognizerModel
from recitative.asr.recognizer import word_errors
from recitative.asr.stream import load_transcriber
from recitative.data.directory import DataDirectory
from recitative.features.extraction import audio_durations_s, read_utterance
from recitative.features.frontend import FeatureExtractor
from recitative.model.export.file import Ranges
from recitative.model.export.quantization import Advance, measure_ranges
from recitative.nn.ragged import pad_features
from recitative.score.wer import ErrorCounts
from recitative.stage import Padded

BATCH = 16  # utterances per batch


class RecognizerCheck:
    """Word errors on a development set; see ``QuantizationCheck``."""

    rate = "WER"

    def __init__(self, model: RecognizerModel, dev: Path) -> None:
        self.model, self.dev = model, dev

    def ranges(self) -> Ranges:
        utterances, features = DataDirectory.read(self.dev).utterances, self.model.settings.features
        audio_durations_s(utterances, features.sample_rate)  # raises the errors of all recordings first
        extractor, device = FeatureExtractor(features), next(self.model.network.parameters()).device

        def batches() -> Iterator[Padded[Tensor]]:
            for start in range(0, len(utterances), BATCH):
                rows = [extractor.compute(read_utterance(u)) for u in utterances[start : start + BATCH]]
                x = pad_features(rows, features.dim)
                yield Padded(x.data.to(device), x.lengths.to(device))

        return measure_ranges(self.model.network, batches())

    def errors(self, content: bytes, advance: Advance) -> ErrorCounts:
        return word_errors(load_transcriber(content, threads=torch.get_num_threads()), self.dev, advance)
