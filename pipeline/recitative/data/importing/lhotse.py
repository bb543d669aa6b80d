"""Lhotse's manifests: recordings.jsonl[.gz] with supervisions.jsonl[.gz], or cuts.jsonl[.gz].

They are read as JSON (lhotse/audio/recording.py, lhotse/supervision.py, lhotse/cut/mono.py), without lhotse. Supported
is what a data directory can express: one file per recording, times within it, one channel. Everything else that a
manifest may contain (commands, URLs, shards in memory, transforms, mixed cuts, padding) is an error.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recitative.data.importing.sources import Entry, Source
from recitative.errors import DataError, Problem
from recitative.reading import is_file, parsed_json, read_lines

PATTERNS = {kind: (f"*{kind}*.jsonl", f"*{kind}*.jsonl.gz") for kind in ("cuts", "recordings", "supervisions")}


Manifests = Path | tuple[Path, Path]
"""The file of cuts, or the files of recordings and of supervisions."""


@dataclass(frozen=True)
class ManifestLine:
    where: str
    values: Mapping[str, Any]


def find_manifests(source: Path) -> Manifests | None:
    """The manifests in a folder, or the file of cuts itself; None if there are none.

    Raises DataError if there are several, or one of a pair is missing.
    """
    if source.is_file():
        return source
    found = {kind: _only(source, kind) for kind in PATTERNS}
    if found["cuts"]:
        return found["cuts"]
    recordings, supervisions = found["recordings"], found["supervisions"]
    if not recordings and not supervisions:
        return None
    if not recordings or not supervisions:
        missing = "supervisions" if recordings else "recordings"
        raise DataError(str(source), f"has no {missing}.jsonl", "recordings and supervisions, or cuts", "add it")
    return recordings, supervisions


def read_manifests(root: Path, manifests: Manifests) -> Source:
    """Every supervision as an entry. Raises DataError for lines that are not JSON."""
    if isinstance(manifests, Path):
        return _read_cuts(root, manifests)
    return _read_pair(root, *manifests)


def _only(folder: Path, kind: str) -> Path | None:
    found = sorted(path for pattern in PATTERNS[kind] for path in folder.glob(pattern))
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise DataError(
            str(folder), f"has several files of {kind} ({names})", "one", "put each set into its own folder"
        )
    return found[0] if found else None


def _read_pair(root: Path, recordings: Path, supervisions: Path) -> Source:
    known: dict[str, ManifestLine] = {str(line.values.get("id")): line for line in _lines(recordings)}
    entries: list[Entry] = []
    bad: list[Problem] = []
    for line in _lines(supervisions):
        recording = known.get(str(line.values.get("recording_id")))
        try:
            if recording is None:
                found = f"names the recording '{line.values.get('recording_id')}'"
                raise DataError(line.where, found, f"one of {recordings}", "add it there, or remove the line")
            entries.append(_entry(line, recording.values, recording.where, recordings.parent, 0.0))
        except DataError as error:
            bad.extend(error.problems)
    return Source(root, tuple(entries), tuple(bad))


def _read_cuts(root: Path, path: Path) -> Source:
    entries: list[Entry] = []
    bad: list[Problem] = []
    for line in _lines(path):
        try:
            entries += _entries_of_cut(line, path.parent)
        except DataError as error:
            bad.extend(error.problems)
    return Source(root, tuple(entries), tuple(bad))


def _entries_of_cut(line: ManifestLine, folder: Path) -> list[Entry]:
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
    return [_entry(ManifestLine(line.where, values), recording, line.where, folder, start_s) for values in supervisions]


def _entry(
    line: ManifestLine, recording: Mapping[str, Any], recording_where: str, folder: Path, offset_s: float
) -> Entry:
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
        raise DataError(
            where, f"{named} has transforms", "recordings as they are", "save them with 'save_audios' first"
        )
    sources = recording.get("sources")
    if not isinstance(sources, list) or not all(isinstance(source, Mapping) for source in sources):
        sources = []
    if len(sources) != 1:
        raise DataError(where, f"{named} has {len(sources)} sources", "one file", "join its channels in one file")
    kind = sources[0].get("type")
    if kind != "file":
        raise DataError(where, f"{named} is a '{kind}'", "a 'file'", "save the recordings as files first")
    path = Path(str(sources[0].get("source")))
    beside = folder / path
    channels = sources[0].get("channels") or [0]
    if not isinstance(channels, list) or not all(isinstance(channel, int) for channel in channels):
        raise DataError(where, f"{named} has channels {channels!r}", "a list of whole numbers", "make it again")
    return (beside if is_file(beside) else path), channels  # otherwise as in lhotse: relative to the current folder


def _channel(line: ManifestLine, channels: list[int]) -> int | None:
    """The index of the channel, from 0; None if the recording has only one."""
    wanted = line.values.get("channel", 0)
    wanted = wanted if isinstance(wanted, list) else [wanted]
    if len(wanted) != 1 or wanted[0] not in channels:
        allowed = f"one of {', '.join(map(str, channels))}"
        raise DataError(line.where, f"is on the channels {', '.join(map(str, wanted))}", allowed, "choose one")
    return None if len(channels) == 1 else channels.index(wanted[0])


def _number(line: ManifestLine, values: Mapping[str, Any], name: str) -> float:
    value = values.get(name)
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise DataError(line.where, f"'{name}' is {value!r}", "a number of seconds", "correct the line")
    return float(value)


def _lines(path: Path) -> Iterator[ManifestLine]:
    """The JSON objects of a file. Raises DataError for other lines."""
    for number, line in enumerate(read_lines(path, "JSON lines", "copy or make it again"), start=1):
        if line.strip():
            yield ManifestLine(f"{path}:{number}", _object(f"{path}:{number}", line))


def _object(where: str, line: bytes) -> Mapping[str, Any]:
    values = parsed_json(line, where, "one object a line")
    if not isinstance(values, Mapping):
        raise DataError(where, f"is a {type(values).__name__}", "one object a line", "make the manifest again")
    return values
