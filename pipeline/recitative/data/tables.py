"""Kaldi's text tables: one ``key value...`` line per entry, UTF-8, Unix line ends, sorted by key in the C locale.

The C locale compares bytes. UTF-8 keeps the order of code points, so Python's order of strings is that order. The form
of tables and what their columns may hold follow kaldi/egs/wsj/s5/utils/validate_data_dir.sh.
"""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from recitative.atomic import replacing
from recitative.errors import DataError, Problem, counted, raise_all
from recitative.reading import encoding_problem, read_bytes, wide_encoding

KeyKind = Literal["utterance", "speaker", "recording"]

TABLES: Mapping[str, KeyKind] = {
    "wav.scp": "recording",  # path of a recording; without 'segments' a recording is an utterance
    "segments": "utterance",  # recording start_s end_s
    "text": "utterance",
    "utt2spk": "utterance",
    "spk2utt": "speaker",
    "spk2gender": "speaker",
    "utt2dur": "utterance",
    "utt2num_frames": "utterance",
    "utt2lang": "utterance",
    "utt2uniq": "utterance",
    "utt2warp": "utterance",
    "spk2warp": "speaker",
    "feats.scp": "utterance",
    "vad.scp": "utterance",
    "cmvn.scp": "speaker",
    "reco2dur": "recording",
    "reco2file_and_channel": "recording",
}
"""The tables of a data directory, and the kind of key of each."""

BLANKS = " \t"  # column separators; other Unicode blanks are part of a word, and an error


@dataclass(frozen=True)
class TableRow:
    line: int  # from 1
    key: str
    value: str  # the rest of the line without blanks at either end; may be empty


def read_table(path: str | Path) -> list[TableRow]:
    """Read a table in the order of the file.

    Raises one DataError with every fault of form (missing file, bad UTF-8, CRLF, empty line, leading blank, no final
    newline, duplicate key, order), so the rows returned are well-formed, sorted and unique.
    """
    rows, problems = scan_table(path)
    problems += order_problems(path, rows)
    raise_all(problems)
    return rows


def scan_table(path: str | Path) -> tuple[list[TableRow], list[Problem]]:
    """Read as much of a table as possible; returns its rows and the faults of form."""
    try:
        content = read_bytes(path, "a table of 'key value' lines", "make it")
    except DataError as error:
        return [], list(error.problems)
    if wide_encoding(content):
        return [], [encoding_problem(content, str(path))]
    if not content:
        return [], [Problem(str(path), "is empty", "one line per entry", "fill it or remove it")]
    rows: list[TableRow] = []
    problems: list[Problem] = []
    if content.startswith(codecs.BOM_UTF8):
        content = content.removeprefix(codecs.BOM_UTF8)
        mark = "begins with a byte-order mark (U+FEFF)"
        problems.append(Problem(f"{path}:1", mark, "UTF-8 without it", "run 'recitative check --fix'"))
    lines = content.split(b"\n")
    if lines[-1]:
        problems.append(Problem(f"{path}:{len(lines)}", "the last line has no newline", "", "end it with a newline"))
    else:
        lines.pop()
    for number, line in enumerate(lines, start=1):
        row, found = _parse_line(f"{path}:{number}", number, line)
        problems += found
        rows += [row] if row else []
    return rows, problems


def order_problems(path: str | Path, rows: Iterable[TableRow]) -> list[Problem]:
    """Every duplicate key, and the first line that is out of order."""
    problems: list[Problem] = []
    first_line: dict[str, int] = {}
    previous: TableRow | None = None
    unsorted: Problem | None = None
    for row in rows:
        if row.key in first_line:
            found = f"'{row.key}' appears again, first in line {first_line[row.key]}"
            problems.append(Problem(f"{path}:{row.line}", found, "one line per key", "remove one of them"))
        elif previous and row.key < previous.key and not unsorted:
            found = f"'{row.key}' comes after '{previous.key}'"
            remedy = f"sort with 'LC_ALL=C sort -k1,1 {path}' or 'recitative check --fix {Path(path).parent}'"
            unsorted = Problem(f"{path}:{row.line}", found, "lines sorted by key in the C locale", remedy)
        first_line.setdefault(row.key, row.line)
        previous = row
    return [*problems, unsorted] if unsorted else problems


def write_table(path: str | Path, entries: Mapping[str, str]) -> None:
    """Write ``key value`` lines sorted in the C locale; atomic."""
    write_tables(Path(path).parent, {Path(path).name: entries}, keep_others=True)


def write_tables(folder: str | Path, tables: Mapping[str, Mapping[str, str]], *, keep_others: bool = False) -> None:
    """Write tables into a folder, which is created if needed; all are written before the first replaces an old one.

    Unless ``keep_others``, other tables of TABLES are removed: they would no longer agree.
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    with ExitStack() as written:
        for name, entries in tables.items():
            written.enter_context(replacing(target / name)).write_bytes(_encoded(target / name, entries))
    for name in TABLES.keys() - tables.keys() if not keep_others else ():
        (target / name).unlink(missing_ok=True)


def _encoded(path: Path, entries: Mapping[str, str]) -> bytes:
    """Raises DataError for a path with bytes that are not UTF-8, which no table can hold."""
    try:
        return table_text(entries).encode("utf-8")
    except UnicodeEncodeError as error:
        line = error.object[error.object.rfind("\n", 0, error.start) + 1 :].partition("\n")[0]
        raise DataError(str(path), f"would hold '{line}'", "UTF-8", "rename that file or folder") from None


def table_text(entries: Mapping[str, str]) -> str:
    """A table's content, sorted in the C locale."""
    return "".join(f"{key} {entries[key]}".rstrip(BLANKS) + "\n" for key in sorted(entries))


def _parse_line(where: str, number: int, line: bytes) -> tuple[TableRow | None, list[Problem]]:
    problems: list[Problem] = []
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        file = where.rpartition(":")[0]
        return None, [replace(encoding_problem(line, file), where=where)]
    if "\r" in text:
        found = "has a carriage return (CRLF)"
        problems.append(Problem(where, found, "Unix line ends", "run 'recitative check --fix'"))
        text = text.replace("\r", "")
    if not text.strip(BLANKS):
        return None, [*problems, Problem(where, "is empty", "'key value'", "remove the line")]
    if text[0] in BLANKS:
        problems.append(Problem(where, "starts with a blank", "'key value'", "remove the blank"))
    if "\0" in text:
        problems.append(Problem(where, "has a zero byte", "text", "restore the file from its source"))
    key, _, value = text.replace("\t", " ").strip(" ").partition(" ")
    return TableRow(number, key, value.strip(" ")), problems


UNUSUAL_BLANK = re.compile(r"[^\S ]")  # tabs, line breaks, no-break space and other Unicode blanks
RESERVED_WORDS = ("<s>", "</s>", "#0")  # language models and decoding graphs use them; Kaldi refuses them in text


@dataclass(frozen=True)
class Fault:
    """A problem without its location."""

    found: str
    allowed: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class SegmentTimes:
    recording: str
    start_s: float
    end_s: float | None  # None: to the end of the recording, which Kaldi writes as -1


TO_THE_END = -1.0  # of a recording, as the end of a segment (kaldi/src/featbin/extract-segments.cc)
_SEGMENT_COLUMNS = "'utterance recording start_s end_s'"
_NUMBER_RANGES: Mapping[str, tuple[float, float, str]] = {
    "utt2dur": (0.0, math.inf, "one positive number of seconds"),
    "reco2dur": (0.0, math.inf, "one positive number of seconds"),
    "utt2num_frames": (0.0, math.inf, "one positive whole number"),
    "utt2warp": (0.5, 1.5, "one number between 0.5 and 1.5"),
    "spk2warp": (0.5, 1.5, "one number between 0.5 and 1.5"),
}


def column_fault(table: str, value: str) -> Fault | None:
    """The fault of the columns after the key, or None."""
    blank = UNUSUAL_BLANK.search(value)
    if blank:
        return Fault(f"has the blank U+{ord(blank[0]):04X}", "single spaces between words", "replace it by a space")
    if "\0" in value:
        return Fault("has a zero byte", "text", "restore the file from its source")
    if table == "text":  # 'recitative check' reports empty transcripts
        reserved = next((word for word in RESERVED_WORDS if word in value), None)
        return Fault(f"has '{reserved}'", "words only, no sentence marks", "remove it") if reserved else None
    if not value:
        return Fault("has no value", "at least two columns", "complete the line")
    if table == "wav.scp" and (value.endswith("|") or value.startswith("|")):
        allowed = "the path of a file: commands are not run"
        return Fault(f"is a command ('{_shorten(value)}')", allowed, "run it once and name the file it makes")
    if table == "wav.scp" and value.startswith("~"):
        return Fault(f"'{_shorten(value)}' starts with '~'", "a path that needs no shell", "write the path out")
    if table == "segments":
        return _segment_fault(value)
    if table in _NUMBER_RANGES:
        low, high, allowed = _NUMBER_RANGES[table]
        number = _number(value)
        is_whole = number is not None and number == int(number)
        if number is None or not low < number < high or (table == "utt2num_frames" and not is_whole):
            return Fault(f"'{_shorten(value)}'", allowed, "correct the line, or remove the table")
    if table == "spk2gender" and value not in ("m", "f"):
        return Fault(f"'{value}'", "m or f", "correct the line")
    if table == "reco2file_and_channel" and value.split()[1:] not in (["A"], ["B"], ["1"]):
        return Fault(f"'{_shorten(value)}'", "'recording file channel' with channel A or B", "correct the line")
    if table in ("utt2spk", "utt2lang", "utt2uniq") and " " in value:
        return Fault(f"{value.count(' ') + 2} columns", "two", "correct the line: ids have no blanks")
    return None


def parse_segment(value: str) -> SegmentTimes:
    """Parse 'recording start_s end_s', which has passed ``column_fault``."""
    recording, start_s, end_s = value.split()
    return SegmentTimes(recording, float(start_s), None if float(end_s) == TO_THE_END else float(end_s))


def segment_value(recording: str, start_s: float, end_s: float | None) -> str:
    """Format a value for ``parse_segment``."""
    return f"{recording} {start_s:.10g} {TO_THE_END if end_s is None else end_s:.10g}"


def words_of(value: str) -> str:
    """A transcript as Kaldi's tools see it: words separated by one space."""
    return " ".join(word for word in value.split(" ") if word)


def _segment_fault(value: str) -> Fault | None:
    columns = value.split()
    if len(columns) != 3:
        return Fault(counted(len(columns) + 1, "column"), _SEGMENT_COLUMNS, "correct the line")
    start_s, end_s = _number(columns[1]), _number(columns[2])
    if start_s is None or end_s is None:
        return Fault(f"'{columns[1]} {columns[2]}' are not two numbers", _SEGMENT_COLUMNS, "correct the line")
    if not 0 <= start_s < (math.inf if end_s == TO_THE_END else end_s):
        allowed = "0 <= start < end, in seconds; an end of -1 is that of the recording"
        return Fault(f"start {columns[1]} and end {columns[2]}", allowed, "correct the line")
    return None


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _shorten(value: str) -> str:
    return value if len(value) <= 60 else f"{value[:57]}..."


@dataclass(frozen=True, order=True)
class Utterance:
    """One stretch of speech by one speaker."""

    utt_id: str
    speaker: str
    recording_path: str  # of a file, or a location inside one (``audio.recording``)
    start_s: float = 0.0
    end_s: float | None = None  # None: to the end of the recording
    text: str | None = None  # words with single spaces; None: not transcribed
    recording_id: str = ""  # the key in wav.scp; empty: the utterance's own id

    @property
    def is_segment(self) -> bool:
        """Whether the table segments names it; else its recording is the utterance."""
        return self.end_s is not None or bool(self.recording_id)
