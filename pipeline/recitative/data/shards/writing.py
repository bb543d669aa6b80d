"""Write shards: a plan that depends only on the data, then one piece of work per shard, in any order.

A shard is an uncompressed tar as webdataset reads it, three members an utterance: ``ID.flac`` (or ogg, mp3),
``ID.json`` with its metadata, ``ID.txt`` with its words. Utterances are assigned to shards at random, from a fixed
seed, so that a few shards are a fair sample of the whole.

An interrupted run that is started again ends in the same bytes: shards are written atomically, and their index rows are
kept in ``parts/`` until the index is written; a shard whose part exists is not made again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import quote

import numpy as np
import soundfile

from recitative.atomic import replacing, write_text
from recitative.audio.compressed import with_ogg_serial
from recitative.audio.files import AudioInfo, inspect, read_audio
from recitative.audio.recording import AudioSlice
from recitative.data.directory import DataDirectory
from recitative.data.parallel import Engine, parallel_map
from recitative.data.shards.index import INDEX, PARTS, Shard, ShardEntry, ShardIndex, write_index
from recitative.data.tables import Utterance
from recitative.errors import DataError, Problem
from recitative.lock import writes
from recitative.reading import read_json

Format = Literal["keep", "flac", "opus"]
FORMATS: tuple[Format, ...] = get_args(Format)

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
        index = _whole_index(folder)
        if index and index.fingerprint == fingerprint:
            return ShardSummary(len(index.shards), len(index), sum(shard.size for shard in index.shards), 0)
        (folder / INDEX).unlink()  # from here on the folder is incomplete
    (folder / PARTS).mkdir(parents=True, exist_ok=True)
    made = sum(_read_part(folder, plan) is None for plan in plans)
    shards: list[Shard] = []
    entries: list[ShardEntry] = []
    problems: list[Problem] = []
    results = parallel_map(
        partial(_shard_or_problems, folder),
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
    if problems:
        raise DataError.collect(problems)
    _remove_others(folder, {shard.name for shard in shards})
    transcribed = directory.utterances[0].text is not None
    write_index(folder, entries, shards, transcribed=transcribed, fingerprint=fingerprint)
    shutil.rmtree(folder / PARTS)
    return ShardSummary(len(shards), len(entries), sum(shard.size for shard in shards), made)


def _whole_index(folder: Path) -> ShardIndex | None:
    """None if it is damaged or lacks a shard: the shards are then written again, as its errors advise."""
    try:
        return ShardIndex.open(folder)
    except DataError:
        return None


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
    if problems:
        raise DataError.collect(problems)
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
    for shard, digest in zip(
        shards, parallel_map(_sha256, [folder / s.name for s in shards], engine or Engine()), strict=True
    ):
        if digest != shard.sha256:
            found = "has changed since the index was made: another SHA-256"
            yield Problem(str(folder / shard.name), found, shard.sha256, "fetch it again, or write the shards again")


@dataclass(frozen=True)
class _Part:
    """A written shard and its rows of the index."""

    fingerprint: str
    shard: Shard
    entries: tuple[ShardEntry, ...]


def _shard_or_problems(folder: Path, piece: tuple[int, ShardPlan]) -> _Part | tuple[Problem, ...]:
    number, plan = piece
    try:
        return _read_part(folder, plan) or _write_shard(folder, number, plan)
    except DataError as error:
        return error.problems


def _write_shard(folder: Path, number: int, plan: ShardPlan) -> _Part:
    from webdataset import TarWriter  # here, since it imports torch where there is one

    entries: list[ShardEntry] = []
    problems: list[Problem] = []
    path = folder / plan.name
    with replacing(path) as partial_path, partial_path.open("wb") as file:
        with TarWriter(file, encoder=False, mtime=0, user="", group="") as tar:
            for utterance in plan.utterances:
                try:
                    entries.append(_write_utterance(tar, number, utterance, plan.format))
                except DataError as error:
                    problems += error.problems
        if problems:
            raise DataError.collect(problems)
    part = _Part(plan.fingerprint, Shard(plan.name, path.stat().st_size, _sha256(path)), tuple(entries))
    write_text(_part_path(folder, plan), json.dumps(asdict(part)))
    return part


def _write_utterance(tar: Any, shard: int, utterance: Utterance, format: Format) -> ShardEntry:
    content, suffix, info = _encode(utterance, format)
    key = quote(utterance.utt_id, safe="").replace(".", "%2E")  # webdataset: the suffix starts at the first dot
    if len(key) + len(".flac") > _LONGEST_NAME:
        raise DataError(f"utterance '{utterance.utt_id}'", "has too long an id", "95 bytes at most", "rename it")
    facts = {"utt_id": utterance.utt_id, "speaker": utterance.speaker, "text": utterance.text,
             "num_samples": info.num_samples, "sample_rate": info.sample_rate}  # fmt: skip
    members = {suffix: content, "json": json.dumps(facts, ensure_ascii=False).encode("utf-8")}
    if utterance.text is not None:
        members["txt"] = utterance.text.encode("utf-8")
    offset = _offset_of_first_after(tar, members, suffix)
    tar.write({"__key__": key, **members})
    crc32 = zlib.crc32(content)
    return ShardEntry(utterance.utt_id, utterance.speaker, utterance.text or "", shard, offset, len(content), crc32,
                 info.num_samples, info.sample_rate)  # fmt: skip


def _offset_of_first_after(tar: Any, members: dict[str, bytes], suffix: str) -> int:
    """Where the content of member ``suffix`` will begin: members are written in order of their names, each as a header
    block and its content in whole blocks of 512 bytes."""
    before = sum(512 + -(-len(content) // 512) * 512 for name, content in members.items() if name < suffix)
    return int(tar.tarstream.offset) + before + 512


def _encode(utterance: Utterance, format: Format) -> tuple[bytes, str, AudioInfo]:
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
        content = read_json(_part_path(folder, plan))
        shard = Shard(**content["shard"])
        if content["fingerprint"] != plan.fingerprint or (folder / plan.name).stat().st_size != shard.size:
            return None
        return _Part(plan.fingerprint, shard, tuple(ShardEntry(**entry) for entry in content["entries"]))
    except (OSError, DataError, KeyError, TypeError):  # missing or incomplete: it is made again
        return None


def _part_path(folder: Path, plan: ShardPlan) -> Path:
    return folder / PARTS / f"{plan.name}.json"


def _remove_others(folder: Path, kept: set[str]) -> None:
    """Remove surplus shards of an earlier plan."""
    for path in folder.glob("shard-*.tar"):
        if re.fullmatch(r"shard-\d+\.tar", path.name) and path.name not in kept:
            path.unlink()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(facts: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps(facts).encode("utf-8")).hexdigest()
