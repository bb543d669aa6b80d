"""Samples of an utterance, checked against the model's sample rate. Nothing is resampled in silence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from recitative.audio.files import Samples, inspect, read_audio
from recitative.data.shards.index import ShardIndex
from recitative.data.utterance import Utterance
from recitative.errors import DataError


def read_utterance(utterance: Utterance) -> Samples:
    """(S,) float32 in [-1, 1]."""
    samples, _ = read_audio(utterance.recording_path, start_s=utterance.start_s, end_s=utterance.end_s)
    return samples


def measure(utterance: Utterance, sample_rate: int) -> float:
    """Seconds of audio by the header. Raises DataError if the recording has another sample rate."""
    info = inspect(utterance.recording_path)
    if info.sample_rate != sample_rate:
        raise DataError(
            f"{utterance.recording_path}: utterance '{utterance.utt_id}'",
            f"{info.sample_rate} Hz",
            f"{sample_rate} Hz, as features.sample_rate says",
            "convert the recording, or set features.sample_rate for the whole corpus",
        )
    duration_s = info.num_samples / sample_rate
    return min(duration_s, duration_s if utterance.end_s is None else utterance.end_s) - utterance.start_s


def measure_all(utterances: Sequence[Utterance], sample_rate: int) -> npt.NDArray[np.float64]:
    """Seconds of audio of each, by its header or the index of its shards; raises what ``measure`` does."""
    if isinstance(utterances, ShardIndex) and bool((utterances.sample_rates == sample_rate).all()):
        return np.asarray(utterances.num_samples / sample_rate)
    return np.array([measure(utterance, sample_rate) for utterance in utterances])
