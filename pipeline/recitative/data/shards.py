"""Shards: a folder of tars with recordings, and an index in columns that are mapped into memory.

    FOLDER/index.safetensors    one row per utterance, in the order of the ids
    FOLDER/shard-000000.tar     uncompressed tars as webdataset reads them

A tar has three members an utterance: ``ID.flac`` (or ogg, mp3), ``ID.json`` with its metadata, ``ID.txt`` with its
words. Utterances are assigned to shards at random, from a fixed seed, so that a few shards are a fair sample of the
whole.

Columns (N utterances): ``shard``, the number of the file; ``offset size`` of the recording in bytes and their
``crc32``; ``num_samples sample_rate``; and three columns of UTF-8 strings, ``utt_id speaker text``, each as the joined
bytes and the N ends in them. The header's metadata holds names, sizes and SHA-256 of the shards as JSON. The index
opens equally fast for any number of utterances; a row is read when it is requested.

An interrupted run of ``write_shards`` that is started again ends in the same bytes: shards are written atomically, and
their index rows are kept in ``parts/`` until the index is written; a shard whose part exists is not made again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache, partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload
from urllib.parse import quote

import numpy as np
import soundfile
from safetensors.numpy import save

from recitative.atomic import replacing, write_bytes, write_text, writes
from recitative.audio.containers import with_ogg_serial
from recitative.audio.files import AudioInfo, inspect, read_audio
from recitative.audio.recording import AudioSlice
from recitative.data.parallel import Engine, parallel_map
from recitative.data.tables import Utterance
from recitative.errors import DataError, Problem, counted, raise_all
from recitative.reading import LARGEST_SETTINGS, checked, opened, parsed_json, read_json, shown
from recitative.stage import Array

if TYPE_CHECKING:
    from recitative.data.directory import DataDirectory

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
        self.shard_numbers = columns["shard"]  # (N,) int32
        self.num_samples = columns["num_samples"]  # (N,) int64
        self.sample_rates = columns["sample_rate"]  # (N,) int32, Hz
        self._columns = columns

    @classmethod
    def open(cls, folder: Path) -> ShardIndex:
        """Map the index, and check that each shard exists with its size.

        A folder of tars that another program wrote gets its index first, and again when they have changed. Raises
        DataError for a file that is not an index of this version, and one with all shards that are missing or have
        another size. Their content is checked when it is read.
        """
        is_missing = is_shards(folder) and not (folder / INDEX).is_file()
        index = None if is_missing else cls(folder, *_map(folder / INDEX))
        if index is None or (index.fingerprint == OTHERS and not index._is_of(tars_of(folder))):
            from recitative.data.manifests import index_tars  # which needs this module

            index_tars(folder)
            index = cls(folder, *_map(folder / INDEX))
        problems = [problem for shard in index.shards if (problem := _shard_problem(folder, shard))]
        raise_all(problems)
        return index

    def _is_of(self, tars: Sequence[Path]) -> bool:
        return {(path.name, path.stat().st_size) for path in tars} == {(one.name, one.size) for one in self.shards}

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
    metadata = IndexMetadata(VERSION, list(shards), transcribed, fingerprint)
    content = {METADATA_KEY: json.dumps(asdict(metadata))}  # one key: the order of several would vary
    write_bytes(folder / INDEX, save(columns, content))


def _map(path: Path) -> tuple[dict[str, Array], IndexMetadata]:
    """The columns of a safetensors file as memory maps (its own reader copies them), and its metadata."""
    with opened(path, "an index of shards", _REMEDY) as file:
        length = int.from_bytes(file.read(8), "little")
        content = file.read(min(length, LARGEST_SETTINGS))  # any number, if it is another file
        size = os.fstat(file.fileno()).st_size
    columns = {}
    try:
        header = parsed_json(content, str(path))
        metadata = parsed_json(header.pop("__metadata__")[METADATA_KEY], str(path))
        facts = checked(IndexMetadata, metadata, str(path), "", "")
        if facts.version == VERSION:
            places = checked(dict[str, _Place], header, str(path), "", "")
            columns = {name: _column(path, 8 + length, size, places[name], dtype) for name, dtype in _COLUMNS.items()}
            if len({len(column) for name, column in columns.items() if not name.endswith(".bytes")}) > 1:
                raise ValueError
    except (DataError, ValueError, KeyError, TypeError, AttributeError, OSError):
        raise DataError(str(path), "is not an index of shards, or is damaged", "", _REMEDY) from None
    if facts.version != VERSION:
        raise DataError(str(path), f"has version {shown(facts.version)}", f"version {VERSION}", _REMEDY)
    return columns, facts


def _column(path: Path, start: int, size: int, place: _Place, dtype: type[np.generic]) -> Array:
    """Raises ValueError for a column of another type, or one that exceeds the file's ``size`` bytes."""
    first, stop = place.data_offsets
    (count,) = place.shape
    is_typed = _DTYPES.get(place.dtype) is dtype and stop - first == count * np.dtype(dtype).itemsize
    if not is_typed or not 0 <= first <= stop <= size - start:
        raise ValueError
    if first == stop:
        return np.zeros(0, dtype)  # an empty range cannot be mapped
    return np.memmap(path, dtype, "r", offset=start + first, shape=(count,))


def _shard_problem(folder: Path, shard: Shard) -> Problem | None:
    path, remedy = folder / shard.name, f"fetch it again, or {_REMEDY}"
    try:
        size = path.stat().st_size
    except (OSError, ValueError):
        return Problem(str(path), "does not exist", "every shard of the index", remedy)
    allowed = f"{counted(shard.size, 'byte')}, as when the index was made"
    return Problem(str(path), f"has {counted(size, 'byte')}", allowed, remedy) if size != shard.size else None


Format = Literal["keep", "flac", "opus"]
SEED = 1
OGG_SERIAL = 1
OPUS_RATES = (8000, 12000, 16000, 24000, 48000)  # Hz
_LONGEST_NAME = 100  # bytes, of a member of a plain tar
_COMPRESSED = {"FLAC": "flac", "OGG": "ogg", "MPEG": "mp3"}  # container -> suffix of a recording that is kept as it is
_SIXTEEN_BITS = frozenset({"PCM_16", "PCM_U8", "PCM_S8", "OPUS", "VORBIS", "MPEG_LAYER_III", "ULAW", "ALAW"})


@dataclass(frozen=True)
class ShardPlan:
    """A shard to be written: its utterances in order."""

    name: str
    utterances: tuple[Utterance, ...]
    format: Format
    fingerprint: str  # of everything that determines its bytes


@dataclass(frozen=True)
class ShardSummary:
    shards: int
    utterances: int
    size: int  # bytes
    made: int  # new shards


@writes("folder")
def write_shards(
    directory: DataDirectory,
    folder: Path,
    *,
    format: Format = "keep",
    shard_s: float = 3600.0,
    engine: Engine | None = None,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> ShardSummary:
    """Write all shards that do not exist yet, then the index.

    format:  "keep" copies compressed recordings and converts the others to FLAC; "flac" is lossless for 16 and 24 bits;
             "opus" is lossy, and a tenth of the size
    shard_s: approximate seconds of audio per shard
    Raises one DataError for all recordings that cannot be read and ids too long for a tar; the index is written only if
    there are none.
    """
    plans = plan_shards(directory, format=format, shard_s=shard_s)
    fingerprint = _digest([plan.fingerprint for plan in plans])
    if (folder / INDEX).is_file():
        with suppress(DataError):  # damaged, or without a shard: all are written again, as its errors advise
            index = ShardIndex.open(folder)
            if index.fingerprint == fingerprint:
                return ShardSummary(len(index.shards), len(index), sum(shard.size for shard in index.shards), 0)
        (folder / INDEX).unlink()  # from here on the folder is incomplete
    (folder / PARTS).mkdir(parents=True, exist_ok=True)
    made = sum(_read_part(folder, plan) is None for plan in plans)
    shards: list[Shard] = []
    entries: list[ShardEntry] = []
    problems: list[Problem] = []
    results = parallel_map(
        partial(_make_shard, folder),
        list(enumerate(plans)),
        engine or Engine(),
        name=lambda piece: piece[1].name,
        advance=lambda done: advance(done, len(plans)),
    )
    for result in results:
        if isinstance(result, _Part):
            shards.append(result.shard)
            entries += result.entries
        else:
            problems += result
    raise_all(problems)
    for path in folder.glob("shard-*.tar"):  # of an earlier plan
        if re.fullmatch(r"shard-\d+\.tar", path.name) and path.name not in {shard.name for shard in shards}:
            path.unlink()
    transcribed = directory.utterances[0].text is not None
    write_index(folder, entries, shards, transcribed=transcribed, fingerprint=fingerprint)
    shutil.rmtree(folder / PARTS)
    return ShardSummary(len(shards), len(entries), sum(shard.size for shard in shards), made)


def plan_shards(directory: DataDirectory, *, format: Format, shard_s: float) -> list[ShardPlan]:
    """Assign the utterances to shards of equal numbers, about ``shard_s`` seconds of audio each.

    Raises one DataError for all recordings whose header cannot be read.
    """
    utterances = directory.utterances
    header, stamp = cache(inspect), cache(_stamp)  # once per recording, however many segments it has
    seconds, problems = 0.0, list[Problem]()
    for utterance in utterances:
        try:
            end_s = header(utterance.recording_path).duration_s if utterance.end_s is None else utterance.end_s
            seconds += end_s - utterance.start_s
        except DataError as error:
            problems += error.problems
    raise_all(problems)
    count = min(len(utterances), max(1, round(seconds / shard_s)))
    order = np.random.default_rng(SEED).permutation(len(utterances))
    plans = []
    for number, part in enumerate(np.array_split(order, count)):
        chosen = tuple(utterances[int(i)] for i in part)
        facts = [format, [[*asdict(u).values(), *stamp(u.recording_path)] for u in chosen]]
        plans.append(ShardPlan(f"shard-{number:06d}.tar", chosen, format, _digest(facts)))
    return plans


def verify_shards(folder: Path, engine: Engine | None = None) -> Iterator[Problem]:
    """Read every shard completely; yields a problem for each whose checksum differs from the index."""
    shards = ShardIndex.open(folder).shards
    digests = parallel_map(sha256_of, [folder / shard.name for shard in shards], engine or Engine())
    for shard, digest in zip(shards, digests, strict=True):
        if digest != shard.sha256:
            found = "has changed since the index was made: another SHA-256"
            yield Problem(str(folder / shard.name), found, shard.sha256, "fetch it again, or write the shards again")


@dataclass(frozen=True)
class _Part:
    """A written shard and its rows of the index."""

    fingerprint: str
    shard: Shard
    entries: tuple[ShardEntry, ...]


def _make_shard(folder: Path, piece: tuple[int, ShardPlan]) -> _Part | tuple[Problem, ...]:
    """The part of an earlier run or a new one, or the problems of its utterances."""
    number, plan = piece
    if done := _read_part(folder, plan):
        return done
    from webdataset import TarWriter  # here, since it imports torch where there is one

    entries: list[ShardEntry] = []
    problems: list[Problem] = []
    path = folder / plan.name
    with suppress(DataError), replacing(path) as partial_path, partial_path.open("wb") as file:
        with TarWriter(file, encoder=False, mtime=0, user="", group="") as tar:
            for utterance in plan.utterances:
                try:
                    entries.append(_write_utterance(tar, number, utterance, plan.format))
                except DataError as error:
                    problems += error.problems
        if problems:
            raise DataError.collect(problems)  # so that the shard is not kept
    if problems:
        return tuple(problems)
    part = _Part(plan.fingerprint, Shard(plan.name, path.stat().st_size, sha256_of(path)), tuple(entries))
    write_text(folder / PARTS / f"{plan.name}.json", json.dumps(asdict(part)))
    return part


def _write_utterance(tar: Any, shard: int, utterance: Utterance, format: Format) -> ShardEntry:
    content, suffix, info = encode_utterance(utterance, format)
    key = quote(utterance.utt_id, safe="").replace(".", "%2E")  # webdataset: the suffix starts at the first dot
    if len(key) + len(".flac") > _LONGEST_NAME:
        raise DataError(f"utterance '{utterance.utt_id}'", "has too long an id", "95 bytes at most", "rename it")
    facts = {"utt_id": utterance.utt_id, "speaker": utterance.speaker, "text": utterance.text,
             "num_samples": info.num_samples, "sample_rate": info.sample_rate}  # fmt: skip
    members = {suffix: content, "json": json.dumps(facts, ensure_ascii=False).encode("utf-8")}
    if utterance.text is not None:
        members["txt"] = utterance.text.encode("utf-8")
    # Members are written in order of their names, each as a header and its content in whole blocks of 512 bytes.
    before = sum(512 + -(-len(member) // 512) * 512 for name, member in members.items() if name < suffix)
    offset = int(tar.tarstream.offset) + before + 512
    tar.write({"__key__": key, **members})
    crc32 = zlib.crc32(content)
    return ShardEntry(utterance.utt_id, utterance.speaker, utterance.text or "", shard, offset, len(content), crc32,
                 info.num_samples, info.sample_rate)  # fmt: skip


def encode_utterance(utterance: Utterance, format: Format) -> tuple[bytes, str, AudioInfo]:
    """The recording's bytes, their suffix, and the properties of the decoded audio."""
    path = utterance.recording_path
    info = inspect(path)
    whole = utterance.start_s == 0.0 and utterance.end_s is None
    inside = AudioSlice.parse(path)
    container = soundfile.info(BytesIO(inside.read()) if inside else path).format  # WAV, FLAC, OGG, MPEG, ...
    if format == "keep" and whole and info.channels == 1 and container in _COMPRESSED:
        return inside.read() if inside else Path(path).read_bytes(), _COMPRESSED[container], info
    samples, rate = read_audio(path, start_s=utterance.start_s, end_s=utterance.end_s)
    file = BytesIO()
    if format == "opus":
        if rate not in OPUS_RATES:
            allowed = f"{', '.join(map(str, OPUS_RATES))} Hz"
            raise DataError(path, f"has {rate} Hz, which Opus lacks", allowed, "use --format flac, or resample it")
        soundfile.write(file, samples, rate, format="OGG", subtype="OPUS")
        content, suffix = with_ogg_serial(file.getvalue(), OGG_SERIAL), "ogg"
    else:
        subtype = "PCM_16" if info.encoding in _SIXTEEN_BITS else "PCM_24"
        soundfile.write(file, samples, rate, format="FLAC", subtype=subtype)
        content, suffix = file.getvalue(), "flac"
    return content, suffix, AudioInfo(rate, 1, len(samples), info.encoding)


def _stamp(path: str) -> tuple[int, int]:
    """Size and modification time: a changed file changes the plan."""
    if AudioSlice.parse(path):
        return 0, 0
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns


def _read_part(folder: Path, plan: ShardPlan) -> _Part | None:
    """The part of an earlier run, if its shard exists and has the same fingerprint."""
    try:
        content = read_json(folder / PARTS / f"{plan.name}.json")
        shard = Shard(**content["shard"])
        if content["fingerprint"] != plan.fingerprint or (folder / plan.name).stat().st_size != shard.size:
            return None
        return _Part(plan.fingerprint, shard, tuple(ShardEntry(**entry) for entry in content["entries"]))
    except (OSError, DataError, KeyError, TypeError):  # missing or incomplete: it is made again
        return None


def sha256_of(path: Path) -> str:
    """The SHA-256 sum of a file, in lower-case hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(facts: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps(facts).encode("utf-8")).hexdigest()
