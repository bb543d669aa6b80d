"""Recordings and transcripts as somebody keeps them -> a Kaldi data directory.

Every entry goes the same way: its text is normalised, its recording opened, its ids are made, and what has another
sample rate or several channels is converted. What is wrong with any of them is collected and told at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from recitative.atomic import write_text
from recitative.data.columns import column_fault
from recitative.data.directory import DataDirectory
from recitative.data.importing.entries import Entry, Source
from recitative.data.importing.folder import read_folder
from recitative.data.importing.ids import recording_ids, speaker_ids, utterance_ids
from recitative.data.importing.lhotse import find_manifests, read_manifests
from recitative.data.importing.recordings import Channel, OnProgress, Opened, convert_all, error_at, open_all, sift
from recitative.data.importing.table import is_json_table, read_table
from recitative.data.utterance import Utterance
from recitative.errors import DataError, Problem
from recitative.text.normalise import Rules, normalise_all

MOST_SKIPPED = 0.05
"""More than this part of the rows is left out only if the user says so: something else is wrong then."""

ONE_SPEAKER = "speaker"
"""Whose utterances they all are where nothing tells the speakers apart."""


@dataclass(frozen=True)
class Options:
    """How a source becomes a data directory."""

    sample_rate: int = 16000  # Hz
    rules: Rules | None = field(default_factory=Rules)  # None: the text stays as it is, but for its blanks
    speaker_per_file: bool = False  # where the source knows no speakers
    skip_bad: bool = False
    most_skipped: float = MOST_SKIPPED
    jobs: int = 1  # threads
    partial: bool = False  # of damaged recordings take what there is


@dataclass(frozen=True)
class Imported:
    """What was made, and what a user should know about it."""

    directory: DataDirectory
    seconds: float  # of audio
    converted: int  # recordings
    limited: int  # of these: went beyond full scale when resampled, and were cut off there
    skipped: tuple[Problem, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Named:
    """An opened entry with its ids."""

    opened: Opened
    speaker: str
    utt_id: str
    recording: str


def read_source(root: Path, table: Path | None = None, encoding: str = "") -> Source:
    """A folder with a table, with lhotse's manifests, or with a .txt beside each recording; or lhotse's file of cuts,
    or NeMo's manifest.

    Raises DataError for a source that is none of these.
    """
    if not root.exists():
        raise DataError(str(root), "does not exist", "a folder of recordings", "correct the path")
    if table is not None:
        return read_table(table, root, encoding)
    if is_json_table(root):
        return read_table(root, root.parent, encoding)
    manifests = find_manifests(root)
    return read_manifests(root, manifests) if manifests else read_folder(root, encoding)


def import_corpus(
    source: Source, destination: Path, options: Options, on_progress: OnProgress = lambda done, total, title: None
) -> Imported:
    """Write a data directory, with ``audio/`` for converted recordings and ``skipped.txt`` for rows left out.

    Raises one DataError for all rows that cannot be used, before any audio is converted, or, if these are to be
    skipped, where they are more than ``most_skipped`` of all rows.
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
    readable, unreadable = sift(lambda one: _require_converted(one, peaks), named)
    bad += unreadable
    _accept(bad, source, options)
    directory = _directory(readable, targets)
    directory.write(destination)
    _write_skipped(destination / "skipped.txt", bad)
    reached = [peak for peak in peaks.values() if not isinstance(peak, DataError)]
    return Imported(
        directory=directory,
        seconds=sum(one.opened.end_s - one.opened.entry.start_s for one in readable),
        converted=len(reached),
        limited=sum(peak > 1.0 for peak in reached),
        skipped=tuple(bad),
        notes=(*source.notes, *speaker_notes, *text_notes, *_cut_notes(readable), *_partial_notes(readable)),
    )


def _partial_notes(named: Sequence[Named]) -> list[str]:
    files = list(dict.fromkeys(str(one.opened.entry.audio) for one in named if one.opened.is_partial))
    return [f"damaged recordings of which a part was taken: {len(files)} ({', '.join(files[:5])})"] if files else []


def _with_speakers(entries: Sequence[Entry], speaker_per_file: bool) -> tuple[list[Entry], list[str]]:
    """Where no entry has a speaker they get one; and a note of what was decided."""
    if not entries or any(entry.speaker for entry in entries):
        return list(entries), []
    if speaker_per_file:
        return [replace(entry, speaker=entry.audio.stem) for entry in entries], []
    note = "nothing tells the speakers apart: all are taken for one; --speaker-per-file if there are many"
    return [replace(entry, speaker=ONE_SPEAKER) for entry in entries], [note]


def _with_texts(entries: Sequence[Entry], rules: Rules | None) -> tuple[list[Entry], list[str]]:
    """Entries with normalised texts, and the report on that as lines."""
    if rules is None:
        return [replace(entry, text=" ".join(entry.text.split())) for entry in entries], []
    texts, report = normalise_all({entry.where: entry.text for entry in entries}, rules)
    return [replace(entry, text=texts[entry.where]) for entry in entries], report.lines()


class _Sieve:
    """Lets entries pass, one after the other, that have a speaker, words, and a recording that was not there before."""

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


def _accept(bad: Sequence[Problem], source: Source, options: Options) -> None:
    """Raise unless there is nothing bad, or so little of it that it may be left out."""
    rows = len(source.entries) + len(source.bad)
    if not bad or (options.skip_bad and len(bad) <= options.most_skipped * rows):
        return
    allowed, remedy = "none", "correct them, or leave them out with --skip-bad"
    if options.skip_bad:
        allowed = f"at most {options.most_skipped:.1%}"
        remedy = f"correct them, or allow more, such as --most-skipped {len(bad) / rows + 0.005:.2f}"
    found = f"rows that cannot be used: {len(bad)} of {rows}"
    raise DataError.collect([Problem(str(source.root), found, allowed, remedy), *bad])


def _named(opened: Sequence[Opened], root: Path) -> list[Named]:
    """With ids. A recording that is one utterance has its id, as in Kaldi; others are called after their files."""
    known = speaker_ids([str(one.entry.speaker) for one in opened])
    speakers = [known[str(one.entry.speaker)] for one in opened]
    places = [f"{_place(one.channel, root)} {one.entry.start_s:.6f} {one.end_s:.6f}" for one in opened]
    ids = utterance_ids(speakers, [one.entry.name for one in opened], places)
    recordings = {one.channel: utt_id for one, utt_id in zip(opened, ids, strict=True)}
    if not all(one.is_whole for one in opened):
        names = [path.stem if channel is None else f"{path.stem}_{channel}" for path, channel in recordings]
        found = recording_ids(names, [_place(channel, root) for channel in recordings])
        recordings = dict(zip(recordings, found, strict=True))
    rows = zip(opened, speakers, ids, strict=True)
    return [Named(one, speaker, utt_id, recordings[one.channel]) for one, speaker, utt_id in rows]


def _place(channel: Channel, root: Path) -> str:
    """What tells a channel from all others; it does not change when the whole corpus is moved."""
    path, number = channel
    base = root.resolve()
    return f"{path.relative_to(base) if path.is_relative_to(base) else path} {number}"


def _targets(named: Sequence[Named], folder: Path, sample_rate: int) -> dict[Channel, Path]:
    """Where the recordings go that cannot stay as they are."""
    return {
        one.opened.channel: folder / f"{one.recording}.flac"
        for one in named
        if one.opened.info.sample_rate != sample_rate
        or one.opened.info.channels != 1
        or one.opened.info.is_media
        or one.opened.is_partial
        or not one.opened.is_named_in_utf8  # tables are in UTF-8
    }


def _require_converted(one: Named, peaks: Mapping[Channel, float | DataError]) -> Named:
    peak = peaks.get(one.opened.channel)
    if isinstance(peak, DataError):
        raise error_at(one.opened.entry, peak)
    return one


def _directory(named: Sequence[Named], targets: Mapping[Channel, Path]) -> DataDirectory:
    """With segments if some utterance is not the whole of its recording."""
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


def _cut_notes(named: Sequence[Named]) -> list[str]:
    """One note for all ends that lie a little beyond their recordings."""
    cut = [one.opened for one in named if one.opened.is_cut]
    if not cut:
        return []
    longest_s = max((one.entry.end_s or 0.0) - one.info.duration_s for one in cut)
    first = f"{cut[0].entry.where} first"
    found = f"utterances that end beyond their recording, by {longest_s:.2f} s at most, and now end with it"
    return [f"{found}: {len(cut)} ({first})"]


def _write_skipped(path: Path, bad: Sequence[Problem]) -> None:
    """One line a row; no file where none was skipped."""
    if bad:
        write_text(path, "".join(f"{problem}\n" for problem in bad))
    else:
        path.unlink(missing_ok=True)
