"""Corpora of other programs: lhotse's manifests, tars written for webdataset, datasets of Hugging Face.

Lhotse: recordings.jsonl[.gz] with supervisions.jsonl[.gz], or cuts.jsonl[.gz]. They are read as JSON
(lhotse/audio/recording.py, lhotse/supervision.py, lhotse/cut/mono.py), without lhotse. Supported is what a data
directory can express: one file per recording, times within it, one channel. Everything else that a manifest may contain
(commands, URLs, shards in memory, transforms, mixed cuts, padding) is an error.

Tars: a source to import, or, with an index, a folder of shards. A sample is a recording with the members of its name:
ID.flac with ID.txt, ID.json or ID.cls, in any order. The ID is the name up to the last dot or, if nothing else has it,
up to the first, as in webdataset.

Hugging Face: Parquet or Arrow files, in which recordings are stored as bytes. Needs pyarrow. A table has a column of
recordings, ``{bytes, path}`` as the feature ``Audio`` stores them or paths, one of transcripts, and perhaps one of
speakers, with the names of ``sources.NAMES``. Files: '*.parquet', also in ``data/``, where a repository has them, and
the '*.arrow' of ``Dataset.save_to_disk``.
"""

from __future__ import annotations

import json
import math
import tarfile
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from recitative.atomic import replacing, write_bytes
from recitative.audio.files import SUFFIXES, AudioInfo, inspect
from recitative.audio.recording import MEDIA_SUFFIXES, AudioSlice
from recitative.data.shards import OTHERS, Shard, ShardEntry, sha256_of, tars_of, write_index
from recitative.data.sources import NAMES, Entry, Source, sift
from recitative.data.tables import column_fault
from recitative.errors import DataError, Problem, os_problem
from recitative.reading import LARGEST_SETTINGS, decoded, is_file, opened, parsed_json, read_lines

PATTERNS = {kind: (f"*{kind}*.jsonl", f"*{kind}*.jsonl.gz") for kind in ("cuts", "recordings", "supervisions")}


@dataclass(frozen=True)
class _Line:
    """An object of a manifest."""

    where: str
    values: Mapping[str, Any]


def read_manifests(root: Path) -> Source | None:
    """Every supervision of a folder with manifests, or of a file of cuts, as an entry; None if there are no manifests.

    Raises DataError if there are several of a kind, one of a pair is missing, or lines are not JSON.
    """
    found = {"cuts": root} if root.is_file() else {}
    for kind, patterns in PATTERNS.items() if not found else ():
        paths = sorted(path for pattern in patterns for path in root.glob(pattern))
        if len(paths) > 1:
            names = ", ".join(path.name for path in paths)
            remedy = "put each set into its own folder"
            raise DataError(str(root), f"has several files of {kind} ({names})", "one", remedy)
        if paths:
            found[kind] = paths[0]
    if "cuts" in found:
        lines, folder = _lines(found["cuts"]), found["cuts"].parent
        made, bad = sift(lambda line: _entries_of_cut(line, folder), lines)
        return Source(root, tuple(entry for entries in made for entry in entries), tuple(bad))
    if not found:
        return None
    if len(found) == 1:
        missing = "supervisions" if "recordings" in found else "recordings"
        raise DataError(str(root), f"has no {missing}.jsonl", "recordings and supervisions, or cuts", "add it")
    recordings = found["recordings"]
    known = {str(line.values.get("id")): line for line in _lines(recordings)}

    def entry_of(line: _Line) -> Entry:
        recording = known.get(str(line.values.get("recording_id")))
        if recording is None:
            named = f"names the recording '{line.values.get('recording_id')}'"
            raise DataError(line.where, named, f"one of {recordings}", "add it there, or remove the line")
        return _entry(line, recording.values, recording.where, recordings.parent, 0.0)

    entries, bad = sift(entry_of, _lines(found["supervisions"]))
    return Source(root, tuple(entries), tuple(bad))


def _entries_of_cut(line: _Line, folder: Path) -> list[Entry]:
    """A cut's supervisions; their times are relative to the start of the cut."""
    cut = line.values
    kind = cut.get("type", "MonoCut")
    if kind != "MonoCut":
        raise DataError(line.where, f"cut '{cut.get('id')}' is a {kind}", "MonoCut", "save the cuts before mixing them")
    recording = cut.get("recording")
    if not isinstance(recording, Mapping):
        found = f"cut '{cut.get('id')}' has no recording"
        raise DataError(line.where, found, "cuts of audio", "keep the recordings in the manifest")
    supervisions = cut.get("supervisions")
    if not isinstance(supervisions, list) or not all(isinstance(values, Mapping) for values in supervisions):
        supervisions = []
    if not supervisions:
        raise DataError(line.where, f"cut '{cut.get('id')}' has no supervision", "at least one", "remove the cut")
    start_s = _number(line, cut, "start")
    return [_entry(_Line(line.where, values), recording, line.where, folder, start_s) for values in supervisions]


def _entry(line: _Line, recording: Mapping[str, Any], recording_where: str, folder: Path, offset_s: float) -> Entry:
    """One supervision, whose times are relative to ``offset_s`` of its recording."""
    path, channels = _file_of(recording, recording_where, folder)
    start_s = offset_s + _number(line, line.values, "start")
    end_s = start_s + _number(line, line.values, "duration")
    speaker = line.values.get("speaker")
    return Entry(
        where=f"{line.where} ({line.values.get('id')})",
        audio=path,
        text=str(line.values.get("text") or ""),
        speaker=str(speaker) if speaker else None,
        name=str(line.values.get("id")),
        start_s=max(0.0, round(start_s, 6)),  # lhotse adds binary fractions
        end_s=round(end_s, 6),
        channel=_channel(line, channels),
    )


def _file_of(recording: Mapping[str, Any], where: str, folder: Path) -> tuple[Path, list[int]]:
    """The recording's file and its channels' numbers, in order."""
    named = f"recording '{recording.get('id')}'"
    if recording.get("transforms"):
        remedy = "save them with 'save_audios' first"
        raise DataError(where, f"{named} has transforms", "recordings as they are", remedy)
    sources = recording.get("sources")
    if not isinstance(sources, list) or not all(isinstance(source, Mapping) for source in sources):
        sources = []
    if len(sources) != 1:
        raise DataError(where, f"{named} has {len(sources)} sources", "one file", "join its channels in one file")
    kind = sources[0].get("type")
    if kind != "file":
        raise DataError(where, f"{named} is a '{kind}'", "a 'file'", "save the recordings as files first")
    path = Path(str(sources[0].get("source")))
    in_folder = folder / path
    channels = sources[0].get("channels") or [0]
    if not isinstance(channels, list) or not all(isinstance(channel, int) for channel in channels):
        raise DataError(where, f"{named} has channels {channels!r}", "a list of whole numbers", "make it again")
    if is_file(in_folder):
        path = in_folder  # otherwise it is relative to the current folder, as in lhotse
    return path, channels


def _channel(line: _Line, channels: list[int]) -> int | None:
    """The index of the channel, from 0; None if the recording has only one."""
    chosen = line.values.get("channel", 0)
    chosen = chosen if isinstance(chosen, list) else [chosen]
    if len(chosen) != 1 or chosen[0] not in channels:
        allowed = f"one of {', '.join(map(str, channels))}"
        raise DataError(line.where, f"is on the channels {', '.join(map(str, chosen))}", allowed, "choose one")
    return None if len(channels) == 1 else channels.index(chosen[0])


def _number(line: _Line, values: Mapping[str, Any], name: str) -> float:
    value = values.get(name)
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise DataError(line.where, f"'{name}' is {value!r}", "a number of seconds", "correct the line")
    return float(value)


def _lines(path: Path) -> Iterator[_Line]:
    """The JSON objects of a file. Raises DataError for other lines."""
    for number, line in enumerate(read_lines(path, "JSON lines", "copy or make it again"), start=1):
        if line.strip():
            where = f"{path}:{number}"
            values = parsed_json(line, where, "one object a line")
            if not isinstance(values, Mapping):
                found = f"is a {type(values).__name__}"
                raise DataError(where, found, "one object a line", "make the manifest again")
            yield _Line(where, values)


# Tars.

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
    unused_texts: list[str] = field(default_factory=list)


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
    if contents.unused_texts:
        shown = ", ".join(contents.unused_texts[:5])
        notes = [f"{root}: texts without a recording, not used: {len(contents.unused_texts)} ({shown})"]
    return Source(root, tuple(entries), tuple(bad), tuple(notes))


def index_tars(folder: Path) -> None:
    """Write the index of a folder of tars that has none, so that it can be read as a data directory.

    Raises one DataError for all samples that cannot be used, and if some but not all have a transcript or a speaker.
    """
    from recitative.data.importing import ONE_SPEAKER, speaker_ids, utterance_ids  # which reads directories

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
    shards = [Shard(path.name, path.stat().st_size, sha256_of(path)) for path in paths]
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
    with opened(path, "a tar") as file:
        found = group_members(path, file)
        contents.problems += found.problems
        for one in found.samples:
            location = AudioSlice(str(path), one.recording.offset_data, one.recording.size, _crc32(file, one.recording))
            try:
                contents.samples.append(_sample(one.where, one.name, location, one.read_others(file)))
            except DataError as error:
                contents.problems += error.problems
    contents.unused_texts += [f"{path.name}: {stem}" for stem in found.unused_texts]


@dataclass(frozen=True)
class TarSample:
    """where: tar and member; name: ID; others: its texts and JSON, by suffix"""

    where: str
    name: str
    recording: tarfile.TarInfo
    others: Mapping[str, tarfile.TarInfo]

    def read_others(self, file: BinaryIO) -> dict[str, bytes]:
        """Suffix -> content."""
        return {suffix: read_member(file, member) for suffix, member in self.others.items()}


@dataclass(frozen=True)
class TarMembers:
    """The samples of a tar, a problem for each recording that must be converted, and IDs of texts without recording."""

    samples: list[TarSample]
    problems: list[Problem]
    unused_texts: list[str]


def group_members(path: Path, file: BinaryIO) -> TarMembers:
    """Read the names in a tar, wherever its members stand. Raises DataError for a file that is not a plain tar."""
    recordings: dict[str, list[tuple[str, tarfile.TarInfo]]] = defaultdict(list)  # ID -> its members
    others: dict[str, dict[str, tarfile.TarInfo]] = defaultdict(dict)  # ID -> suffix -> member
    problems = []
    for member in _members(path, file):
        name = PurePosixPath(member.name)
        suffix, stem = name.suffix.lower(), str(name.with_suffix(""))
        if suffix in MEDIA_SUFFIXES:
            allowed = "wav, flac, ogg, opus or mp3 within a tar"
            problems.append(Problem(f"{path}: {name}", f"is {suffix}", allowed, "unpack the tar"))
        elif suffix in SUFFIXES:
            recordings[stem].append((str(name), member))
        elif suffix in (*TEXTS, ".json") and member.size <= LARGEST_SETTINGS:
            others[stem][suffix] = member
    samples = []
    for stem, found in recordings.items():
        for member_name, recording in found:
            members = others.pop(stem, None) or _of_first_dot(stem, recordings, others)
            samples.append(TarSample(f"{path}: {member_name}", stem, recording, members))
    return TarMembers(samples, problems, [stem for stem, found in others.items() if not found.keys() <= {".json"}])


def read_member(file: BinaryIO, member: tarfile.TarInfo) -> bytes:
    """The content of a member."""
    file.seek(member.offset_data)
    return file.read(member.size)


def _of_first_dot(
    stem: str, recordings: Mapping[str, object], others: dict[str, dict[str, tarfile.TarInfo]]
) -> dict[str, tarfile.TarInfo]:
    """The members that share the part of the name before its first dot, if no other recording does."""
    key = _key(stem)
    if sum(_key(other) == key for other in recordings) > 1:
        return {}
    found: dict[str, tarfile.TarInfo] = {}
    for other in [other for other in others if _key(other) == key]:
        found |= others.pop(other)
    return found


def _key(stem: str) -> str:
    path = PurePosixPath(stem)
    return str(path.with_name(path.name.split(".")[0] or path.name))


def read_facts(members: Mapping[str, bytes], where: str) -> tuple[dict[str, Any], str | None, str | None]:
    """What the members of a sample say, by suffix: its JSON, transcript and speaker.

    Raises DataError for texts that are not UTF-8, and for damaged JSON.
    """
    facts = parsed_json(members[".json"], where) if ".json" in members else {}
    if not isinstance(facts, dict):
        facts = {}
    texts = [decoded(members[suffix], where) for suffix in TEXTS if suffix in members]
    texts += [str(facts[name]) for name in NAMES["text"] if facts.get(name) is not None]
    speakers = [str(facts[name]) for name in NAMES["speaker"] if facts.get(name) not in (None, "")]
    return facts, " ".join(texts[0].split()) if texts else None, speakers[0] if speakers else None


def _sample(where: str, stem: str, location: AudioSlice, members: Mapping[str, bytes]) -> Sample:
    """Raises what ``read_facts`` raises."""
    facts, text, speaker = read_facts(members, where)
    utt_id = facts.get("utt_id")
    is_ours = isinstance(utt_id, str) and speaker is not None and utt_id.startswith(speaker)
    return Sample(where, stem.replace("/", "-"), location, text, speaker, utt_id if is_ours else None)


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


TABLE_SUFFIXES = (".parquet", ".arrow")
ROWS = 64  # read at once: a row has a whole recording

Row = tuple[str, Mapping[str, Any]]  # its place, and its values by column


def arrow_files(root: Path) -> list[Path]:
    """The Parquet or Arrow files of a folder or its folder ``data``, or the file itself; none for another source."""
    if is_file(root):
        return [root] if root.suffix.lower() in TABLE_SUFFIXES else []
    for suffix in TABLE_SUFFIXES:
        if files := sorted(root.glob(f"*{suffix}")) or sorted(root.glob(f"data/*{suffix}")):
            return files
    return []


def read_arrow(root: Path, files: Sequence[Path], unpacked: Path | None) -> Source:
    """Every row as an entry. unpacked: folder for recordings that are stored as bytes

    Raises DataError for damaged files, without columns of recordings and transcripts, or of several splits.
    """
    if len(splits := sorted({path.name.split("-")[0] for path in files if path.suffix == ".parquet"})) > 1:
        found = f"has the splits {', '.join(splits)}"
        raise DataError(str(root), found, "one", "give one file, or put each split into its own folder")
    places: dict[str, str] = {}
    written: set[Path] = set()

    def entry_of(row: Row) -> Entry:
        where, values = row
        if not places:
            places.update(_columns(where, values))
        speaker = values.get(places.get("speaker", ""))
        path = _recording(where, values[places["audio"]], root, unpacked, written)
        text = values[places["text"]]
        if not isinstance(text, str):
            raise DataError(where, f"has the transcript {text!r}", "a text", "correct it")
        return Entry(where, path, text, str(speaker) if speaker not in (None, "") else None, path.stem)

    entries, bad = sift(entry_of, _rows(files))
    return Source(root, tuple(entries), tuple(bad))


def _rows(files: Iterable[Path]) -> Iterator[Row]:
    import pyarrow
    from pyarrow import ipc, parquet

    for path in files:
        number = 0
        try:
            if path.suffix.lower() == ".parquet":
                batches = parquet.ParquetFile(path).iter_batches(ROWS)
            else:
                batches = ipc.open_stream(pyarrow.memory_map(str(path)))
            for batch in batches:
                for values in batch.to_pylist():
                    number += 1
                    yield f"{path}:{number}", values
        except (pyarrow.ArrowException, OSError, ValueError) as error:
            reason = str(error).splitlines()[0][:100]
            raise DataError(str(path), f"is damaged ({reason})", "a Parquet or Arrow file", "fetch it again") from None


def _columns(where: str, values: Mapping[str, Any]) -> dict[str, str]:
    """Audio, text and speaker -> the column of one of its names."""
    found = {kind: next((name for name in names if name in values), "") for kind, names in NAMES.items()}
    stored = [name for name, value in values.items() if isinstance(value, Mapping) and "bytes" in value]
    found["audio"] = stored[0] if stored else found["audio"]
    for kind in ("audio", "text"):
        if not found[kind]:
            has = f"has the columns {', '.join(values)}"
            raise DataError(where.rpartition(":")[0], has, f"{kind}: {', '.join(NAMES[kind])}", "rename one")
    return found


def _recording(where: str, value: Any, root: Path, unpacked: Path | None, written: set[Path]) -> Path:
    """The file of a recording, written now if the row has its bytes. written: before, from rows above"""
    content = value.get("bytes") if isinstance(value, Mapping) else None
    name = value.get("path") if isinstance(value, Mapping) else value
    if content is None:
        if not isinstance(name, str) or not name:
            raise DataError(where, "has no recording", "bytes or a path", "remove the row")
        path = (root if root.is_dir() else root.parent) / name
        if not is_file(path):
            raise DataError(where, f"({path}) does not exist", "a recording", "correct the path")
        return path
    if unpacked is None:
        raise DataError(where, "stores recordings as bytes", "files", "run 'recitative data import' first")
    file, _, number = where.rpartition(":")
    name = Path(name if isinstance(name, str) else "").name
    suffix = Path(name).suffix or _suffix(content)
    path = unpacked / f"{Path(name).stem}{suffix}"
    if not name or path in written:
        path = unpacked / f"{Path(file).stem}-{int(number):06d}{suffix}"
    written.add(path)
    write_bytes(path, content)
    return path


def _suffix(content: bytes) -> str:
    kinds = {b"fLaC": ".flac", b"OggS": ".ogg", b"RIFF": ".wav"}
    return kinds.get(content[:4], ".mp3")


def write_parquet(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows with 'id', 'speaker', 'text', and 'audio', which is {'bytes', 'path'}, with the features that
    ``datasets.load_dataset`` reads."""
    import pyarrow
    from pyarrow import parquet

    text = {"dtype": "string", "_type": "Value"}
    features = {"id": text, "speaker": text, "text": text, "audio": {"_type": "Audio"}}
    audio = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    columns = [(name, audio if name == "audio" else pyarrow.string()) for name in features]
    described = json.dumps({"info": {"features": features}})
    schema = pyarrow.schema(columns, metadata={"huggingface": described})
    waiting = iter(rows)
    with replacing(path) as partial, parquet.ParquetWriter(partial, schema) as writer:
        while batch := list(islice(waiting, ROWS)):
            writer.write_batch(pyarrow.RecordBatch.from_pylist(batch, schema=schema))
