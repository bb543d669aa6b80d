"""Consistency of the tables of a data directory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from recitative.data.shards.index import ShardIndex, is_shards
from recitative.data.tables import TABLES, Fault, KeyKind, TableRow, column_fault, order_problems, scan_table
from recitative.errors import DataError, Problem

Tables = Mapping[str, Mapping[str, TableRow]]
"""Table name -> key -> row."""

REQUIRED = ("wav.scp", "utt2spk")
PREFIX_RULE = "ids of the form speaker-utterance, so that sorting by utterance also sorts by speaker"
PREFIX_REMEDY = "rename the utterance in every table, for example 'fs01' of speaker 'mary' to 'mary-fs01'"


def scan_directory(path: Path) -> tuple[dict[str, dict[str, TableRow]], list[Problem]]:
    """Read as much as possible of the tables, the first line of each key, and collect every fault of form.

    A folder of shards is read as the equivalent tables. Raises DataError if there is no such folder, and for shards
    that differ from their index.
    """
    if not path.is_dir():
        raise DataError(str(path), "is not a folder", "a data directory", "correct the path or run the prepare stage")
    if is_shards(path):
        return _shard_tables(ShardIndex.open(path)), []
    tables: dict[str, dict[str, TableRow]] = {}
    problems: list[Problem] = []
    for name in TABLES:
        if name not in REQUIRED and not (path / name).exists():
            continue
        rows, found = scan_table(path / name)
        problems += found + order_problems(path / name, rows)
        if (path / name).exists():
            tables[name] = {}
            for row in rows:
                tables[name].setdefault(row.key, row)
    return tables, problems


def _shard_tables(index: ShardIndex) -> dict[str, dict[str, TableRow]]:
    """The tables that are equivalent to a folder of shards."""
    utterances = list(index)
    tables = {
        "wav.scp": as_rows({u.utt_id: u.recording_path for u in utterances}),
        "utt2spk": as_rows({u.utt_id: u.speaker for u in utterances}),
    }
    tables["spk2utt"] = as_rows(invert(values(tables["utt2spk"])))
    if index.transcribed:
        tables["text"] = as_rows({u.utt_id: u.text or "" for u in utterances})
    return tables


def consistency_problems(path: Path, tables: Tables) -> list[Problem]:
    """Every bad value, every key that another table lacks, and utterances whose ids do not sort by speaker."""
    if not all(name in tables for name in REQUIRED):
        return []  # already reported as missing
    problems, mismatches = _column_problems(path, tables), list[Problem]()
    for name in tables.keys() - {"utt2spk"}:
        mismatches += _mismatches(path, name, tables[name], *_reference(tables, TABLES[name]))
    problems += sorted(mismatches) + speaker_order_problems(path, tables["utt2spk"])
    if not problems and "spk2utt" in tables and values(tables["spk2utt"]) != invert(values(tables["utt2spk"])):
        remedy = f"run 'recitative check --fix {path}', which makes it again"
        problems.append(Problem(f"{path}/spk2utt", "is not the inverse of utt2spk", "", remedy))
    return problems


def speaker_order_problems(path: Path, utt2spk: Mapping[str, TableRow]) -> list[Problem]:
    """Utterance ids must start with their speaker, and sorting by utterance must sort by speaker too.

    Kaldi's tools read utt2spk and spk2utt in parallel and assign utterances to the wrong speaker if the two orders
    differ. They differ without prefixes, and for speakers such as 'a' and 'a-b' whose utterances interleave.
    """
    prefix = [
        fault_problem(
            path, "utt2spk", row, Fault(f"does not start with its speaker '{row.value}'", PREFIX_RULE, PREFIX_REMEDY)
        )
        for row in utt2spk.values()
        if not row.key.startswith(row.value)
    ]
    if prefix:
        return prefix
    by_speaker = sorted(utt2spk.values(), key=lambda row: (row.value, row.key))
    for row, other in zip((utt2spk[key] for key in sorted(utt2spk)), by_speaker, strict=True):
        if row != other:
            found = f"of speaker '{row.value}' stands between utterances of '{other.value}'"
            remedy = f"give '{row.value}' and '{other.value}' ids of the same length"
            return [fault_problem(path, "utt2spk", row, Fault(found, PREFIX_RULE, remedy))]
    return []


def invert(utt2spk: Mapping[str, str]) -> dict[str, str]:
    """utt2spk -> spk2utt: speaker -> its utterances in order, separated by spaces."""
    grouped: dict[str, list[str]] = defaultdict(list)
    for utt_id in sorted(utt2spk):
        grouped[utt2spk[utt_id]].append(utt_id)
    return {speaker: " ".join(grouped[speaker]) for speaker in sorted(grouped)}


def as_rows(entries: Mapping[str, str]) -> dict[str, TableRow]:
    """Entries as rows without line numbers."""
    return {key: TableRow(0, key, value) for key, value in entries.items()}


def values(rows: Mapping[str, TableRow]) -> dict[str, str]:
    """Key -> value."""
    return {key: row.value for key, row in rows.items()}


def fault_problem(path: Path, table: str, row: TableRow, fault: Fault) -> Problem:
    """The fault of a row, with its location."""
    found = f"{TABLES[table]} '{row.key}' {fault.found}"
    return Problem(_where(path, table, row), found, fault.allowed, fault.remedy)


def _where(path: Path, table: str, row: TableRow) -> str:
    return f"{path}/{table}:{row.line}" if row.line else f"{path}/{table}"


def _column_problems(path: Path, tables: Tables) -> list[Problem]:
    problems: list[Problem] = []
    for name, rows in tables.items():
        for row in rows.values():
            fault = column_fault(name, row.value)
            if fault:
                problems.append(fault_problem(path, name, row, fault))
            if row.key.split() != [row.key]:
                problems.append(
                    fault_problem(path, name, row, Fault("has a blank in it", "ids without blanks", "rename it"))
                )
    return problems


def _reference(tables: Tables, kind: KeyKind) -> tuple[str, dict[str, TableRow]]:
    """The table that defines the keys of this kind, and the first row that mentions each."""
    if kind == "speaker":
        return "utt2spk", {row.value: row for row in reversed(list(tables["utt2spk"].values()))}
    if kind == "recording" and "segments" in tables:
        return "segments", {row.value.split(" ")[0]: row for row in reversed(list(tables["segments"].values()))}
    return "utt2spk", dict(tables["utt2spk"])


def _mismatches(
    path: Path, name: str, rows: Mapping[str, TableRow], reference: str, mentioned: Mapping[str, TableRow]
) -> list[Problem]:
    kind = "utterance" if reference == "utt2spk" and TABLES[name] == "recording" else TABLES[name]
    remedy = f"add it there or run 'recitative check --fix {path}'"
    return [
        Problem(_where(path, at, row), f"{kind} '{key}' is not in {lacking}", "", remedy)
        for at, lacking, having, others in ((name, reference, rows, mentioned), (reference, name, mentioned, rows))
        for key, row in having.items()
        if key not in others
    ]
