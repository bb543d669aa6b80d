"""Tars of recordings that other programs wrote for webdataset: a source to import, and the index of a folder of them.

A sample is a recording with the members of its name: ID.flac with ID.txt, ID.json or ID.cls. They may stand in any
order. As ID counts what is before the last dot or, if nothing else has it, before the first, as in webdataset.
"""

from __future__ import annotations

import hashlib
import tarfile
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from recitative.audio.files import SUFFIXES, AudioInfo, inspect
from recitative.audio.recording import MEDIA_SUFFIXES, AudioSlice
from recitative.data.importing.sources import Entry, Source
from recitative.data.importing.table import NAMES
from recitative.data.shards.index import OTHERS, Shard, ShardEntry, tars_of, write_index
from recitative.data.tables import column_fault
from recitative.errors import DataError, Problem, os_problem
from recitative.reading import LARGEST_SETTINGS, decoded, opened, parsed_json

TEXTS = (".txt", ".cls")  # transcripts, or the number of a class; before what .json says
_BLOCK = 1 << 20  # bytes


@dataclass(frozen=True)
class Sample:
    """A recording in a tar, and what its other members say."""

    where: str  # tar and member
    name: str  # ID
    location: AudioSlice
    text: str | None
    speaker: str | None
    utt_id: str | None  # that our own shards name

    def inspected(self) -> AudioInfo:
        """Its header. Raises DataError for what is not a recording of one channel, or has no text for a table."""
        try:
            info = inspect(str(self.location))
        except DataError as error:
            problem = error.problems[0]
            raise DataError(self.where, problem.found, problem.allowed, problem.remedy) from None
        if info.channels != 1:
            raise DataError(self.where, f"has {info.channels} channels", "one")
        if fault := column_fault("text", self.text or ""):
            raise DataError(self.where, fault.found, fault.allowed, fault.remedy)
        return info


@dataclass
class TarContents:
    """The samples of tars, one problem for every member that cannot be used, and the texts without a recording."""

    samples: list[Sample] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    lonely: list[str] = field(default_factory=list)


def read_tars(root: Path) -> Source:
    """A folder of tars, or one of them, as a source to import. Raises DataError for a file that is not a plain tar."""
    contents = _contents(root)
    missing = [sample for sample in contents.samples if sample.text is None]
    allowed, remedy = "NAME.txt, or 'text' in NAME.json", "add it"
    bad = [*contents.problems, *(Problem(one.where, "has no transcript", allowed, remedy) for one in missing)]
    entries = [
        Entry(one.where, Path(str(one.location)), one.text, one.speaker, one.name)
        for one in contents.samples
        if one.text is not None
    ]
    notes = []
    if contents.lonely:
        shown = ", ".join(contents.lonely[:5])
        notes = [f"{root}: texts without a recording, not used: {len(contents.lonely)} ({shown})"]
    return Source(root, tuple(entries), tuple(bad), tuple(notes))


def index_tars(folder: Path) -> None:
    """Write the index of a folder of tars that has none, so that it can be read as a data directory.

    Raises one DataError for all samples that cannot be used, and if some but not all have a transcript or a speaker.
    """
    from recitative.data.importing.corpus import ONE_SPEAKER, speaker_ids, utterance_ids  # which reads directories

    contents = _contents(folder)
    samples, problems = contents.samples, list(contents.problems)
    for name, remedy in (("text", "transcript"), ("speaker", "speaker")):
        without = [one for one in samples if getattr(one, name) is None]
        if len(without) < len(samples):
            problems += [Problem(one.where, f"has no {remedy}", "one in all samples, or in none") for one in without]
    headers: list[AudioInfo] = []
    for sample in samples:
        try:
            headers.append(sample.inspected())
        except DataError as error:
            problems += error.problems
    if problems or not samples:
        remedy = f"'recitative data import {folder} DATA --skip-bad' takes the others, and converts recordings"
        found = f"samples that cannot be used: {len(problems)}" if samples else "has tars without recordings"
        raise DataError.collect([Problem(str(folder), found, "none" if samples else "", remedy), *problems])
    known = speaker_ids([one.speaker or ONE_SPEAKER for one in samples])
    speakers = [known[one.speaker or ONE_SPEAKER] for one in samples]
    made = utterance_ids(speakers, [one.name for one in samples], [one.where for one in samples])
    paths = tars_of(folder)
    numbers = {str(path): number for number, path in enumerate(paths)}
    entries = []
    for one, info, speaker, utt_id in zip(samples, headers, speakers, made, strict=True):
        ids = (one.utt_id, str(one.speaker)) if one.utt_id else (utt_id, speaker)
        at = one.location
        place = (numbers[at.path], at.offset, at.size, at.crc32)
        entries.append(ShardEntry(*ids, one.text or "", *place, info.num_samples, info.sample_rate))
    shards = [Shard(path.name, path.stat().st_size, _sha256(path)) for path in paths]
    try:
        write_index(folder, entries, shards, transcribed=samples[0].text is not None, fingerprint=OTHERS)
    except OSError as error:
        problem = os_problem(error, str(folder))
        remedy = f"make a data directory: 'recitative data import {folder} DATA'"
        raise DataError(problem.where, f"has no index, and {problem.found}", "", remedy) from None


def _contents(root: Path) -> TarContents:
    contents = TarContents()
    for path in tars_of(root):
        _read_tar(path, contents)
    return contents


def _read_tar(path: Path, contents: TarContents) -> None:
    recordings: dict[str, list[tuple[str, AudioSlice]]] = defaultdict(list)  # ID -> its members
    others: dict[str, dict[str, bytes]] = defaultdict(dict)  # ID -> suffix -> content
    with opened(path, "a tar") as file:
        for member in _members(path, file):
            name = PurePosixPath(member.name)
            suffix, stem = name.suffix.lower(), str(name.with_suffix(""))
            if suffix in MEDIA_SUFFIXES:
                allowed = "wav, flac, ogg, opus or mp3 within a tar"
                contents.problems.append(Problem(f"{path}: {name}", f"is {suffix}", allowed, "unpack the tar"))
            elif suffix in SUFFIXES:
                location = AudioSlice(str(path), member.offset_data, member.size, _crc32(file, member))
                recordings[stem].append((str(name), location))
            elif suffix in (*TEXTS, ".json") and member.size <= LARGEST_SETTINGS:
                file.seek(member.offset_data)
                others[stem][suffix] = file.read(member.size)
    for stem, members in recordings.items():
        for member_name, location in members:
            said = others.pop(stem, None) or _of_first_dot(stem, recordings, others)
            try:
                contents.samples.append(_sample(f"{path}: {member_name}", stem, location, said))
            except DataError as error:
                contents.problems += error.problems
    contents.lonely += [f"{path.name}: {stem}" for stem, found in others.items() if not found.keys() <= {".json"}]


def _of_first_dot(stem: str, recordings: Mapping[str, object], others: dict[str, dict[str, bytes]]) -> dict[str, bytes]:
    """The members that share the part of the name before its first dot, if no other recording does."""
    key = _key(stem)
    if sum(_key(other) == key for other in recordings) > 1:
        return {}
    found: dict[str, bytes] = {}
    for other in [other for other in others if _key(other) == key]:
        found |= others.pop(other)
    return found


def _key(stem: str) -> str:
    path = PurePosixPath(stem)
    return str(path.with_name(path.name.split(".")[0] or path.name))


def _sample(where: str, stem: str, location: AudioSlice, said: Mapping[str, bytes]) -> Sample:
    """Raises DataError for texts that are not UTF-8, and for damaged JSON."""
    facts = parsed_json(said[".json"], where) if ".json" in said else {}
    if not isinstance(facts, dict):
        facts = {}
    texts = [decoded(said[suffix], where) for suffix in TEXTS if suffix in said]
    texts += [str(facts[name]) for name in NAMES["text"] if facts.get(name) is not None]
    speakers = [str(facts[name]) for name in NAMES["speaker"] if facts.get(name) not in (None, "")]
    utt_id = facts.get("utt_id")
    is_ours = isinstance(utt_id, str) and bool(speakers) and utt_id.startswith(speakers[0])
    return Sample(
        where,
        stem.replace("/", "-"),
        location,
        text=" ".join(texts[0].split()) if texts else None,
        speaker=speakers[0] if speakers else None,
        utt_id=utt_id if is_ours else None,
    )


def _members(path: Path, file: BinaryIO) -> Iterator[tarfile.TarInfo]:
    """The files of a plain tar, without those that operating systems hide. Raises DataError."""
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                if member.isreg() and not member.issparse() and not PurePosixPath(member.name).name.startswith("."):
                    yield member
    except (tarfile.TarError, EOFError, ValueError) as error:
        remedy = "fetch it again; a compressed tar must be unpacked"
        raise DataError(str(path), f"is no tar, or is damaged ({error})", "an uncompressed tar", remedy) from None


def _crc32(file: BinaryIO, member: tarfile.TarInfo) -> int:
    file.seek(member.offset_data)
    left, crc32 = member.size, 0
    while left > 0 and (block := file.read(min(left, _BLOCK))):
        crc32, left = zlib.crc32(block, crc32), left - len(block)
    return crc32


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
