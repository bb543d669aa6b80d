"""A Kaldi data directory: a folder of text tables that names utterances, their audio, speakers and transcripts.

    wav.scp   recording path           utt2spk   utterance speaker      text      utterance transcript (optional)
    segments  utterance recording start_s end_s (optional: without it every recording is one utterance)
    spk2utt   speaker utterances...    and any of the optional tables in ``recitative.data.tables.TABLES``

A folder of shards (``data.shards``) is read as a data directory whose recordings are in the shards.

The rules are those of kaldi/egs/wsj/s5/utils/validate_data_dir.sh. Relative paths in wav.scp are relative to the
current folder, as in Kaldi. A command ("... |") is an error: nothing in a table is run.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from recitative.data.shards import ShardIndex, is_shards
from recitative.data.tables import (
    TABLES,
    Fault,
    KeyKind,
    TableRow,
    column_fault,
    order_problems,
    parse_segment,
    read_table,
    scan_table,
    segment_value,
    words_of,
    write_tables,
)
from recitative.data.tables import Utterance as Utterance
from recitative.errors import DataError, Problem, UsageError, raise_all
from recitative.reading import exists, is_file, read_text

CORE_TABLES = ("wav.scp", "segments", "text", "utt2spk", "spk2utt")


@dataclass(frozen=True)
class DataDirectory:
    """Utterances sorted by id, and the optional tables by name and key."""

    utterances: Sequence[Utterance]  # those of shards are created on request
    extras: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: str | Path) -> DataDirectory:
        """Read the tables, or the index of a folder of shards; audio is not opened ('recitative check' does that).

        Raises one DataError with every fault of form and every mismatch between tables, or with every shard that
        differs from the index.
        """
        if is_shards(path):
            return cls(ShardIndex.open(Path(path)))
        tables, problems = scan_directory(Path(path))
        problems = problems or consistency_problems(Path(path), tables)
        raise_all(problems)
        return cls.from_tables(tables)

    @classmethod
    def from_tables(cls, tables: Tables) -> DataDirectory:
        """From consistent tables."""
        utterances = (_utterance(tables, row.key) for row in tables["utt2spk"].values())
        extras = {name: values(rows) for name, rows in tables.items() if name not in CORE_TABLES}
        return cls(tuple(sorted(utterances, key=lambda u: u.utt_id)), extras)

    def write(self, path: str | Path) -> None:
        """Write every table. An existing folder keeps its other files; its tables are replaced, or removed if there is
        no such table here. All tables are written before the first replaces an old one.

        Raises DataError, before anything is written, for whatever ``read`` would refuse.
        """
        tables = _to_tables(self)
        rows = {name: as_rows(entries) for name, entries in tables.items()}
        problems = consistency_problems(Path(path), rows)
        if not self.utterances:
            problems = [Problem(str(path), "would hold no utterances", "at least one", "choose others")]
        raise_all(problems)
        write_tables(path, tables)

    def where(self, keep: Callable[[Utterance], bool]) -> DataDirectory:
        """The utterances for which ``keep`` is true, with the matching part of the optional tables."""
        return self.with_utterances(utterance for utterance in self.utterances if keep(utterance))

    def with_utterances(self, utterances: Iterable[Utterance]) -> DataDirectory:
        """These utterances sorted by id, with the entries of the optional tables that they use."""
        kept = sorted(utterances, key=lambda u: u.utt_id)
        keys = {
            "utterance": {u.utt_id for u in kept},
            "speaker": {u.speaker for u in kept},
            "recording": {u.recording_id or u.utt_id for u in kept},
        }
        extras = {
            name: {key: value for key, value in table.items() if key in keys[TABLES[name]]}
            for name, table in self.extras.items()
        }
        return DataDirectory(tuple(kept), extras)

    @cached_property
    def by_speaker(self) -> dict[str, list[Utterance]]:
        """Speaker -> utterances, both in order."""
        grouped: dict[str, list[Utterance]] = defaultdict(list)
        for utterance in self.utterances:
            grouped[utterance.speaker].append(utterance)
        return dict(sorted(grouped.items()))

    @cached_property
    def texts(self) -> dict[str, str]:
        """utt_id -> transcript, for those that have one."""
        return {u.utt_id: u.text for u in self.utterances if u.text is not None}

    @cached_property
    def utt2spk(self) -> dict[str, str]:
        """utt_id -> speaker."""
        return {u.utt_id: u.speaker for u in self.utterances}


def _utterance(tables: Tables, utt_id: str) -> Utterance:
    speaker = tables["utt2spk"][utt_id].value
    text = words_of(tables["text"][utt_id].value) if "text" in tables else None
    if "segments" not in tables:
        return Utterance(utt_id, speaker, tables["wav.scp"][utt_id].value, text=text)
    segment = parse_segment(tables["segments"][utt_id].value)
    location = tables["wav.scp"][segment.recording].value
    return Utterance(utt_id, speaker, location, segment.start_s, segment.end_s, text, segment.recording)


def _to_tables(directory: DataDirectory) -> dict[str, dict[str, str]]:
    """Table name -> key -> value. Raises DataError for contradicting utterances."""
    tables: dict[str, dict[str, str]] = {"wav.scp": {}, "utt2spk": {}, "spk2utt": {}}
    for u in directory.utterances:
        recording = u.recording_id or u.utt_id
        if u.utt_id in tables["utt2spk"]:
            raise DataError("data directory", f"utterance '{u.utt_id}' appears twice", "unique ids", "rename one")
        if tables["wav.scp"].setdefault(recording, u.recording_path) != u.recording_path:
            raise DataError("data directory", f"recording '{recording}' has two paths", "one", "rename one of them")
        tables["utt2spk"][u.utt_id] = u.speaker
        if u.is_segment:
            tables.setdefault("segments", {})[u.utt_id] = segment_value(recording, u.start_s, u.end_s)
        if u.text is not None:
            tables.setdefault("text", {})[u.utt_id] = u.text
    tables["spk2utt"] = invert(tables["utt2spk"])
    return tables | {name: dict(table) for name, table in directory.extras.items() if table}


def read_transcripts(path: Path) -> list[TableRow]:
    """utt_id and words of a Kaldi text table, a data directory, or a folder of shards (rows without line numbers).

    Raises DataError for faults of the table or the index, and for shards without transcripts.
    """
    if not is_shards(path):
        return read_table(table_of(path))
    index = ShardIndex.open(path)
    if not index.transcribed:
        raise DataError(str(path), "has no transcripts", "shards of a transcribed corpus", "write them from one")
    return [TableRow(0, utterance.utt_id, utterance.text or "") for utterance in index]


def read_speakers(path: Path) -> dict[str, str]:
    """utt_id -> speaker, of a data directory or a folder of shards."""
    if is_shards(path):
        return {utterance.utt_id: utterance.speaker for utterance in ShardIndex.open(path)}
    return {row.key: row.value for row in read_table(path / "utt2spk")}


_ID = re.compile(r"[\d_]|\w-\w")
"""Found in utterance ids, not in words."""


def require_ids(path: Path, remedy: str) -> None:
    """Raises UsageError for a file whose lines may begin with words, which would be lost as ids.

    Tables of a data directory, and files next to ``utt2spk``, are accepted.
    """
    if path.is_dir() or is_file(path.parent / "utt2spk"):
        return
    if exists(path) and not is_file(path):
        raise UsageError(f"{path}: is a pipe, which can be read only once; {remedy}")
    keys = [line.split(maxsplit=1)[0] for line in read_text(path).split("\n") if line.strip()]
    words = [key for key in keys if not _ID.search(key)]
    if len(words) > len(keys) / 2:
        found = f"its lines begin with words such as '{words[0]}', not with utterance ids"
        raise UsageError(f"{path}: {found}; {remedy}")


def table_of(path: Path) -> Path:
    """The text table of a path: itself, or that of a data directory."""
    return path / "text" if path.is_dir() else path


# Reading as much as possible of a directory, and the consistency of its tables, for this module, check.py and fix.py.

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
        index = ShardIndex.open(path)
        utterances = list(index)
        shard_tables = {
            "wav.scp": {u.utt_id: u.recording_path for u in utterances},
            "utt2spk": {u.utt_id: u.speaker for u in utterances},
            "spk2utt": invert({u.utt_id: u.speaker for u in utterances}),
        }
        if index.transcribed:
            shard_tables["text"] = {u.utt_id: u.text or "" for u in utterances}
        return {name: as_rows(entries) for name, entries in shard_tables.items()}, []
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


def consistency_problems(path: Path, tables: Tables) -> list[Problem]:
    """Every bad value, every key that another table lacks, and utterances whose ids do not sort by speaker."""
    if not all(name in tables for name in REQUIRED):
        return []  # already reported as missing
    problems, mismatches = list[Problem](), list[Problem]()
    for name, rows in tables.items():
        for row in rows.values():
            if fault := column_fault(name, row.value):
                problems.append(fault_problem(path, name, row, fault))
            if row.key.split() != [row.key]:
                fault = Fault("has a blank in it", "ids without blanks", "rename it")
                problems.append(fault_problem(path, name, row, fault))
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
    problems = []
    for row in utt2spk.values():
        if not row.key.startswith(row.value):
            fault = Fault(f"does not start with its speaker '{row.value}'", PREFIX_RULE, PREFIX_REMEDY)
            problems.append(fault_problem(path, "utt2spk", row, fault))
    if problems:
        return problems
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
