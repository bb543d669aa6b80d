"""A table of recordings and transcripts: CSV, TSV, Common Voice's validated.tsv, LJSpeech's metadata.csv, and the JSON
lines of NeMo's manifests."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from recitative.data.importing.sources import Entry, Finder, Source, has_suffix, read_encoded
from recitative.errors import DataError, Problem
from recitative.reading import is_file, opened, parsed_json, shown
from recitative.text.normalize import normalize

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
        return _read_json_lines(table, folder, text, finder)
    rows = _read_rows(table, text)
    columns, has_header, notes = _find_columns(table, rows)
    entries: list[Entry] = []
    bad: list[Problem] = []
    for line, fields in rows[has_header:]:
        where = f"{table}:{line}"
        if len(fields) != columns.count:
            remedy = "correct the row, or quote what has the delimiter in it"
            bad.append(Problem(where, f"has {len(fields)} columns", f"{columns.count}", remedy))
        elif not fields[columns.audio].strip():
            bad.append(Problem(where, "names no recording", "a path", "complete the row"))
        else:
            name = fields[columns.audio].strip()
            speaker = (fields[columns.speaker].strip() or None) if columns.speaker is not None else None
            try:
                entries.append(Entry(where, _found(where, name, finder), fields[columns.text], speaker, _stem(name)))
            except DataError as error:
                bad.extend(error.problems)
    return Source(folder, tuple(entries), tuple(bad), (*notes, *finder.note(table)))


def is_json_table(path: Path) -> bool:
    """Whether it is a NeMo manifest, not one of lhotse."""
    if not is_file(path) or path.suffix == ".gz":
        return False
    with opened(path, "a folder of recordings, or a manifest") as stream:
        return re.match(rb'\s*\{[^{}]*"audio_filepath"', stream.read(1 << 16)) is not None


def _read_json_lines(table: Path, folder: Path, text: str, finder: Finder) -> Source:
    """NeMo's manifests: audio_filepath, text, and optional offset and duration."""
    entries: list[Entry] = []
    bad: list[Problem] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{table}:{number}"
        try:
            entries.append(_json_entry(where, parsed_json(line, where, "one object a line"), finder))
        except DataError as error:
            bad.extend(error.problems)
    return Source(folder, tuple(entries), tuple(bad), tuple(finder.note(table)))


def _json_entry(where: str, row: object, finder: Finder) -> Entry:
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


def _found(where: str, name: str, finder: Finder) -> Path:
    """Raises DataError that names the nearest file."""
    path = finder.find(name)
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
    if not text.strip():
        raise DataError(str(table), "is empty", "one row per recording", "fill it")
    delimiter = ""
    if named := _SEPARATOR_LINE.match(text):
        delimiter, text = named[1], "\n" + text[named.end() :]
    try:
        return _split(text, delimiter or _find_delimiter(table, text))
    except csv.Error as error:
        raise DataError(str(table), f"is not a table ({error})", "a CSV or TSV file", "correct it") from None


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
    found = f"has {len(header)} columns and no header with the names of recording and transcript"
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
