"""Export with its proof: int8 is written only if a development set says that it costs next to nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from recitative.atomic import write_bytes
from recitative.data.directory import DataDirectory, Utterance
from recitative.errors import DataError, UsageError
from recitative.export.model import build_model, measure_ranges
from recitative.features.frontend import FeatureExtractor
from recitative.features.utterances import measure, read_utterance
from recitative.models.folder import Recogniser
from recitative.nn.ragged import pad_features
from recitative.recognition.task import error_rates
from recitative.runtime.network import load_transcriber
from recitative.score.wer import ErrorCounts
from recitative.stage import Padded

Weights = Literal["auto", "int8", "float32"]
Advance = Callable[[int, int], None]

LARGEST_COST = 0.002  # of the WER, absolute: 0.2 %
SMOOTHINGS = (0.5, 0.7, 0.8, 0.3)  # tried in this order until one costs no more
BATCH = 16  # utterances decoded together


@dataclass(frozen=True)
class Exported:
    """What was written, and the word errors on the development set of each form that was tried."""

    weights: Literal["int8", "float32"]
    size: int  # bytes
    float32_size: int
    float32_wer: ErrorCounts | None
    int8_wer: ErrorCounts | None


def export_recogniser(
    recogniser: Recogniser,
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
    plain = build_model(recogniser, notes=notes).SerializeToString()
    if weights == "float32":
        write_bytes(output, plain)
        return Exported("float32", len(plain), len(plain), None, None)
    if dev is None:
        raise UsageError("int8 needs a development set to be measured on: give --dev, or --weights float32")
    utterances = DataDirectory.read(dev).utterances
    for utterance in utterances:
        measure(utterance, recogniser.settings.features.sample_rate)  # a wrong rate is an error now, not in the middle
    ranges = measure_ranges(recogniser, _features(recogniser, utterances))
    float32_wer = _decode(plain, utterances, lambda done: advance(done, 2 * len(utterances)))
    best: tuple[ErrorCounts, bytes] | None = None
    for smoothing in SMOOTHINGS:
        tried = build_model(recogniser, ranges=ranges, smoothing=smoothing, notes=notes).SerializeToString()
        wer = _decode(tried, utterances, lambda done: advance(len(utterances) + done, 2 * len(utterances)))
        if best is None or wer.rate < best[0].rate:
            best = wer, tried
        if best[0].rate - float32_wer.rate <= LARGEST_COST:
            break
    assert best is not None, "there is a first smoothing"
    int8_wer, small = best
    costs_little = int8_wer.rate - float32_wer.rate <= LARGEST_COST
    if weights == "int8" and not costs_little:
        raise DataError(
            str(output),
            f"int8 costs {100 * (int8_wer.rate - float32_wer.rate):.2f} % of WER on {dev}",
            f"at most {100 * LARGEST_COST:g} %",
            "use --weights float32, or more data in --dev",
        )
    content = small if costs_little else plain
    write_bytes(output, content)
    return Exported("int8" if costs_little else "float32", len(content), len(plain), float32_wer, int8_wer)


def _features(recogniser: Recogniser, utterances: Sequence[Utterance]) -> Iterator[Padded[Tensor]]:
    extractor = FeatureExtractor(recogniser.settings.features)
    device = next(recogniser.network.parameters()).device
    for start in range(0, len(utterances), BATCH):
        rows = [extractor.compute(read_utterance(u)) for u in utterances[start : start + BATCH]]
        x = pad_features(rows, rows[0].shape[1])
        yield Padded(x.data.to(device), x.lengths.to(device))


def _decode(content: bytes, utterances: Sequence[Utterance], advance: Callable[[int], None]) -> ErrorCounts:
    transcriber = load_transcriber(content, threads=torch.get_num_threads())
    hyps: dict[str, str] = {}
    for start in range(0, len(utterances), BATCH):
        group = utterances[start : start + BATCH]
        rows = transcriber.transcribe([read_utterance(u) for u in group])
        hyps |= {u.utt_id: spoken.text for u, spoken in zip(group, rows, strict=True)}
        advance(len(hyps))
    return error_rates({u.utt_id: u.text or "" for u in utterances}, hyps)[0]
