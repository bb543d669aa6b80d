"""Recordings and transcripts of any source -> a Kaldi data directory; and downloads of corpora.

Every entry is treated alike: its text is normalized, its recording opened, its ids are made, and recordings with
another sample rate or several channels are converted. All faults are collected and reported at once.

Downloads unpack archives; complete ones are not repeated, and damaged archives are errors.
"""

from __future__ import annotations

import gzip
import hashlib
import http.client
import re
import shutil
import tarfile
import urllib.error
import urllib.request
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TypeVar

from recitative.atomic import write_text
from recitative.audio.files import OVERSHOOT_S, ROUNDING_S, AudioInfo, convert, inspect
from recitative.data.directory import DataDirectory
from recitative.data.manifests import arrow_files, read_arrow, read_manifests, read_tars
from recitative.data.shards import tars_of
from recitative.data.sources import METADATA, Entry, Source, is_json_table, read_folder, read_sclite, read_table, sift
from recitative.data.tables import Utterance, column_fault
from recitative.errors import DataError, Problem, RunError, counted
from recitative.reading import is_file
from recitative.text.normalize import NormalizationRules, normalize_all

Advance = Callable[[int, int], None]
"""``advance(done, total)`` in bytes; a total of 0 is unknown."""

BLOCK = 1 << 18  # bytes


def silent(done: int, total: int) -> None:
    """No progress."""


def download(url: str, target: Path, *, md5: str = "", otherwise: str = "", advance: Advance = silent) -> None:
    """Download url to target, unless it exists; continues from the bytes of an earlier attempt in target.part.

    md5: the published checksum, lower-case hexadecimal; '' = none. An existing target is checked too.
    otherwise: an alternative without a network, for the error message.
    Raises RunError if it could not be downloaded, DataError for a wrong checksum.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        try:
            _fetch(url, target, advance)
        except (OSError, http.client.HTTPException) as error:
            reason = str(error) if isinstance(error, urllib.error.HTTPError) else str(getattr(error, "reason", error))
            ways = f"fetch it elsewhere and put it at {target.resolve()}{', or ' if otherwise else ''}{otherwise}"
            found = f"{url}: could not be fetched ({reason}); run the stage again to go on where it stopped"
            raise RunError(f"{found}, or, with no network, {ways}") from None
    if md5 and (found := md5_of(target, advance)) != md5:
        raise DataError(str(target), f"has the MD5 sum {found}", f"{md5}, as published", "delete it and run again")


def md5_of(path: Path, advance: Advance = silent) -> str:
    """The MD5 sum of a file, in lower-case hexadecimal."""
    digest, done, size = hashlib.md5(usedforsecurity=False), 0, path.stat().st_size
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
            advance(done := done + len(block), size)
    return digest.hexdigest()


def unpack(archive: Path, folder: Path, advance: Advance = silent) -> None:
    """Unpack the files of a tar archive, compressed or not, and nothing but files, below folder.

    Raises DataError for a damaged archive.
    """
    try:
        with archive.open("rb") as file, tarfile.open(fileobj=file) as tar:
            for member in tar:
                path = PurePosixPath(member.name)
                if member.isfile() and not path.is_absolute() and ".." not in path.parts:
                    _write(tar, member, folder / path)
                advance(file.tell(), archive.stat().st_size)
            # A damaged header ends the loop silently; the checksum at the end of a compressed archive detects it.
            while tar.fileobj and tar.fileobj.read(BLOCK):
                pass
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise DataError(str(archive), f"is damaged ({error})", "", "delete it and run the stage again") from None


def _fetch(url: str, target: Path, advance: Advance) -> None:
    part = target.with_name(target.name + ".part")
    done = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            _receive(response, part, done if response.status == http.HTTPStatus.PARTIAL_CONTENT else 0, advance)
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not done:
            raise
        part.unlink()  # at least as long as the archive: it cannot be continued
        return _fetch(url, target, advance)
    part.rename(target)


def _receive(response: http.client.HTTPResponse, part: Path, done: int, advance: Advance) -> None:
    """Append to the ``done`` bytes of part. Raises OSError if the connection ends too early."""
    length = response.headers["Content-Length"]
    total = done + int(length) if length else 0
    with part.open("ab" if done else "wb") as file:
        while block := response.read(BLOCK):
            file.write(block)
            advance(done := done + len(block), total)
    if total and part.stat().st_size != total:
        raise OSError(f"the connection ended after {part.stat().st_size} of {total} bytes")


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    source = tar.extractfile(member)
    assert source is not None  # it is a file
    target.parent.mkdir(parents=True, exist_ok=True)
    with source, target.open("wb") as file:
        shutil.copyfileobj(source, file)


OnProgress = Callable[[float, int, str], None]
"""Called with (done, total, what is being done)."""

MAX_SPEAKER_ID = 32  # characters; Common Voice's speaker ids have 128 digits
SEPARATOR = "-"
"""Sorts before every character of a speaker id, so that sorting by utterance also sorts by speaker."""

_NOT_OF_SPEAKER = re.compile(r"[^\w.]")  # the separator included
_NOT_OF_NAME = re.compile(r"[^\w.\-]")


def speaker_ids(speakers: Sequence[str]) -> dict[str, str]:
    """Speaker -> id of letters, digits, '_' and '.'. A digest of the name is added to ids that would be equal."""
    cleaned = {}
    for speaker in dict.fromkeys(speakers):
        name = _NOT_OF_SPEAKER.sub("_", speaker)
        cleaned[speaker] = name if len(name) <= MAX_SPEAKER_ID else f"{name[: MAX_SPEAKER_ID - 9]}_{digest(speaker)}"
    times = Counter(cleaned.values())
    return {
        speaker: name if times[name] == 1 or name == speaker else f"{name}_{digest(speaker)}"
        for speaker, name in cleaned.items()
    }


def utterance_ids(speakers: Sequence[str], names: Sequence[str], places: Sequence[str]) -> list[str]:
    """An id for each utterance from its speaker's id and its name.

    places: unique for each, such as path and time; a digest of it is added to ids that would be equal.
    """
    ids = []
    for speaker, name in zip(speakers, names, strict=True):  # 'anna' and '01' -> 'anna-01'; 'anna' and 'anna_01' too
        name = _NOT_OF_NAME.sub("_", name)
        rest = name.removeprefix(speaker)
        if rest != name and (not rest or rest[0] in "-_."):
            name = rest.lstrip("-_.")
        ids.append(f"{speaker}{SEPARATOR}{name}" if name else speaker)
    return _distinct(ids, places)


def digest(text: str) -> str:
    """Eight hexadecimal digits that depend on the whole text."""
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=4).hexdigest()


def _distinct(ids: Sequence[str], places: Sequence[str]) -> list[str]:
    times = Counter(ids)
    return [one if times[one] == 1 else f"{one}-{digest(place)}" for one, place in zip(ids, places, strict=True)]


MAX_SKIPPED = 0.05
"""Share of rows that may be skipped by default; more indicates a systematic fault."""

ONE_SPEAKER = "speaker"
"""The speaker of all utterances if the source names none."""


@dataclass(frozen=True)
class ImportOptions:
    """Options of ``import_corpus``."""

    sample_rate: int = 16000  # Hz
    rules: NormalizationRules | None = field(default_factory=NormalizationRules)  # None: only blanks are normalized
    speaker_per_file: bool = False  # if the source has no speakers
    skip_bad: bool = False
    most_skipped: float = MAX_SKIPPED
    jobs: int = 1  # threads
    partial: bool = False  # use the readable part of damaged recordings


@dataclass(frozen=True)
class ImportResult:
    """The result of an import, and notes for the user."""

    directory: DataDirectory
    seconds: float  # of audio
    converted: int  # recordings
    limited: int  # of these: clipped after resampling
    skipped: tuple[Problem, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class NamedEntry:
    """An opened entry with its ids."""

    opened: OpenedEntry
    speaker: str
    utt_id: str
    recording: str


def read_source(
    root: Path,
    table: Path | None = None,
    encoding: str = "",
    *,
    tiers: Sequence[str] = (),
    unpacked: Path | None = None,
) -> Source:
    """Read a folder with a table, tars, lhotse's manifests, a Hugging Face dataset, or a transcript for each recording;
    or a tar, lhotse's file of cuts, NeMo's manifest, or a Parquet file.

    table: of transcripts, or the folder that has them; tiers: of annotations to read, see ``chosen_tiers``
    unpacked: folder for recordings that are stored in Parquet or Arrow files
    Raises DataError for any other source.
    """
    if not root.exists():
        raise DataError(str(root), "does not exist", "a folder of recordings", "correct the path")
    if table is not None and table.is_dir():
        return read_folder(root, encoding, tiers, table)
    if table is not None and table.suffix.lower() in (".stm", ".trn"):
        return read_sclite(table, root)
    if table is not None:
        return read_table(table, root, encoding)
    if files := arrow_files(root):
        return read_arrow(root, files, unpacked)
    if is_json_table(root):
        return read_table(root, root.parent, encoding)
    if tars_of(root):
        return read_tars(root)
    for name in METADATA:
        if is_file(root / name):
            return read_table(root / name, root, encoding)
    return read_manifests(root) or read_folder(root, encoding, tiers)


def import_corpus(
    source: Source, destination: Path, options: ImportOptions, on_progress: OnProgress = lambda done, total, title: None
) -> ImportResult:
    """Write a data directory, with ``audio/`` for converted recordings and ``skipped.txt`` for skipped rows.

    Raises one DataError for all rows that cannot be used, before any audio is converted, or, with ``skip_bad``, if they
    are more than ``most_skipped`` of all rows.
    """
    entries, speaker_notes = _with_speakers(source.entries, options.speaker_per_file)
    entries, text_notes = _with_texts(entries, options.rules)
    usable, unusable = sift(_Sieve().require_usable, entries)
    opened, unopened = open_all(usable, options.jobs, on_progress, partial=options.partial)
    bad = [*source.bad, *unusable, *unopened]
    _accept(bad, source, options)
    named = _named(opened, source.root)
    targets = _targets(named, destination.resolve() / "audio", options.sample_rate)
    peaks = convert_all(targets, options.sample_rate, options.jobs, on_progress, partial=options.partial)
    readable = []
    for one in named:
        peak = peaks.get(one.opened.channel)
        if isinstance(peak, DataError):
            bad += error_at(one.opened.entry, peak).problems
        else:
            readable.append(one)
    _accept(bad, source, options)
    directory = _directory(readable, targets)
    directory.write(destination)
    if bad:
        write_text(destination / "skipped.txt", "".join(f"{problem}\n" for problem in bad))
    else:
        (destination / "skipped.txt").unlink(missing_ok=True)
    reached = [peak for peak in peaks.values() if not isinstance(peak, DataError)]
    return ImportResult(
        directory=directory,
        seconds=sum(one.opened.end_s - one.opened.entry.start_s for one in readable),
        converted=len(reached),
        limited=sum(peak > 1.0 for peak in reached),
        skipped=tuple(bad),
        notes=(*source.notes, *speaker_notes, *text_notes, *_notes([one.opened for one in readable])),
    )


def _with_speakers(entries: Sequence[Entry], speaker_per_file: bool) -> tuple[list[Entry], list[str]]:
    """If no entry has a speaker, assign one; with a note on the decision."""
    if not entries or any(entry.speaker for entry in entries):
        return list(entries), []
    if speaker_per_file:
        return [replace(entry, speaker=entry.recording) for entry in entries], []
    note = "the source names no speakers: all utterances get the same one; use --speaker-per-file if there are many"
    return [replace(entry, speaker=ONE_SPEAKER) for entry in entries], [note]


def _with_texts(entries: Sequence[Entry], rules: NormalizationRules | None) -> tuple[list[Entry], list[str]]:
    """Entries with normalized texts, and the lines of the report on that."""
    if rules is None:
        return [replace(entry, text=" ".join(entry.text.split())) for entry in entries], []
    texts, report = normalize_all({entry.where: entry.text for entry in entries}, rules)
    return [replace(entry, text=texts[entry.where]) for entry in entries], report.lines()


class _Sieve:
    """Checks that entries have a speaker, words, and a recording that no earlier entry has."""

    def __init__(self) -> None:
        self._first: dict[tuple[Path, int | None, float, float | None], str] = {}

    def require_usable(self, entry: Entry) -> Entry:
        if not entry.speaker:
            raise DataError(entry.where, "names no speaker, other rows do", "a speaker in all or none", "add it")
        if not entry.text:
            raise DataError(entry.where, "has no words", "at least one", "add them, or remove the row")
        fault = column_fault("text", entry.text)
        if fault:
            raise DataError(entry.where, fault.found, fault.allowed, fault.remedy)
        first = self._first.setdefault((entry.audio, entry.channel, entry.start_s, entry.end_s), entry.where)
        if first != entry.where:
            found = f"({entry.audio}) is transcribed again, first in {first}"
            raise DataError(entry.where, found, "each recording once", "remove one of them")
        return entry


def _accept(bad: Sequence[Problem], source: Source, options: ImportOptions) -> None:
    """Raise unless there are no bad rows, or few enough to skip."""
    rows = len(source.entries) + len(source.bad)
    if not bad or (options.skip_bad and len(bad) <= options.most_skipped * rows):
        return
    allowed, remedy = "none", "correct them, or leave them out with --skip-bad"
    if options.skip_bad:
        allowed = f"at most {options.most_skipped:.1%}"
        remedy = f"correct them, or allow more, such as --most-skipped {len(bad) / rows + 0.005:.2f}"
    found = f"rows that cannot be used: {len(bad)} of {rows}"
    raise DataError.collect([Problem(str(source.root), found, allowed, remedy), *bad])


def _named(opened: Sequence[OpenedEntry], root: Path) -> list[NamedEntry]:
    """Add ids. A recording that is one utterance has the same id, as in Kaldi; others are named after their files."""
    known = speaker_ids([str(one.entry.speaker) for one in opened])
    speakers = [known[str(one.entry.speaker)] for one in opened]
    places = [f"{_place(one.channel, root)} {one.entry.start_s:.6f} {one.end_s:.6f}" for one in opened]
    ids = utterance_ids(speakers, [one.entry.name for one in opened], places)
    recordings = {one.channel: utt_id for one, utt_id in zip(opened, ids, strict=True)}
    if not all(one.is_whole for one in opened):
        names = [path.stem if channel is None else f"{path.stem}_{channel}" for path, channel in recordings]
        names = [_NOT_OF_NAME.sub("_", name) for name in names]
        found = _distinct(names, [_place(channel, root) for channel in recordings])
        recordings = dict(zip(recordings, found, strict=True))
    rows = zip(opened, speakers, ids, strict=True)
    return [NamedEntry(one, speaker, utt_id, recordings[one.channel]) for one, speaker, utt_id in rows]


def _place(channel: Channel, root: Path) -> str:
    """Identifies a channel, independently of where the corpus is stored."""
    path, number = channel
    base = root.resolve()
    return f"{path.relative_to(base) if path.is_relative_to(base) else path} {number}"


def _targets(named: Sequence[NamedEntry], folder: Path, sample_rate: int) -> dict[Channel, Path]:
    """The target files of the recordings that must be converted."""
    return {
        one.opened.channel: folder / f"{one.recording}.flac"
        for one in named
        if one.opened.info.sample_rate != sample_rate
        or one.opened.info.channels != 1
        or one.opened.info.is_media
        or one.opened.is_partial
        or not one.opened.is_named_in_utf8  # tables are in UTF-8
    }


def _directory(named: Sequence[NamedEntry], targets: Mapping[Channel, Path]) -> DataDirectory:
    """Has segments if some utterance is not a whole recording."""
    segmented = not all(one.opened.is_whole for one in named)
    utterances = [
        Utterance(
            utt_id=one.utt_id,
            speaker=one.speaker,
            recording_path=str(targets.get(one.opened.channel, one.opened.path)),
            start_s=one.opened.entry.start_s if segmented else 0.0,
            end_s=one.opened.end_s if segmented else None,
            text=one.opened.entry.text,
            recording_id=one.recording if segmented else "",
        )
        for one in named
    ]
    return DataDirectory(tuple(sorted(utterances, key=lambda utterance: utterance.utt_id)))


def _notes(opened: Sequence[OpenedEntry]) -> list[str]:
    """One note for all end times slightly beyond the recording, and one for all damaged recordings."""
    notes = []
    if cut := [one for one in opened if one.is_cut]:
        longest_s = max((one.entry.end_s or 0.0) - one.info.duration_s for one in cut)
        found = f"utterances that end beyond their recording, by {longest_s:.2f} s at most, and now end with it"
        notes.append(f"{found}: {len(cut)} ({cut[0].entry.where} first)")
    if files := list(dict.fromkeys(str(one.entry.audio) for one in opened if one.is_partial)):
        notes.append(f"damaged recordings of which a part was taken: {len(files)} ({', '.join(files[:5])})")
    return notes


Channel = tuple[Path, int | None]
"""One channel of a recording, or, with None, the average of all."""

A = TypeVar("A")
B = TypeVar("B")


@dataclass(frozen=True)
class OpenedEntry:
    """An entry whose recording exists and contains its times."""

    entry: Entry
    path: Path  # absolute
    info: AudioInfo
    end_s: float
    is_partial: bool = False  # damaged; the readable part is used

    @property
    def channel(self) -> Channel:
        return self.path, self.entry.channel

    @property
    def is_named_in_utf8(self) -> bool:
        return not re.search("[\udc80-\udcff]", str(self.path))  # how Python keeps other bytes (PEP 383)

    @property
    def is_cut(self) -> bool:
        """Whether the end in the source is beyond the end of the recording."""
        return (self.entry.end_s or 0.0) > self.info.duration_s + ROUNDING_S

    @property
    def is_whole(self) -> bool:
        return self.entry.start_s <= ROUNDING_S and self.end_s >= self.info.duration_s - ROUNDING_S


def open_all(
    entries: Sequence[Entry], jobs: int, on_progress: OnProgress, *, partial: bool = False
) -> tuple[list[OpenedEntry], list[Problem]]:
    """Read the header of every recording; returns the usable entries, and the problems of the others.

    partial: use the readable part of damaged recordings
    """
    paths = list(dict.fromkeys(entry.audio for entry in entries))

    def open_one(path: Path) -> tuple[AudioInfo, bool]:
        """The header, and whether the recording is damaged."""
        try:
            return inspect(path), False
        except DataError:
            if not partial:
                raise
            return inspect(path, partial=True), True

    opened = _in_parallel(open_one, paths, jobs, "open recordings", on_progress)
    return sift(lambda entry: _open(entry, opened[entry.audio]), entries)


def convert_all(
    targets: dict[Channel, Path], sample_rate: int, jobs: int, on_progress: OnProgress, *, partial: bool = False
) -> dict[Channel, float | DataError]:
    """Write each channel to its target; returns the peak from ``convert``, or the error, for each."""
    return _in_parallel(
        lambda channel: convert(channel[0], targets[channel], sample_rate, channel[1], partial=partial),
        list(targets),
        jobs,
        "convert recordings",
        on_progress,
    )


def error_at(entry: Entry, error: DataError) -> DataError:
    """The error of a recording as an error of its row."""
    problem = error.problems[0]
    return DataError(entry.where, f"({entry.audio}) {problem.found}", problem.allowed, problem.remedy)


def _open(entry: Entry, inspected: tuple[AudioInfo, bool] | DataError) -> OpenedEntry:
    if isinstance(inspected, DataError):
        raise error_at(entry, inspected)
    info, is_partial = inspected
    path = entry.audio.resolve()
    fault = column_fault("wav.scp", str(path))
    if fault:
        raise DataError(entry.where, f"({path}) {fault.found}", fault.allowed, fault.remedy)
    end_s = info.duration_s if entry.end_s is None else entry.end_s
    if not entry.start_s < min(end_s, info.duration_s) or end_s > info.duration_s + OVERSHOOT_S:
        found = f"({entry.audio}) lasts from {entry.start_s:g} to {end_s:g} s"
        raise DataError(entry.where, found, f"a time within 0 to {info.duration_s:.3f} s", "correct it")
    if entry.channel is not None and entry.channel >= info.channels:
        found = f"({entry.audio}) has {counted(info.channels, 'channel')}, not {entry.channel + 1}"
        raise DataError(entry.where, found, "a channel that is there", "correct the row")
    return OpenedEntry(entry, path, info, min(end_s, info.duration_s), is_partial)


def _in_parallel(
    work: Callable[[A], B], items: Sequence[A], jobs: int, title: str, on_progress: OnProgress
) -> dict[A, B | DataError]:
    """Item -> result of ``work``. Threads suffice: decoding and resampling release the interpreter's lock."""

    def attempt(item: A) -> B | DataError:
        try:
            return work(item)
        except DataError as error:
            return error

    results: dict[A, B | DataError] = {}
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        for item, result in zip(items, pool.map(attempt, items), strict=True):
            results[item] = result
            on_progress(len(results), len(items), title)
    return results
