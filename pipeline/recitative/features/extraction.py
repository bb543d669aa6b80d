"""Features of every utterance of a data directory, by several processes, and written as Kaldi keeps them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy.typing as npt

from recitative.audio.files import read_audio
from recitative.bulk import Engine, map_pieces
from recitative.config import FeatureSettings
from recitative.data.directory import DataDirectory, Utterance
from recitative.data.tables import read_table, write_table
from recitative.errors import DataError, Problem
from recitative.features.archive import write_archive
from recitative.features.frontend import FeatureExtractor
from recitative.lock import writes

Array = npt.NDArray[Any]

PIECE = 8  # utterances sent to a worker at once


def utterance_features(utterance: Utterance, settings: FeatureSettings) -> Array:
    """(T, C) with T >= 1. Raises DataError that names the utterance for every fault of its audio."""
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
    """(utt_id, features (T, C)) of every utterance in the directory's order; without an engine by this process.

    Goes on after a fault to find the others, and raises them as one DataError after the last utterance.
    """
    problems: list[Problem] = []
    compute = partial(_features_or_problems, settings)
    results = chain.from_iterable(map_pieces(compute, _pieces(directory), engine or Engine(), name=_name))
    for utterance, result in zip(directory.utterances, results, strict=True):
        if isinstance(result, tuple):
            problems += result
        else:
            yield utterance.utt_id, result
    if problems:
        raise DataError.collect(problems)


@writes("out_dir")
def write_features(data_dir: Path, out_dir: Path, features: Iterable[tuple[str, Array]]) -> dict[str, int]:
    """Write ``out_dir``/feats.{ark,scp}, and feats.scp and utt2num_frames into ``data_dir`` as Kaldi does.

    Returns utt_id -> frames. If ``features`` raises, nothing is written and what was there stays.
    """
    frames = write_archive(out_dir / "feats.scp", out_dir / "feats.ark", features)
    locations = {row.key: row.value for row in read_table(out_dir / "feats.scp")}
    write_table(data_dir / "feats.scp", locations)
    write_table(data_dir / "utt2num_frames", {utt_id: str(count) for utt_id, count in frames.items()})
    return frames


def _pieces(directory: DataDirectory) -> Iterator[Sequence[Utterance]]:
    utterances = directory.utterances
    return (utterances[start : start + PIECE] for start in range(0, len(utterances), PIECE))


def _name(piece: Sequence[Utterance]) -> str:
    return f"{len(piece)} utterances, '{piece[0].utt_id}' the first"


def _features_or_problems(settings: FeatureSettings, piece: Sequence[Utterance]) -> list[Array | tuple[Problem, ...]]:
    return [_utterance_features_or_problems(utterance, settings) for utterance in piece]


def _utterance_features_or_problems(utterance: Utterance, settings: FeatureSettings) -> Array | tuple[Problem, ...]:
    try:
        return utterance_features(utterance, settings)
    except DataError as error:
        return error.problems
