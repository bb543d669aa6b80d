"""The dev set of a run: features computed once, kept in memory (0.12 GB an hour), never augmented."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from recitative.config import Settings
from recitative.ctc.loss import padded_labels
from recitative.data.directory import DataDirectory
from recitative.errors import DataError
from recitative.features.frontend import FeatureExtractor
from recitative.features.utterances import measure_all, read_utterance
from recitative.nn.ragged import pad_features
from recitative.recognition.batches import Batch
from recitative.text.lexicon import Spelling


@dataclass(frozen=True)
class DevSet:
    batches: tuple[Batch, ...]
    texts: dict[str, str]  # utt_id -> reference


def load_dev_set(data: DataDirectory, settings: Settings, spelling: Spelling, where: Path) -> DevSet:
    """Raises DataError for utterances without text, what the spelling cannot write, or a wrong sample rate."""
    seconds = measure_all(data.utterances, settings.features.sample_rate)
    by_length = [data.utterances[i] for i in seconds.argsort(kind="stable").tolist()]
    batches = []
    for start in range(0, len(by_length), 16):
        group = by_length[start : start + 16]
        extractor = FeatureExtractor(settings.features)
        missing = [u.utt_id for u in group if not u.text]
        if missing:
            raise DataError(f"{where}/text: '{missing[0]}'", "has no text", "a transcript", "add it")
        batches.append(
            Batch(
                pad_features([extractor.compute(read_utterance(u)) for u in group], settings.features.dim),
                padded_labels([spelling.encode(u.text or "", utt_id=u.utt_id) for u in group]),
                tuple(u.utt_id for u in group),
                settings.features.frame_shift_ms / 1000,
            )
        )
    return DevSet(tuple(batches), {u.utt_id: u.text or "" for u in data.utterances})
