"""Sources of recordings and transcripts: folders with a transcript or annotations for each recording; tables, such as
CSV, TSV, Common Voice's validated.tsv, LJSpeech's metadata.csv, NeMo's manifests; and the files of NIST's sclite."""

from __future__ import annotations

import csv
import difflib
import io
import math
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from recitative.audio.files import SUFFIXES
from recitative.audio.recording import AudioSlice
from recitative.data.annotations import (
    ALL_TIERS,
    READERS,
    StmLine,
    chosen_tiers,
    is_labels,
    read_labels,
    read_stm,
    read_trn,
)
from recitative.errors import DataError, Problem, counted
from recitative.reading import decoded, is_file, opened, parsed_json, read_bytes, shown
from recitative.text.normalize import normalize

A = TypeVar("A")
B = TypeVar("B")


@dataclass(frozen=True)
class Entry:
    """One utterance as its source describes it, unchecked."""

    where: str  # location in the source: 'metadata.csv:17'
    audio: Path
    text: str
    speaker: str | None  # None: the source names no speakers
    name: str  # distinguishes it from the speaker's other utterances
    start_s: float = 0.0
    end_s: float | None = None  # None: to the end of the recording
    channel: int | None = None  # from 0; None: all, averaged

    @property
    def recording(self) -> str:
        """The name of its recording: of a file, or within a tar."""
        return self.name if AudioSlice.parse(str(self.audio)) else self.audio.stem


@dataclass(frozen=True)
class Source:
    """The content of a source."""

    root: Path  # the path given by the user
    entries: tuple[Entry, ...]
    bad: tuple[Problem, ...] = ()  # one for every row that is not an entry
    notes: tuple[str, ...] = ()  # automatic decisions, for the user


def sift(work: Callable[[A], B], items: Iterable[A]) -> tuple[list[B], list[Problem]]:
    """Results of ``work`` for the items, and the problems of those for which it raises DataError."""
    made: list[B] = []
    problems: list[Problem] = []
    for item in items:
        try:
            made.append(work(item))
        except DataError as error:
            problems.extend(error.problems)
    return made, problems


def read_encoded(path: Path, encoding: str, wanted: str, remedy: str = "correct the path") -> str:
    """The text of a file without byte-order mark; encoding: empty for UTF-8, or UTF-16 with a mark.

    Raises DataError that names the likely encoding of a file that is not UTF-8.
    """
    content = read_bytes(path, wanted, remedy)
    if encoding:
        try:
            return content.decode(encoding).removeprefix("\ufeff")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            raise DataError(f"{path}:{line}", f"is not {encoding}", "--encoding as the file has it", "") from None
    try:
        return decoded(content, str(path))
    except DataError as error:
        (problem,) = error.problems
        remedy = "if that is right, say --encoding cp1252" if "Windows-1252" in problem.found else "say --encoding NAME"
        raise DataError(problem.where, problem.found, problem.allowed, remedy) from None


_MAX_COMPARED = 20_000  # names of a folder in a search for the nearest


class Finder:
    """Finds recordings by the names in a table, in several folders.

    When tables move between machines, names change: another Unicode form (macOS decomposes accents), ``\\\\`` between
    folders, another case, a missing suffix, an id in place of a name with blanks. Such a name is resolved if only one
    file matches; ``renamed`` lists the (name, file) pairs.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = folders
        self._listings: dict[Path, dict[str, list[str]]] = {}
        self.renamed: list[tuple[str, Path]] = []

    def find(self, name: str) -> Path | None:
        """The file of that name, with a suffix if it has none; None if no file or several match."""
        for folder in self._folders:
            for suffix in _suffixes(name):
                if is_file(folder / f"{name}{suffix}"):
                    return folder / f"{name}{suffix}"
        for folder in self._folders:
            found = list(self._alike(folder, _parts(name)))
            if len(found) == 1:
                self.renamed.append((name, found[0]))
                return found[0]
            if found:
                return None
        return None

    def nearest(self, name: str) -> str:
        """The most similar file name; empty if there is none."""
        *parents, last = _parts(name) or [""]
        for base in self._folders:
            for folder in (base.joinpath(*parents), base) if parents else (base,):
                listing = self._listing(folder)
                if len(listing) <= _MAX_COMPARED and (near := difflib.get_close_matches(_folded(last), listing, n=1)):
                    return shown(listing[near[0]][0])
        return ""

    def note(self, table: Path) -> list[str]:
        """One line for all names with another spelling."""
        if not self.renamed:
            return []
        name, path = self.renamed[0]
        found = f"{table}: recordings whose files are spelled differently (case, accents, blanks, '_', '\\' or suffix)"
        return [f"{found}: {len(self.renamed)}, first '{shown(path.name)}' for '{shown(name)}'"]

    def _alike(self, folder: Path, parts: Sequence[str]) -> Iterator[Path]:
        if not parts:
            return
        if len(parts) > 1:
            for name in self._listing(folder).get(_folded(parts[0]), ()):
                yield from self._alike(folder / name, parts[1:])
            return
        for suffix in _suffixes(parts[0]):
            for name in self._listing(folder).get(_folded(f"{parts[0]}{suffix}"), ()):
                if is_file(folder / name):
                    yield folder / name

    def _listing(self, folder: Path) -> dict[str, list[str]]:
        """Folded name -> names; empty if it is not a folder."""
        if folder not in self._listings:
            listing: dict[str, list[str]] = defaultdict(list)
            try:
                for name in sorted(os.listdir(folder)):
                    listing[_folded(name)].append(name)
            except (OSError, ValueError):
                pass
            self._listings[folder] = listing
        return self._listings[folder]


def has_suffix(name: str) -> bool:
    """Whether a name has the suffix of a recording."""
    return Path(name).suffix.lower() in SUFFIXES


def _suffixes(name: str) -> list[str]:
    return [""] if has_suffix(name) else ["", *sorted(SUFFIXES)]


def _parts(name: str) -> list[str]:
    return [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]


def _folded(name: str) -> str:
    """Ids that are made from names have '_' or '-' for blanks, and '-' for '_'."""
    name = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
    return re.sub(r"[\s_]", "-", name)


def read_folder(folder: Path, encoding: str = "", tiers: Sequence[str] = (), texts: Path | None = None) -> Source:
    """A folder of recordings at any depth, each with a transcript: 'anna/01.wav' and 'anna/01.txt'. Speakers are the
    sub-folders, if there are any.

    A transcript is a .txt, which may be a label track of Audacity, or a .TextGrid or .eaf, whose annotations become
    utterances. tiers: those to read, see ``chosen_tiers``; with them, a .txt is used only where there is no other
    texts: the folder of the transcripts, with the same names; None: beside the recordings

    Raises DataError for a folder without recordings, or without transcripts.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    recordings = [path for path in files if path.suffix.lower() in SUFFIXES]
    if not recordings:
        os.listdir(folder)  # raises PermissionError, which glob hides
        raise DataError(str(folder), "has no recordings", ", ".join(sorted(SUFFIXES)), "correct the path")
    found = _find_transcripts(recordings, folder, texts or folder, bool(tiers))
    if not found:
        tables = [path for path in files if path.suffix.lower() in (".csv", ".tsv", ".stm", ".trn")]
        remedy = f"say '--table {tables[0]}'" if len(tables) == 1 else "name the table of transcripts with --table"
        allowed = "a .txt, .TextGrid or .eaf beside each recording, a table, or lhotse's manifests"
        raise DataError(str(folder), "has recordings and no transcripts", allowed, remedy)
    has_speakers = any(path.parent != folder for path in recordings)

    def entries_of(path: Path) -> list[Entry]:
        first, *others = path.relative_to(folder).parts  # files outside sub-folders: the speaker is the whole folder
        speaker = (first if others else folder.resolve().name) if has_speakers else None
        return _entries_of(path, found.get(path) or path.with_suffix(".txt"), speaker, encoding, tiers)

    entries, bad = sift(entries_of, recordings)
    owned = set(found.values())
    unused = [str(path.relative_to(folder)) for path in files if _is_transcript(path) and path not in owned]
    note = f"{folder}: transcripts without a recording beside them, not used"
    notes = (f"{note}: {len(unused)} ({', '.join(unused[:5])})",) if unused else ()
    return Source(folder, tuple(entry for several in entries for entry in several), tuple(bad), notes)


def _is_transcript(path: Path) -> bool:
    return path.suffix.lower() in (".txt", *READERS)


def _find_transcripts(recordings: Sequence[Path], folder: Path, texts: Path, tiers: bool) -> dict[Path, Path]:
    """Recording -> its transcript, for those that have one."""
    known: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(texts.rglob("*")):
        if _is_transcript(path) and path.is_file():
            known[path.relative_to(texts).with_suffix("").as_posix()].append(path)
    found = {}
    for path in recordings:
        choices = known.get(path.relative_to(folder).with_suffix("").as_posix()) or known.get(path.stem, [])
        if choices:
            found[path] = min(choices, key=lambda one: (one.suffix.lower() == ".txt") == tiers)
    return found


def _entries_of(path: Path, transcript: Path, speaker: str | None, encoding: str, tiers: Sequence[str]) -> list[Entry]:
    """One entry, or one for each annotation. Raises DataError."""
    if read := READERS.get(transcript.suffix.lower()):
        found = read(transcript)
    else:
        text = read_encoded(transcript, encoding, "a transcript beside each recording", "write it")
        if not is_labels(text):
            return [Entry(str(path), path, " ".join(text.split()), speaker, path.stem)]
        found = read_labels(text)
    chosen = chosen_tiers(found, tiers, str(transcript))
    are_speakers = len(chosen) > 1 or len(tiers) > 1 or list(tiers) == [ALL_TIERS]
    if not any(tier.spans for tier in chosen):
        raise DataError(str(transcript), "has no annotation with text", "at least one", "annotate it, or remove it")
    return [
        Entry(
            where=f"{transcript}: tier '{tier.name}', {number}",
            audio=path,
            text=text,
            speaker=tier.speaker or (tier.name if are_speakers else speaker),
            name=f"{path.stem}-{start_s:.3f}",
            start_s=start_s,
            end_s=end_s,
        )
        for tier in chosen
        for number, (start_s, end_s, text) in enumerate(tier.spans, start=1)
    ]


METADATA = ("metadata.csv", "metadata.jsonl")
"""The table of a folder that Hugging Face's ``datasets`` calls an audiofolder."""


def read_sclite(table: Path, folder: Path) -> Source:
    """The segments of an STM file, or the lines of a TRN file, whose ids name recordings in ``folder`` without suffix.

    A TRN file's speakers are the beginnings of its ids, as for sclite.
    """
    finder = Finder([base / name for base in dict.fromkeys((folder, table.parent)) for name in FOLDERS])
    if table.suffix.lower() == ".trn":
        lines, problems = read_trn(table)

        def entry_of(item: tuple[str, tuple[str, str]]) -> Entry:
            utt_id, (where, text) = item
            speaker = re.split("[-_]", utt_id, maxsplit=1)[0]
            return Entry(where, _found(where, utt_id, finder, speaker), text, speaker, _stem(utt_id))

        entries, bad = sift(entry_of, lines.items())
        return Source(folder, tuple(entries), (*problems, *bad), tuple(finder.note(table)))
    segments, problems, left_out = read_stm(table)
    channels: dict[str, list[str]] = defaultdict(list)
    for one in segments:
        if one.channel not in channels[one.recording]:
            channels[one.recording].append(one.channel)

    def segment_of(one: StmLine) -> Entry:
        known = sorted(channels[one.recording])
        channel = known.index(one.channel) if len(known) > 1 else None
        path = _found(one.where, one.recording, finder, one.speaker)
        name = f"{_stem(one.recording)}-{one.start_s:.3f}"
        return Entry(one.where, path, one.text, one.speaker, name, one.start_s, one.end_s, channel)

    entries, bad = sift(segment_of, segments)
    notes = [f"{table}: segments without words or not to be scored, left out: {left_out}"] if left_out else []
    return Source(folder, tuple(entries), (*problems, *bad), (*notes, *finder.note(table)))


NAMES: Mapping[str, tuple[str, ...]] = {
    "audio": (
        "path", "audio", "file", "filename", "wav", "wav_filename", "audio_path", "audio_file", "file_name",
        "audio_filepath", "wav_path", "utt_id", "id",
    ),
    "text": ("text", "transcript", "sentence", "transcription", "normalized_text", "normalized_transcription"),
    "speaker": ("speaker", "client_id", "speaker_id", "spk", "speaker_name"),
}  # fmt: skip
"""Names of the columns; the first of several in one table is used."""

DELIMITERS = "\t|;,"
"""Tried in this order: the text itself is most likely to contain commas."""

FOLDERS = ("", "clips", "wavs", "wav", "audio")
"""Sub-folders of the recordings' folder in which files are searched."""

SAMPLE = 50  # rows from which columns are recognized
SAME_TEXT = 1 / 3  # share of them in which two transcripts are equal


@dataclass(frozen=True)
class TableColumns:
    """Column numbers, from 0."""

    audio: int
    text: int
    speaker: int | None
    count: int


_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?[ \t,;]*(?:\r\n|\n|\r)')
"""Excel's optional first line, which names the delimiter."""

NumberedRow = tuple[int, list[str]]
"""(line of the file, from 1; its fields)"""


def read_table(table: Path, folder: Path, encoding: str = "") -> Source:
    """Every row as an entry; its recording is searched in ``folder`` and next to the table.

    encoding: of the file; empty: UTF-8, or UTF-16 with a mark. Raises DataError for a file that is not a table, or
    whose columns cannot be recognized.
    """
    text = read_encoded(table, encoding, "a CSV or TSV file")
    finder = Finder([base / name for base in dict.fromkeys((folder, table.parent)) for name in FOLDERS])
    if text.lstrip().startswith("{"):
        lines = [(f"{table}:{number}", line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
        made, unusable = sift(lambda line: _json_entry(*line, finder), lines)
        return Source(folder, tuple(made), tuple(unusable), tuple(finder.note(table)))
    rows = _read_rows(table, text)
    columns, has_header, notes = _find_columns(table, rows)

    def entry_of(row: NumberedRow) -> Entry:
        line, fields = row
        where = f"{table}:{line}"
        if len(fields) != columns.count:
            remedy = "correct the row, or quote what has the delimiter in it"
            raise DataError(where, f"has {counted(len(fields), 'column')}", f"{columns.count}", remedy)
        name = fields[columns.audio].strip()
        if not name:
            raise DataError(where, "names no recording", "a path", "complete the row")
        speaker = (fields[columns.speaker].strip() or None) if columns.speaker is not None else None
        return Entry(where, _found(where, name, finder), fields[columns.text], speaker, _stem(name))

    entries, bad = sift(entry_of, rows[has_header:])
    return Source(folder, tuple(entries), tuple(bad), (*notes, *finder.note(table)))


def is_json_table(path: Path) -> bool:
    """Whether it is a NeMo manifest, not one of lhotse."""
    if not is_file(path) or path.suffix == ".gz":
        return False
    with opened(path, "a folder of recordings, or a manifest") as stream:
        return re.match(rb'\s*\{[^{}]*"audio_filepath"', stream.read(1 << 16)) is not None


def _json_entry(where: str, line: str, finder: Finder) -> Entry:
    """A line of NeMo's manifests: audio_filepath, text, and optional offset and duration."""
    row = parsed_json(line, where, "one object a line")
    if not isinstance(row, Mapping):
        raise DataError(where, f"is a {type(row).__name__}", "one object a line", "make the manifest again")
    found = {kind: next((row[name] for name in names if row.get(name)), "") for kind, names in NAMES.items()}
    if not isinstance(found["audio"], str) or not isinstance(found["text"], str) or not found["audio"]:
        raise DataError(where, "names no recording and its words", "'audio_filepath' and 'text'", "complete it")
    start_s, duration_s = (row.get(name, otherwise) for name, otherwise in (("offset", 0.0), ("duration", None)))
    for seconds in (start_s, 0.0 if duration_s is None else duration_s):
        if not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
            raise DataError(where, f"has the time {str(seconds)[:60]!r}", "seconds, 0 or more", "correct the line")
    name, speaker = found["audio"], str(found["speaker"]) or None
    end_s = None if duration_s is None else round(start_s + duration_s, 6)
    label = f"{_stem(name)}-{start_s:.3f}" if start_s else _stem(name)
    return Entry(where, _found(where, name, finder), found["text"], speaker, label, float(start_s), end_s)


def _found(where: str, name: str, finder: Finder, speaker: str = "") -> Path:
    """speaker: may stand before the name, as in our ids. Raises DataError that names the nearest file."""
    path = finder.find(name)
    if path is None and speaker:
        path = finder.find(re.sub(f"^{re.escape(speaker)}[-_]", "", name))
    if path is None:
        nearest = finder.nearest(name)
        remedy = f"did you mean '{nearest}'?" if nearest else "correct the path (relative to the folder or the table)"
        raise DataError(where, f"({shown(name)}) does not exist", "a recording", remedy)
    return path


def _stem(name: str) -> str:
    name = name.replace("\\", "/")
    return Path(name).stem if has_suffix(name) else Path(name).name


def _read_rows(table: Path, text: str) -> list[NumberedRow]:
    """The non-empty rows, at least one. Raises DataError for a file that is not a table."""
    empty = DataError(str(table), "is empty", "one row per recording", "fill it")
    delimiter = ""
    if named := _SEPARATOR_LINE.match(text):
        delimiter, text = named[1], "\n" + text[named.end() :]
    if not text.strip():
        raise empty
    try:
        rows = _split(text, delimiter or _find_delimiter(table, text))
    except csv.Error as error:
        raise DataError(str(table), f"is not a table ({error})", "a CSV or TSV file", "correct it") from None
    if not rows:
        raise empty
    return rows


def _split(text: str, delimiter: str) -> list[NumberedRow]:
    """Fields may be quoted with commas and semicolons; with tabs and bars a quote is part of the text."""
    lines = io.StringIO(text, newline="")
    if delimiter in ",;":
        reader = csv.reader(lines, delimiter=delimiter)
    else:
        reader = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE)
    return [(reader.line_num, fields) for fields in reader if any(field.strip() for field in fields)]


def _find_delimiter(table: Path, text: str) -> str:
    """The one that gives the header known names, else the one that gives all rows the same number of columns."""
    beginning = "".join(text.splitlines(keepends=True)[:SAMPLE])
    split = {delimiter: [fields for _, fields in _split(beginning, delimiter)] for delimiter in DELIMITERS}
    for delimiter, rows in split.items():
        if rows and {"audio", "text"} <= _named(rows[0]).keys():
            return delimiter
    for delimiter, rows in split.items():
        if len({len(fields) for fields in rows}) == 1 and len(rows[0]) > 1:
            return delimiter
    allowed = "columns separated by tabs, commas, semicolons or bars"
    raise DataError(str(table), "has no columns, or not the same number in every row", allowed, "correct it")


def _named(header: Sequence[str]) -> dict[str, int]:
    """Audio, text and speaker -> the column that has one of its names."""
    places = {re.sub(r"[\s-]+", "_", name.strip().lower()): place for place, name in reversed(list(enumerate(header)))}
    found = {kind: next((places[name] for name in names if name in places), None) for kind, names in NAMES.items()}
    return {kind: place for kind, place in found.items() if place is not None}


def _find_columns(table: Path, rows: Sequence[NumberedRow]) -> tuple[TableColumns, bool, list[str]]:
    """(columns, whether the first row is a header, notes)"""
    header = rows[0][1]
    named = _named(header)
    if {"audio", "text"} <= named.keys():
        return TableColumns(named["audio"], named["text"], named.get("speaker"), len(header)), True, []
    if len(header) == 2 and "audio" not in named:
        return TableColumns(0, 1, None, 2), False, []
    if len(header) == 3 and "audio" not in named:
        columns, note = _three_columns(table, [fields for _, fields in rows[:SAMPLE] if len(fields) == 3])
        return columns, False, [note]
    found = f"has {counted(len(header), 'column')} and no header with the names of recording and transcript"
    allowed = "; ".join(f"{kind}: {', '.join(NAMES[kind])}" for kind in ("audio", "text"))
    raise DataError(f"{table}:1", found, allowed, "name the columns in the first row")


def _three_columns(table: Path, rows: Sequence[Sequence[str]]) -> tuple[TableColumns, str]:
    """Which of the second and third column is the speaker: the one without blanks, if the other has some.

    If both have the same text, as in LJSpeech, the third has numbers written as words.
    """
    same = sum(normalize(fields[1]) == normalize(fields[2]) for fields in rows)
    if same >= SAME_TEXT * len(rows):
        return TableColumns(0, 2, None, 3), f"{table}: has two transcripts; the second is taken"
    names = [all(len(fields[place].split()) <= 1 for fields in rows) for place in (1, 2)]
    if names == [True, False]:
        return TableColumns(0, 2, 1, 3), f"{table}: no header; the columns are recording, speaker, text"
    if names == [False, True]:
        return TableColumns(0, 1, 2, 3), f"{table}: no header; the columns are recording, text, speaker"
    found = "has three columns and no header, and either of the last two could be the speaker"
    raise DataError(f"{table}:1", found, "a header", "write 'path', 'text' and 'speaker' over the columns")
