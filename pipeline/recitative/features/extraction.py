"""Features of a data directory: computed in parallel, written as Kaldi archives, with their statistics (CMVN).

Kaldi's matrices are binary or text (matrix/kaldi-matrix.cc); archives of them are ``feats.ark`` with ``feats.scp``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from io import SEEK_END, BytesIO
from itertools import chain
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from recitative.atomic import replacing, write_text, writes
from recitative.audio.files import Samples, inspect, read_audio
from recitative.config import FeatureSettings
from recitative.data.directory import DataDirectory
from recitative.data.parallel import Engine, parallel_map
from recitative.data.shards import ShardIndex
from recitative.data.tables import Utterance, read_table, write_table
from recitative.errors import DataError, Problem, counted, raise_all
from recitative.features.frontend import FeatureExtractor
from recitative.reading import LARGEST_SETTINGS, read_bytes
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
    return f"{counted(len(batch), 'utterance')}, '{batch[0].utt_id}' the first"


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


VARIANCE_FLOOR = 1e-4
"""With Kaldi's floor of 1e-20, a channel that is constant in training (a band above the bandwidth of the recordings)
would explode at the first recording where it is not; variances of real channels, including deltas, are above 1e-2."""


@dataclass(frozen=True)
class CmvnStats:
    """Sums over all frames, float64; statistics of parts can be added.

    sums:        (C,) of x
    square_sums: (C,) of x^2
    count:       frames
    """

    sums: Array
    square_sums: Array
    count: float

    @classmethod
    def empty(cls, dim: int) -> CmvnStats:
        return cls(np.zeros(dim), np.zeros(dim), 0.0)

    @classmethod
    def of(cls, features: Array) -> CmvnStats:
        """The statistics of one utterance (T, C)."""
        x = features.astype(np.float64)
        return cls(x.sum(axis=0), (x * x).sum(axis=0), float(len(x)))

    def __add__(self, other: CmvnStats) -> CmvnStats:
        return CmvnStats(self.sums + other.sums, self.square_sums + other.square_sums, self.count + other.count)

    @property
    def dim(self) -> int:
        return len(self.sums)

    @property
    def mean(self) -> Array:
        """(C,) float32. Raises DataError if no frame was counted."""
        return np.asarray(self._mean(), np.float32)

    @property
    def inverse_stddev(self) -> Array:
        """(C,) float32: 1 / sqrt(max(E[x^2] - E[x]^2, VARIANCE_FLOOR)). Raises DataError if no frame was counted."""
        mean = self._mean()
        variance = np.maximum(self.square_sums / self.count - mean * mean, VARIANCE_FLOOR)
        return np.asarray(1.0 / np.sqrt(variance), np.float32)

    def write(self, path: Path) -> None:
        """Write Kaldi's 2 x (C + 1) matrix as text: the sums and the count, the square sums and a zero. Atomic."""
        rows = np.stack([np.append(self.sums, self.count), np.append(self.square_sums, 0.0)])
        write_text(path, encode_text(rows))

    @classmethod
    def read(cls, path: Path) -> CmvnStats:
        """Read a file of ``write`` or of Kaldi's ``compute-cmvn-stats`` (one matrix, text or binary).

        Raises DataError that names the file if it is not such a matrix, has no frames, or has invalid sums.
        """
        remedy = "make it with 'recitative cmvn'"
        content = read_bytes(path, "CMVN statistics", remedy, limit=LARGEST_SETTINGS)
        rows = read_matrix(BytesIO(content), str(path)).astype(np.float64)
        if rows.shape[0] != 2 or rows.shape[1] < 2:
            raise DataError(str(path), f"a matrix of {len(rows)} by {rows.shape[1]}", "2 by (channels + 1)", remedy)
        stats = cls(rows[0, :-1], rows[1, :-1], float(rows[0, -1]))
        if not np.isfinite(rows).all() or stats.count <= 0:
            raise DataError(str(path), f"CMVN statistics of {stats.count:g} frames", "finite, of 1 or more", remedy)
        return stats

    def _mean(self) -> Array:
        if self.count <= 0:
            raise DataError("CMVN statistics", "of no frames", "1 or more", "add an utterance first")
        return self.sums / self.count


def accumulate(features: Iterable[Array], dim: int) -> CmvnStats:
    """The statistics of many utterances (T, C = ``dim``)."""
    return sum((CmvnStats.of(x) for x in features), start=CmvnStats.empty(dim))


_BINARY = b"\0B"
_SIZES = "<bibi"  # 4 rows 4 columns: 4 is the size in bytes of the number that follows
_TYPES: dict[bytes, np.dtype[Any]] = {b"FM ": np.dtype("<f4"), b"DM ": np.dtype("<f8")}


def encode_binary(matrix: Array) -> bytes:
    """A matrix (T, C) in Kaldi's binary form, including the ``\\0B`` mark; float64 as DM, all others as float32, FM."""
    token = b"DM " if matrix.dtype == np.float64 else b"FM "
    rows, columns = matrix.shape
    values = np.ascontiguousarray(matrix, dtype=_TYPES[token]).tobytes()
    return b"".join([_BINARY, token, struct.pack(_SIZES, 4, rows, 4, columns), values])


def encode_text(matrix: Array) -> str:
    """A matrix (T, C) as Kaldi's text, with enough digits to restore the same numbers."""
    lines = "\n".join("  " + " ".join(repr(float(value)) for value in row) for row in matrix)
    return f" [\n{lines} ]\n"


def read_matrix(stream: IO[bytes], where: str) -> Array:
    """Read the matrix at the stream's position: float32 or float64 if binary, float64 if text.

    Raises DataError, located at ``where``, if there is no such matrix or it is truncated.
    """
    mark = stream.read(2)
    return _read_binary(stream, where) if mark == _BINARY else _read_text(mark + stream.read(), where)


def _read_binary(stream: IO[bytes], where: str) -> Array:
    token = stream.read(3)
    if token not in _TYPES:
        remedy = "write it with 'copy-feats --compress=false'"
        raise DataError(where, f"has a Kaldi object {token!r}", "a float matrix (FM or DM)", remedy)
    header = stream.read(struct.calcsize(_SIZES))
    if len(header) < struct.calcsize(_SIZES):
        raise _truncated(where)
    row_mark, rows, column_mark, columns = struct.unpack(_SIZES, header)
    if (row_mark, column_mark) != (4, 4) or rows < 0 or columns < 0:
        raise DataError(where, f"a matrix of {rows} by {columns}", remedy="the file is damaged: write it again")
    dtype = _TYPES[token]
    size = rows * columns * dtype.itemsize
    begin = stream.tell()
    if stream.seek(0, SEEK_END) - begin < size:  # a damaged header may claim more than fits into memory
        raise _truncated(where)
    stream.seek(begin)
    values = stream.read(size)
    matrix: Array = np.frombuffer(values, dtype).reshape(rows, columns)
    return matrix


def _read_text(content: bytes, where: str) -> Array:
    begin, end = content.find(b"["), content.find(b"]")
    if begin < 0 or end < begin or content[:begin].strip():
        raise DataError(where, "is not a Kaldi matrix", "binary (\\0B) or text '[ ... ]'", "write it again")
    lines = [line.split() for line in content[begin + 1 : end].splitlines() if line.strip()]
    try:
        rows = [[float(value) for value in line] for line in lines]
        return np.array(rows, np.float64).reshape(len(rows), -1 if rows else 0)
    except ValueError:
        remedy = "the file is damaged: write it again"
        raise DataError(where, "a matrix with words or rows of unequal length", remedy=remedy) from None


def _truncated(where: str) -> DataError:
    return DataError(where, "the matrix ends too early", remedy="the file is truncated: write it again")


def write_archive(scp: Path, ark: Path, items: Iterable[tuple[str, Array]]) -> dict[str, int]:
    """Write (utt_id, matrix (T, C)) pairs as binary float32 (or float64) matrices, uncompressed.

    Returns utt_id -> frames. Both files are atomic: if ``items`` raises, neither is written. Paths in the scp are
    absolute, as in Kaldi's scripts. Raises DataError for an id that is empty, has a blank, or is repeated.
    """
    offsets: dict[str, int] = {}
    frames: dict[str, int] = {}
    with replacing(ark) as partial:
        with partial.open("wb") as stream:
            for utt_id, matrix in items:
                if utt_id.split() != [utt_id]:
                    raise DataError(str(scp), f"utterance id {utt_id!r}", "one word", "rename the utterance")
                if utt_id in offsets:
                    raise DataError(str(scp), f"utterance '{utt_id}' is repeated", "unique ids", "rename one")
                stream.write(utt_id.encode("utf-8") + b" ")
                offsets[utt_id] = stream.tell()
                frames[utt_id] = len(matrix)
                stream.write(encode_binary(matrix))
        scp.unlink(missing_ok=True)  # an old scp would have wrong offsets for the new ark
    write_table(scp, {utt_id: f"{ark.resolve()}:{offset}" for utt_id, offset in offsets.items()})
    return frames
