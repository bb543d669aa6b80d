"""The index of a folder of shards, in columns that are mapped into memory.

    FOLDER/index.safetensors    one row per utterance, in the order of the ids
    FOLDER/shard-000000.tar     webdataset's tars

Columns (N utterances): ``shard``, the number of the file; ``offset size`` of the recording in bytes and their
``crc32``; ``num_samples sample_rate`` of the recording; and three columns of UTF-8 strings, ``utt_id speaker text``,
each as the joined bytes and the N ends in them. The header's metadata holds names, sizes and SHA-256 of the shards as
JSON. Opening takes as long for a hundred million utterances as for one; a row is read when it is requested.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
from safetensors.numpy import save

from recitative.atomic import write_bytes
from recitative.audio.recording import AudioSlice
from recitative.data.tables import Utterance
from recitative.errors import DataError, Problem
from recitative.reading import LARGEST_SETTINGS, checked, opened, parsed_json, shown
from recitative.stage import Array

INDEX = "index.safetensors"
PARTS = "parts"  # what writing leaves until there is an index
OTHERS = "tars of another program"  # the fingerprint of an index of these
VERSION = "1"
METADATA_KEY = "index"  # of the metadata


_NUMBERS: Mapping[str, type[np.generic]] = {
    "shard": np.int32,
    "offset": np.int64,
    "size": np.int32,
    "crc32": np.uint32,
    "num_samples": np.int64,
    "sample_rate": np.int32,
}
_STRINGS = ("utt_id", "speaker", "text")
_COLUMNS: Mapping[str, type[np.generic]] = {
    **_NUMBERS,
    **{f"{name}.ends": np.int64 for name in _STRINGS},
    **{f"{name}.bytes": np.uint8 for name in _STRINGS},
}
_DTYPES: Mapping[str, type[np.generic]] = {"I32": np.int32, "I64": np.int64, "U32": np.uint32, "U8": np.uint8}
_REMEDY = "write the shards again with 'recitative shards'"


@dataclass(frozen=True)
class Shard:
    """One file of the folder."""

    name: str
    size: int  # bytes
    sha256: str


@dataclass(frozen=True)
class ShardEntry:
    """One row: an utterance and the location of its recording."""

    utt_id: str
    speaker: str
    text: str
    shard: int
    offset: int
    size: int
    crc32: int
    num_samples: int
    sample_rate: int


@dataclass(frozen=True)
class IndexMetadata:
    """The metadata of the index."""

    version: str
    shards: list[Shard]
    transcribed: bool
    fingerprint: str


@dataclass(frozen=True)
class _Place:
    """The location of a column in the file, in safetensors' header."""

    dtype: str
    shape: tuple[int]
    data_offsets: tuple[int, int]


class ShardIndex(Sequence[Utterance]):
    """The utterances of a folder of shards, sorted by id; each is created when it is requested."""

    def __init__(self, folder: Path, columns: Mapping[str, Array], facts: IndexMetadata) -> None:
        self.folder = folder
        self.shards = tuple(facts.shards)
        self.fingerprint = facts.fingerprint
        self.transcribed = facts.transcribed
        self._columns = columns

    @classmethod
    def open(cls, folder: Path) -> ShardIndex:
        """Map the index, and check that each shard exists with its size.

        A folder of tars that another program wrote gets its index first, and again when they have changed. Raises
        DataError for a file that is not an index of this version, and one with all shards that are missing or have
        another size. Their content is checked when it is read.
        """
        if not (folder / INDEX).is_file() and is_shards(folder):
            _index_others(folder)
        index = cls(folder, *_map(folder / INDEX))
        if index.fingerprint == OTHERS and not index.is_current():
            _index_others(folder)
            index = cls(folder, *_map(folder / INDEX))
        problems = [problem for shard in index.shards if (problem := _shard_problem(folder, shard))]
        if problems:
            raise DataError.collect(problems)
        return index

    def is_current(self) -> bool:
        """Whether the shards are all tars of the folder, with the sizes they have."""
        return {(one.name, one.size) for one in self.shards} == {
            (path.name, path.stat().st_size) for path in tars_of(self.folder)
        }

    @property
    def shard_numbers(self) -> Array:
        """(N,) int32, the number of the shard of each utterance."""
        return self._columns["shard"]

    @property
    def num_samples(self) -> Array:
        """(N,) int64, of each utterance."""
        return self._columns["num_samples"]

    @property
    def sample_rates(self) -> Array:
        """(N,) int32, in Hz."""
        return self._columns["sample_rate"]

    def __len__(self) -> int:
        return len(self._columns["shard"])

    @overload
    def __getitem__(self, number: int) -> Utterance: ...

    @overload
    def __getitem__(self, number: slice) -> tuple[Utterance, ...]: ...

    def __getitem__(self, number: int | slice) -> Utterance | tuple[Utterance, ...]:
        if isinstance(number, slice):
            return tuple(self._utterance(n) for n in range(*number.indices(len(self))))
        if not -len(self) <= number < len(self):
            raise IndexError(number)
        return self._utterance(number % len(self))

    def __iter__(self) -> Iterator[Utterance]:
        return map(self._utterance, range(len(self)))

    def _utterance(self, number: int) -> Utterance:
        shard, offset, size, crc32 = (int(self._columns[n][number]) for n in ("shard", "offset", "size", "crc32"))
        if not (0 <= shard < len(self.shards) and min(offset, size) >= 0):
            raise self._damaged(number)
        location = AudioSlice(str(self.folder / self.shards[shard].name), offset, size, crc32)
        text = self._string("text", number) if self.transcribed else None
        return Utterance(self._string("utt_id", number), self._string("speaker", number), str(location), text=text)

    def _string(self, name: str, number: int) -> str:
        ends = self._columns[f"{name}.ends"]
        start, stop = int(ends[number - 1]) if number else 0, int(ends[number])
        content = self._columns[f"{name}.bytes"]
        try:
            if not 0 <= start <= stop <= len(content):
                raise ValueError
            return content[start:stop].tobytes().decode("utf-8")
        except ValueError:
            raise self._damaged(number) from None

    def _damaged(self, number: int) -> DataError:
        return DataError(f"{self.folder / INDEX}: utterance {number + 1} of {len(self)}", "is damaged", "", _REMEDY)


def is_shards(path: str | Path) -> bool:
    """Whether a folder contains shards, not tables: with an index, or tars that another program wrote."""
    folder = Path(path)
    if (folder / INDEX).is_file():
        return True
    return not (folder / PARTS).exists() and not (folder / "wav.scp").exists() and bool(tars_of(folder))


def tars_of(path: Path) -> list[Path]:
    """The tars of a folder, or the path itself if it is one."""
    if path.is_file():
        return [path] if path.suffix.lower() == ".tar" else []
    return sorted(one for one in path.glob("*.tar") if not one.name.startswith("."))


def _index_others(folder: Path) -> None:
    from recitative.data.importing.tars import index_tars  # which needs this module

    index_tars(folder)


def write_index(
    folder: Path, entries: Sequence[ShardEntry], shards: Sequence[Shard], *, transcribed: bool, fingerprint: str
) -> None:
    """Write the index; atomic. ``fingerprint`` identifies the plan that the shards were made from."""
    entries = sorted(entries, key=lambda entry: entry.utt_id)
    columns: dict[str, Array] = {
        name: np.array([getattr(entry, name) for entry in entries], dtype) for name, dtype in _NUMBERS.items()
    }
    for name in _STRINGS:
        rows = [getattr(entry, name).encode("utf-8") for entry in entries]
        columns[f"{name}.ends"] = np.cumsum([len(row) for row in rows], dtype=np.int64)
        columns[f"{name}.bytes"] = np.frombuffer(b"".join(rows), np.uint8)
    facts = {
        "version": VERSION,
        "shards": [vars(shard) for shard in shards],
        "transcribed": transcribed,
        "fingerprint": fingerprint,
    }
    metadata = {METADATA_KEY: json.dumps(facts)}  # one key: the order of several would vary
    write_bytes(folder / INDEX, save(columns, metadata))


def _map(path: Path) -> tuple[dict[str, Array], IndexMetadata]:
    """The columns of a safetensors file as memory maps (its own reader copies them), and its metadata."""
    wanted = "an index of shards"
    with opened(path, wanted, _REMEDY) as file:
        length = int.from_bytes(file.read(8), "little")
        content = file.read(min(length, LARGEST_SETTINGS))  # any number, if it is another file
        size = os.fstat(file.fileno()).st_size
    try:
        header = parsed_json(content, str(path))
        told = parsed_json(header.pop("__metadata__")[METADATA_KEY], str(path))
        facts = checked(IndexMetadata, told, str(path), wanted, _REMEDY)
        if facts.version != VERSION:
            raise DataError(str(path), f"has version {shown(facts.version)}", f"version {VERSION}", _REMEDY)
        places = checked(dict[str, _Place], header, str(path), wanted, _REMEDY)
        columns = {name: _column(path, 8 + length, size, places[name], dtype) for name, dtype in _COLUMNS.items()}
        rows = {len(columns[name]) for name in _COLUMNS if not name.endswith(".bytes")}
        if len(rows) > 1:
            raise ValueError
    except DataError as error:
        if "version" in error.problems[0].found:
            raise
        raise DataError(str(path), "is not an index of shards, or is damaged", "", _REMEDY) from None
    except (ValueError, KeyError, TypeError, AttributeError, OSError):
        raise DataError(str(path), "is not an index of shards, or is damaged", "", _REMEDY) from None
    return columns, facts


def _column(path: Path, start: int, size: int, place: _Place, dtype: type[np.generic]) -> Array:
    """Raises ValueError for a column of another type, or one that exceeds the file's ``size`` bytes."""
    first, stop = place.data_offsets
    (count,) = place.shape
    if _DTYPES.get(place.dtype) is not dtype or stop - first != count * np.dtype(dtype).itemsize:
        raise ValueError
    if not 0 <= first <= stop <= size - start:
        raise ValueError
    if first == stop:
        return np.zeros(0, dtype)  # an empty range cannot be mapped
    return np.memmap(path, dtype, "r", offset=start + first, shape=(count,))


def _shard_problem(folder: Path, shard: Shard) -> Problem | None:
    path = folder / shard.name
    try:
        size = path.stat().st_size
    except (OSError, ValueError):
        return Problem(str(path), "does not exist", "every shard of the index", f"fetch it again, or {_REMEDY}")
    if size != shard.size:
        allowed = f"{shard.size} bytes, as when the index was made"
        return Problem(str(path), f"has {size} bytes", allowed, f"fetch it again, or {_REMEDY}")
    return None
