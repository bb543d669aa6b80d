"""Samples and features of utterances; features of a data directory in parallel, written as Kaldi archives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt

from recitative.audio.files import Samples, inspect, read_audio
from recitative.config import FeatureSettings
from recitative.data.directory import DataDirectory
from recitative.data.parallel import Engine, parallel_map
from recitative.data.shards import ShardIndex
from recitative.data.tables import Utterance, read_table, write_table
from recitative.errors import DataError, Problem, raise_all
from recitative.features.cmvn import write_archive
from recitative.features.frontend import FeatureExtractor
from recitative.lock import writes
from recitative.stage import Array

BATCH = 16  # utterances that are decoded together


def read_utterance(utterance: Utterance) -> Samples:
    """The samples (S,) float32 in [-1, 1]."""
    samples, _ = read_audio(utterance.recording_path, start_s=utterance.start_s, end_s=utterance.end_s)
    return samples


def read_batches(
    utterances: Sequence[Utterance], size: int = BATCH
) -> Iterator[tuple[Sequence[Utterance], list[Samples]]]:
    """Some utterances at a time, with their samples."""
    for start in range(0, len(utterances), size):
        batch = utterances[start : start + size]
        yield batch, [read_utterance(utterance) for utterance in batch]


def name_of_batch(batch: Sequence[Utterance]) -> str:
    return f"{len(batch)} utterances, '{batch[0].utt_id}' the first"


def audio_duration_s(utterance: Utterance, sample_rate: int) -> float:
    """Seconds of audio, from the header. Raises DataError if the recording has another sample rate."""
    info = inspect(utterance.recording_path)
    if info.sample_rate != sample_rate:
        raise DataError(
            f"{utterance.recording_path}: utterance '{utterance.utt_id}'",
            f"{info.sample_rate} Hz",
            f"{sample_rate} Hz (features.sample_rate)",
            "convert the recording, or set features.sample_rate for the whole corpus",
        )
    duration_s = info.num_samples / sample_rate
    return min(duration_s, duration_s if utterance.end_s is None else utterance.end_s) - utterance.start_s


def audio_durations_s(utterances: Sequence[Utterance], sample_rate: int) -> npt.NDArray[np.float64]:
    """Seconds of audio (N,), from headers or the index of shards; raises what ``audio_duration_s`` does."""
    if isinstance(utterances, ShardIndex) and bool((utterances.sample_rates == sample_rate).all()):
        return np.asarray(utterances.num_samples / sample_rate)
    return np.array([audio_duration_s(utterance, sample_rate) for utterance in utterances])


PIECE = 8  # utterances per piece of parallel work


def utterance_features(utterance: Utterance, settings: FeatureSettings) -> Array:
    """Features (T, C), T >= 1. Raises DataError that names the utterance for every fault of its audio."""
    prefix = f"utterance '{utterance.utt_id}'"
    where = f"{prefix}: {utterance.recording_path}"
    try:
        samples, rate = read_audio(utterance.recording_path, start_s=utterance.start_s, end_s=utterance.end_s)
    except DataError as error:
        named = [Problem(f"{prefix}: {p.where}", p.found, p.allowed, p.remedy) for p in error.problems]
        raise DataError.collect(named) from None
    if rate != settings.sample_rate:
        allowed = f"{settings.sample_rate} Hz (features.sample_rate)"
        raise DataError(where, f"{rate} Hz", allowed, "resample the recording or change the setting")
    features = FeatureExtractor(settings).compute(samples)
    if not len(features):
        found = f"{1000 * len(samples) / rate:g} ms is less than one frame"
        raise DataError(where, found, f"{settings.frame_length_ms:g} ms or more", "remove the utterance")
    return features


def extract(
    directory: DataDirectory, settings: FeatureSettings, engine: Engine | None = None
) -> Iterator[tuple[str, Array]]:
    """(utt_id, features (T, C)) of every utterance in the order of the directory; without an engine in this process.

    Continues after a fault, and raises all faults as one DataError after the last utterance.
    """
    utterances, problems = directory.utterances, list[Problem]()
    pieces = (utterances[start : start + PIECE] for start in range(0, len(utterances), PIECE))
    results = parallel_map(
        partial(_features_or_problems, settings),
        pieces,
        engine or Engine(),
        name=name_of_batch,
    )
    for utterance, result in zip(utterances, chain.from_iterable(results), strict=True):
        if isinstance(result, tuple):
            problems += result
        else:
            yield utterance.utt_id, result
    raise_all(problems)


@writes("out_dir")
def write_features(data_dir: Path, out_dir: Path, features: Iterable[tuple[str, Array]]) -> dict[str, int]:
    """Write ``out_dir``/feats.{ark,scp}, and feats.scp and utt2num_frames into ``data_dir`` as Kaldi does.

    Returns utt_id -> frames. If ``features`` raises, nothing is written and existing files remain.
    """
    frames = write_archive(out_dir / "feats.scp", out_dir / "feats.ark", features)
    locations = {row.key: row.value for row in read_table(out_dir / "feats.scp")}
    write_table(data_dir / "feats.scp", locations)
    write_table(data_dir / "utt2num_frames", {utt_id: str(count) for utt_id, count in frames.items()})
    return frames


def _features_or_problems(settings: FeatureSettings, piece: Sequence[Utterance]) -> list[Array | tuple[Problem, ...]]:
    results: list[Array | tuple[Problem, ...]] = []
    for utterance in piece:
        try:
            results.append(utterance_features(utterance, settings))
        except DataError as error:
            results.append(error.problems)
    return results
