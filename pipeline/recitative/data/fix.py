"""Repair a data directory as Kaldi's fix_data_dir.sh does: only what is safe, and every dropped utterance is reported.

Repaired: order, CRLF, byte-order mark, empty lines and surrounding blanks, missing last newline, repeated lines,
spk2utt. Dropped: utterances that are not in every table, those whose audio cannot be read, and on request all with a
problem. Nothing is guessed: contradicting lines, missing tables and ids without speaker are left to the user.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from recitative.data.directory import REQUIRED, fault_problem, invert
from recitative.data.tables import (
    TABLES,
    Fault,
    TableRow,
    column_fault,
    order_problems,
    parse_segment,
    scan_table,
    table_text,
    write_tables,
)
from recitative.errors import DataError, Problem

DROP_LIMIT = 0.05
"""Share of utterances that may be dropped without ``force``; more indicates a systematic fault."""


@dataclass(frozen=True)
class Fix:
    """The repairs; ``actions`` is empty if no file was changed."""

    actions: tuple[str, ...]  # one line each, including dropped utterances
    dropped: dict[str, str]  # utt_id -> why
    backup: Path | None  # the folder of the original tables


def fix_directory(path: str | Path, unreadable: Mapping[str, str], *, force: bool = False) -> Fix:
    """Repair the tables of ``path``; ``unreadable`` (utt_id -> reason) is that of a ``CheckReport``, or ``unusable``.

    Raises DataError, with the directory unchanged, for what cannot be repaired safely and, unless ``force``, if more
    than DROP_LIMIT of the utterances would be dropped.
    """
    path = Path(path)
    rows, mended = _read(path)
    tables = {name: {row.key: row.value for row in found} for name, found in rows.items()}
    dropped = _to_drop(tables, unreadable)
    total = len(tables["utt2spk"].keys() | dropped.keys())
    if dropped and (len(dropped) == total or (len(dropped) > DROP_LIMIT * total and not force)):
        utt_id, why = next(iter(dropped.items()))
        first = f"the first is '{utt_id}': {why}"
        if len(dropped) == total:
            raise DataError(str(path), f"all {total} utterances would be dropped", "", first)
        found, remedy = f"{len(dropped)} of {total} utterances would be dropped, {first}", "repair them, or use --force"
        raise DataError(str(path), found, f"at most {DROP_LIMIT:.0%}", f"{remedy} to drop them all")
    fixed, removed = _filtered(tables, dropped)
    changed = [name for name in TABLES if _is_changed(path / name, fixed.get(name))]
    if not changed:
        return Fix((), {}, None)
    backup = _back_up(path)
    write_tables(path, fixed)
    actions = [
        *(f"dropped utterance '{utt_id}': {why}" for utt_id, why in dropped.items()),
        *(f"removed {name}: it does not cover every {TABLES[name]}" for name in removed),
        *(
            f"removed {TABLES[name]} '{key}' from {name}: no utterance uses it"
            for name in tables
            if name in fixed
            for key in tables[name]
            if key not in fixed[name] and key not in dropped
        ),
        *(f"wrote {name}: {len(fixed[name])} lines{mended.get(name, '')}" for name in changed if name in fixed),
    ]
    return Fix(tuple(actions), dropped, backup)


def _read(path: Path) -> tuple[dict[str, list[TableRow]], dict[str, str]]:
    """The readable rows of the tables, and the faults that writing them again repairs.

    Raises DataError for other faults.
    """
    if not path.is_dir():
        raise DataError(str(path), "is not a folder", "a data directory", "correct the path or run the prepare stage")
    rows: dict[str, list[TableRow]] = {}
    mended: dict[str, str] = {}
    problems: list[Problem] = []
    for name in TABLES:
        if name in REQUIRED or (path / name).exists():
            rows[name], found = scan_table(path / name)
            problems += found if name in REQUIRED and not rows[name] else []
            problems += _contradictions(path, name, rows[name])
            found += order_problems(path / name, rows[name])
            if found:
                more = f", and {len(found) - 1} more" if len(found) > 1 else ""
                mended[name] = f" ({Path(found[0].where).name} {found[0].found}{more})"
    rows.pop("spk2utt", None)
    if problems:
        raise DataError.collect(problems)
    return rows, mended


def _contradictions(path: Path, name: str, rows: list[TableRow]) -> list[Problem]:
    if name == "spk2utt":
        return []  # derived from utt2spk
    first: dict[str, TableRow] = {}
    problems: list[Problem] = []
    for row in rows:
        if first.setdefault(row.key, row).value != row.value:
            found = f"contradicts line {first[row.key].line}"
            remedy = "remove one of the two lines: --fix cannot know which is correct"
            problems.append(fault_problem(path, name, row, Fault(found, "one line per key", remedy)))
    return problems


def _to_drop(tables: Mapping[str, Mapping[str, str]], unreadable: Mapping[str, str]) -> dict[str, str]:
    """utt_id -> reason: unreadable audio, a table that lacks it, a recording without a path."""
    audio = "segments" if "segments" in tables else "wav.scp"
    needed = [name for name in ("utt2spk", audio, "text", "feats.scp") if name in tables]
    dropped: dict[str, str] = {}
    for utt_id in sorted(set().union(*(tables[name] for name in needed))):
        absent = [name for name in needed if utt_id not in tables[name]]
        if absent:
            dropped[utt_id] = f"not in {', '.join(absent)}"
        elif utt_id in unreadable:
            dropped[utt_id] = unreadable[utt_id]
        elif audio == "segments" and (why := _segment_fault(tables, utt_id)):
            dropped[utt_id] = why
    return dropped


def _segment_fault(tables: Mapping[str, Mapping[str, str]], utt_id: str) -> str:
    value = tables["segments"][utt_id]
    if column_fault("segments", value):
        return ""  # not safe to repair; the next check reports it
    recording = parse_segment(value).recording
    return "" if recording in tables["wav.scp"] else f"recording '{recording}' is not in wav.scp"


def _filtered(
    tables: Mapping[str, Mapping[str, str]], dropped: Mapping[str, str]
) -> tuple[dict[str, dict[str, str]], list[str]]:
    """The tables without the dropped utterances, and the names of optional tables that are no longer complete."""
    utt2spk = {utt_id: speaker for utt_id, speaker in tables["utt2spk"].items() if utt_id not in dropped}
    recordings = set(utt2spk)
    if "segments" in tables:
        recordings = {tables["segments"][utt_id].split(" ")[0] for utt_id in utt2spk}
    expected = {"utterance": set(utt2spk), "speaker": set(utt2spk.values()), "recording": recordings}
    fixed = {
        name: {key: value for key, value in table.items() if key in expected[TABLES[name]]}
        for name, table in tables.items()
    }
    removed = [name for name in fixed if name not in REQUIRED and fixed[name].keys() != expected[TABLES[name]]]
    kept = {name: table for name, table in fixed.items() if name not in removed}
    return kept | {"spk2utt": invert(utt2spk)}, removed


def _is_changed(file: Path, entries: Mapping[str, str] | None) -> bool:
    if entries is None:
        return file.exists()
    return not file.exists() or file.read_bytes() != table_text(entries).encode("utf-8")


def _back_up(path: Path) -> Path:
    """Copy the tables to the first unused of .backup, .backup.1, ...; earlier backups are never overwritten."""
    number = 0
    while (backup := path / (f".backup.{number}" if number else ".backup")).exists():
        number += 1
    backup.mkdir()
    for name in TABLES:
        if (path / name).exists():
            shutil.copy2(path / name, backup / name)
    return backup
