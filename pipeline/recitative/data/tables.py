"""Kaldi's text tables: one ``key value...`` line per entry, UTF-8, Unix line ends, sorted by key in the C locale.

The C locale compares bytes. UTF-8 keeps the order of code points, so Python's order of strings is that order.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from recitative.atomic import replacing
from recitative.errors import DataError, Problem
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
"""The tables of a data directory and what each is keyed by (kaldi/egs/wsj/s5/utils/validate_data_dir.sh)."""

BLANKS = " \t"  # what separates columns; other Unicode blanks are part of a word, and an error


@dataclass(frozen=True)
class Row:
    line: int  # from 1
    key: str
    value: str  # the rest of the line without blanks at either end; may be empty


def read_table(path: str | Path) -> list[Row]:
    """Read a table in the order of the file.

    Raises one DataError that holds every fault of form (missing file, bad UTF-8, CRLF, empty line, leading blank, no
    final newline, duplicate key, order), so what is returned is well-formed, sorted and unique.
    """
    rows, problems = scan_table(path)
    problems += order_problems(path, rows)
    if problems:
        raise DataError.collect(problems)
    return rows


def scan_table(path: str | Path) -> tuple[list[Row], list[Problem]]:
    """Read what can be read of a table, and name what is wrong with the form of its lines."""
    try:
        content = read_bytes(path, "a table of 'key value' lines", "make it")
    except DataError as error:
        return [], list(error.problems)
    if wide_encoding(content):
        return [], [encoding_problem(content, str(path))]
    if not content:
        return [], [Problem(str(path), "is empty", "one line per entry", "fill it or remove it")]
    rows: list[Row] = []
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


def order_problems(path: str | Path, rows: Iterable[Row]) -> list[Problem]:
    """Name every duplicate key, and the first line that is out of order."""
    problems: list[Problem] = []
    first_line: dict[str, int] = {}
    previous: Row | None = None
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
    """Write ``key value`` lines sorted in the C locale; atomic: a reader sees the old table or the whole new one."""
    write_tables(Path(path).parent, {Path(path).name: entries}, keep_others=True)


def write_tables(folder: str | Path, tables: Mapping[str, Mapping[str, str]], *, keep_others: bool = False) -> None:
    """Write tables into a folder, made if need be; all are written out before the first takes its place.

    Unless ``keep_others``, tables of TABLES that are not among them are removed: they would no longer agree.
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


def _parse_line(where: str, number: int, line: bytes) -> tuple[Row | None, list[Problem]]:
    problems: list[Problem] = []
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        file = where.rpartition(":")[0]
        return None, [replace(encoding_problem(line, file), where=where)]
    if "\r" in text:
        problems.append(
            Problem(where, "has a carriage return (CRLF)", "Unix line ends", "run 'recitative check --fix'")
        )
        text = text.replace("\r", "")
    if not text.strip(BLANKS):
        return None, [*problems, Problem(where, "is empty", "'key value'", "remove the line")]
    if text[0] in BLANKS:
        problems.append(Problem(where, "starts with a blank", "'key value'", "remove the blank"))
    if "\0" in text:
        problems.append(Problem(where, "has a zero byte", "text", "restore the file from its source"))
    key, _, value = text.replace("\t", " ").strip(" ").partition(" ")
    return Row(number, key, value.strip(" ")), problems
