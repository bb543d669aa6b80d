"""Mending a data directory as Kaldi's fix_data_dir.sh does: only what is safe, and every dropped utterance is named.

Mended: order, CRLF, a byte-order mark, empty lines and blanks around lines, a missing last newline, lines that are
there twice, spk2utt.
Dropped: utterances that are not in every table, those whose audio cannot be read, and where it is asked for every one
that a check has found a problem of. Nothing is guessed: two lines
that contradict each other, missing tables and ids without speaker are left to the user.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from recitative.data.columns import Fault, column_fault, parse_segment
from recitative.data.consistency import REQUIRED, fault_problem, invert
from recitative.data.tables import TABLES, Row, order_problems, scan_table, table_text, write_tables
from recitative.errors import DataError, Problem

DROP_LIMIT = 0.05
"""More than this part of the utterances is dropped only when forced: something else is wrong then."""


@dataclass(frozen=True)
class Fix:
    """What was done. Nothing at all: ``actions`` is empty and no file was touched."""

    actions: tuple[str, ...]  # one line each, dropped utterances included
    dropped: dict[str, str]  # utt_id -> why
    backup: Path | None  # the folder that holds the tables as they were


def fix_directory(path: str | Path, unreadable: Mapping[str, str], *, force: bool = False) -> Fix:
    """Mend the tables of ``path``; ``unreadable`` (utt_id -> why) is ``Report.unreadable`` of a check, or ``unusable``.

    Raises DataError, with the directory untouched, for what is not safe to mend and, unless ``force``, if more than
    DROP_LIMIT of the utterances would go.
    """
    path = Path(path)
    rows, mended = _read(path)
    tables = {name: {row.key: row.value for row in found} for name, found in rows.items()}
    dropped = _to_drop(tables, unreadable)
    _require_few(path, dropped, tables, force)
    fixed, removed = _filtered(tables, dropped)
    changed = [name for name in TABLES if _is_changed(path / name, fixed.get(name))]
    if not changed:
        return Fix((), {}, None)
    backup = _back_up(path)
    write_tables(path, fixed)
    actions = [
        *(f"dropped utterance '{utt_id}': {why}" for utt_id, why in dropped.items()),
        *(f"removed {name}: it does not cover every {TABLES[name]}" for name in removed),
        *_leftovers(tables, fixed, dropped),
        *(f"wrote {name}: {len(fixed[name])} lines{mended.get(name, '')}" for name in changed if name in fixed),
    ]
    return Fix(tuple(actions), dropped, backup)


def _read(path: Path) -> tuple[dict[str, list[Row]], dict[str, str]]:
    """The tables as far as they can be read, and what is mended by writing them again.

    Raises DataError for what cannot be mended.
    """
    if not path.is_dir():
        raise DataError(str(path), "is not a folder", "a data directory", "correct the path or run the prepare stage")
    rows: dict[str, list[Row]] = {}
    mended: dict[str, str] = {}
    problems: list[Problem] = []
    for name in TABLES:
        if name in REQUIRED or (path / name).exists():
            rows[name], found = scan_table(path / name)
            problems += found if name in REQUIRED and not rows[name] else []
            problems += _contradictions(path, name, rows[name])
            found += order_problems(path / name, rows[name])
            mended |= {name: _summary(found)} if found else {}
    rows.pop("spk2utt", None)
    if problems:
        raise DataError.collect(problems)
    return rows, mended


def _summary(problems: list[Problem]) -> str:
    more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
    return f" ({Path(problems[0].where).name} {problems[0].found}{more})"


def _contradictions(path: Path, name: str, rows: list[Row]) -> list[Problem]:
    if name == "spk2utt":
        return []  # made again
    first: dict[str, Row] = {}
    problems: list[Problem] = []
    for row in rows:
        if first.setdefault(row.key, row).value != row.value:
            found = f"contradicts line {first[row.key].line}"
            remedy = "remove one of the two lines: --fix cannot know which is right"
            problems.append(fault_problem(path, name, row, Fault(found, "one line per key", remedy)))
    return problems


def _to_drop(tables: Mapping[str, Mapping[str, str]], unreadable: Mapping[str, str]) -> dict[str, str]:
    """utt_id -> why it goes: audio that cannot be read, a table without it, a recording without a path."""
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
        return ""  # not safe to mend; the next check names it
    recording = parse_segment(value).recording
    return "" if recording in tables["wav.scp"] else f"recording '{recording}' is not in wav.scp"


def _require_few(path: Path, dropped: Mapping[str, str], tables: Mapping[str, Mapping[str, str]], force: bool) -> None:
    total = len(tables["utt2spk"].keys() | dropped.keys())
    if len(dropped) == total:
        raise DataError(str(path), f"all {total} utterances would be dropped", "", _first(dropped))
    if len(dropped) > DROP_LIMIT * total and not force:
        found = f"{len(dropped)} of {total} utterances would be dropped, {_first(dropped)}"
        raise DataError(str(path), found, f"at most {DROP_LIMIT:.0%}", "mend them, or say --force to drop them all")


def _first(dropped: Mapping[str, str]) -> str:
    utt_id, why = next(iter(dropped.items()))
    return f"the first is '{utt_id}': {why}"


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
    """Copy the tables into the first free of .backup, .backup.1, ...: an earlier backup is never overwritten."""
    number = 0
    while (backup := path / (f".backup.{number}" if number else ".backup")).exists():
        number += 1
    backup.mkdir()
    for name in TABLES:
        if (path / name).exists():
            shutil.copy2(path / name, backup / name)
    return backup


def _leftovers(
    tables: Mapping[str, Mapping[str, str]], fixed: Mapping[str, Mapping[str, str]], dropped: Mapping[str, str]
) -> list[str]:
    """Lines that went because nothing refers to them any more; those of dropped utterances are named already."""
    return [
        f"removed {TABLES[name]} '{key}' from {name}: no utterance uses it"
        for name in tables
        if name in fixed
        for key in tables[name]
        if key not in fixed[name] and key not in dropped
    ]
