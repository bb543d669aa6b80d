"""A Kaldi data directory: a folder of text tables that names utterances, their audio, speakers and transcripts.

    wav.scp   recording path           utt2spk   utterance speaker      text      utterance transcript (optional)
    segments  utterance recording start_s end_s (optional: without it every recording is one utterance)
    spk2utt   speaker utterances...    and any of the optional tables in ``recitative.data.tables.TABLES``

The rules are those of kaldi/egs/wsj/s5/utils/validate_data_dir.sh. Relative paths in wav.scp are relative to the
current folder, as in Kaldi. A command ("... |") is an error: nothing that a table holds is run.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from recitative.data.tables import TABLES, read_table, write_text
from recitative.errors import DataError, Problem

CORE_TABLES = ("wav.scp", "segments", "text", "utt2spk", "spk2utt")
UNUSUAL_BLANK = re.compile(r"[^\S ]")  # tabs and line breaks, but also the no-break space and its Unicode kin
PREFIX_RULE = "ids of the form speaker-utterance, so that sorting by utterance also sorts by speaker"
PREFIX_REMEDY = "rename the utterance in every table, for example 'fs01' -> 'mary-fs01'"


@dataclass(frozen=True, order=True)
class Utterance:
    """One stretch of speech by one speaker."""

    utt_id: str
    speaker: str
    recording_path: str
    start_s: float = 0.0
    end_s: float | None = None  # None: the whole recording is the utterance
    text: str | None = None  # words with single spaces; None: not transcribed
    recording_id: str = ""  # the key in wav.scp; empty: the utterance's own id


@dataclass(frozen=True)
class DataDirectory:
    """Utterances in the order of their ids, and the optional tables as they are, by name and key."""

    utterances: tuple[Utterance, ...]
    extras: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: str | Path) -> DataDirectory:
        """Read the tables; audio is not opened ('recitative check' does that).

        Raises one DataError with every fault of the tables' form and every mismatch between them.
        """
        return _read(Path(path))

    def write(self, path: str | Path) -> None:
        """Write every table. An existing folder keeps its other files; its tables are replaced or, if absent here,
        removed. All tables are written out before the first one takes its place."""
        _write(Path(path), self.to_tables())

    def to_tables(self) -> dict[str, dict[str, str]]:
        """Table name -> key -> value. Raises DataError where utterances contradict each other."""
        return _to_tables(self)

    def where(self, keep: Callable[[Utterance], bool]) -> DataDirectory:
        """The utterances for which ``keep`` is true, with the matching part of the optional tables."""
        return self.with_utterances([utterance for utterance in self.utterances if keep(utterance)])

    def with_utterances(self, utterances: list[Utterance]) -> DataDirectory:
        """These utterances sorted by id; entries of the optional tables that nothing here refers to are left out."""
        keys = {
            "utterance": {u.utt_id for u in utterances},
            "speaker": {u.speaker for u in utterances},
            "recording": {u.recording_id or u.utt_id for u in utterances},
        }
        extras = {
            name: {key: value for key, value in table.items() if key in keys[TABLES[name]]}
            for name, table in self.extras.items()
        }
        return DataDirectory(tuple(sorted(utterances, key=lambda u: u.utt_id)), {n: t for n, t in extras.items() if t})

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


def words_of(value: str) -> str:
    """A transcript as Kaldi's tools see it: words separated by one space."""
    return " ".join(word for word in value.split(" ") if word)


def parse_segment(where: str, value: str) -> tuple[str, float, float]:
    """'recording start_s end_s' -> its parts. Raises DataError for other columns, bad numbers, start >= end."""
    columns = value.split()
    if len(columns) != 3:
        allowed = "'utterance recording start_s end_s'"
        raise DataError(where, f"{len(columns) + 1} columns", allowed, "correct the line")
    try:
        start_s, end_s = float(columns[1]), float(columns[2])
    except ValueError:
        raise DataError(where, f"'{columns[1]} {columns[2]}'", "two numbers of seconds", "correct the line") from None
    if not 0 <= start_s < end_s < float("inf"):
        raise DataError(
            where, f"start {columns[1]} end {columns[2]}", "0 <= start < end, in seconds", "correct the line"
        )
    return columns[0], start_s, end_s


def _read(path: Path) -> DataDirectory:
    tables, problems = _read_tables(path)
    if problems:
        raise DataError.collect(problems)
    utterances, problems = _join(path, tables)
    if problems:
        raise DataError.collect(problems)
    extras = {name: table for name, table in tables.items() if name not in CORE_TABLES}
    return DataDirectory(tuple(utterances), extras)


def _read_tables(path: Path) -> tuple[dict[str, dict[str, str]], list[Problem]]:
    if not path.is_dir():
        raise DataError(str(path), "is not a folder", "a data directory", "correct the path or run the prepare stage")
    tables: dict[str, dict[str, str]] = {}
    problems: list[Problem] = []
    for name in TABLES:
        if not (path / name).exists() and name not in ("wav.scp", "utt2spk"):
            continue
        try:
            tables[name] = {row.key: row.value for row in read_table(path / name)}
        except DataError as error:
            problems += error.problems
    return tables, problems


def _join(path: Path, tables: Mapping[str, Mapping[str, str]]) -> tuple[list[Utterance], list[Problem]]:
    utterances: list[Utterance] = []
    problems = _key_problems(path, tables)
    for utt_id, speaker in tables["utt2spk"].items():
        try:
            utterances.append(_utterance(path, tables, utt_id, speaker))
        except DataError as error:
            problems += error.problems
        except KeyError:
            continue  # an utterance or recording that is missing somewhere: named by _key_problems
    return utterances, problems


def _utterance(path: Path, tables: Mapping[str, Mapping[str, str]], utt_id: str, speaker: str) -> Utterance:
    recording, start_s, end_s = utt_id, 0.0, None
    if "segments" in tables:
        recording, start_s, end_s = parse_segment(f"{path}/segments: utterance '{utt_id}'", tables["segments"][utt_id])
    if not speaker or " " in speaker:
        raise DataError(f"{path}/utt2spk", f"'{utt_id} {speaker}'", "two columns: utterance speaker", "correct it")
    text = words_of(tables["text"][utt_id]) if "text" in tables else None
    location = recording_path(f"{path}/wav.scp: '{recording}'", tables["wav.scp"][recording])
    return Utterance(utt_id, speaker, location, start_s, end_s, text, recording if "segments" in tables else "")


def recording_path(where: str, value: str) -> str:
    """The path in a line of wav.scp. Raises DataError for a missing one, a command and '~'."""
    if not value:
        raise DataError(where, "has no path", "'recording path'", "add the path of the recording")
    if value.endswith("|") or value.startswith("|"):
        found = f"is a command ('{value[:40]}')"
        raise DataError(where, found, "the path of a file: commands are not run", "run it once and name its output")
    if value.startswith("~"):
        raise DataError(where, f"'{value}' starts with '~'", "a path that needs no shell", "write it out")
    return value


def _key_problems(path: Path, tables: Mapping[str, Mapping[str, str]]) -> list[Problem]:
    expected: dict[str, tuple[str, Set[str]]] = {
        "utterance": ("utt2spk", tables["utt2spk"].keys()),
        "speaker": ("utt2spk", set(tables["utt2spk"].values())),
        "recording": ("utt2spk", tables["utt2spk"].keys()),
    }
    if "segments" in tables:
        expected["recording"] = ("segments", {value.split(" ")[0] for value in tables["segments"].values()})
    problems: list[Problem] = []
    for name in tables.keys() - {"utt2spk"}:
        other, keys = expected[TABLES[name]]
        problems += mismatches(path, name, tables[name].keys(), other, keys)
    if "spk2utt" in tables and not problems and tables["spk2utt"] != spk2utt(tables["utt2spk"]):
        remedy = f"run 'recitative check --fix {path}'"
        problems.append(Problem(f"{path}/spk2utt", "does not agree with utt2spk", "its inverse", remedy))
    return sorted(problems)


def mismatches(path: Path, name: str, keys: Set[str], other: str, other_keys: Set[str]) -> list[Problem]:
    """Keys of table ``name`` that table ``other`` does not know, and the other way round."""
    remedy = f"add it there or run 'recitative check --fix {path}'"
    return [
        *(Problem(f"{path}/{name}", f"'{key}' is not in {other}", "", remedy) for key in keys - other_keys),
        *(Problem(f"{path}/{other}", f"'{key}' is not in {name}", "", remedy) for key in other_keys - keys),
    ]


def speaker_order_problems(where: str, utt2spk: Mapping[str, str]) -> list[Problem]:
    """Utterance ids must start with their speaker, and sorting by utterance must sort by speaker too.

    Kaldi's tools walk utt2spk and spk2utt side by side; they get utterances of the wrong speaker where the two orders
    differ. That happens without prefixes, and with speakers such as 'a' and 'a-b' whose utterances interleave.
    """
    prefix = [
        Problem(where, f"'{utt_id}' does not start with its speaker '{speaker}'", PREFIX_RULE, PREFIX_REMEDY)
        for utt_id, speaker in utt2spk.items()
        if not utt_id.startswith(speaker)
    ]
    if prefix:
        return prefix
    by_utterance = sorted(utt2spk)
    by_speaker = sorted(utt2spk, key=lambda utt_id: (utt2spk[utt_id], utt_id))
    for one, other in zip(by_utterance, by_speaker, strict=True):
        if one != other:
            found = f"speakers '{utt2spk[one]}' and '{utt2spk[other]}' interleave at '{one}'"
            return [Problem(where, found, PREFIX_RULE, "give all speakers ids of the same length")]
    return []


def _to_tables(directory: DataDirectory) -> dict[str, dict[str, str]]:
    tables: dict[str, dict[str, str]] = {"wav.scp": {}, "utt2spk": {}, "spk2utt": {}}
    segmented = {u.end_s is not None for u in directory.utterances}
    if len(segmented) > 1:
        raise DataError("data directory", "some utterances are segments and some whole recordings", "one of the two")
    for u in directory.utterances:
        recording = u.recording_id or u.utt_id
        if u.utt_id in tables["utt2spk"]:
            raise DataError("data directory", f"utterance '{u.utt_id}' appears twice", "unique ids", "rename one")
        if tables["wav.scp"].setdefault(recording, u.recording_path) != u.recording_path:
            raise DataError("data directory", f"recording '{recording}' has two paths", "one", "rename one of them")
        tables["utt2spk"][u.utt_id] = u.speaker
        if u.end_s is not None:
            tables.setdefault("segments", {})[u.utt_id] = f"{recording} {u.start_s:.10g} {u.end_s:.10g}"
        if u.text is not None:
            tables.setdefault("text", {})[u.utt_id] = u.text
    problems = speaker_order_problems("data directory", tables["utt2spk"]) + _form_problems(tables)
    if problems:
        raise DataError.collect(problems)
    tables["spk2utt"] = spk2utt(tables["utt2spk"])
    return tables | {name: dict(table) for name, table in directory.extras.items()}


def _form_problems(tables: Mapping[str, Mapping[str, str]]) -> list[Problem]:
    """Ids and values that no table can hold: a table is lines of words separated by blanks."""
    ids = {key for table in tables.values() for key in table} | set(tables["utt2spk"].values())
    problems = [
        Problem("data directory", f"id '{key}' is empty or has blanks in it", "ids without blanks", "rename it")
        for key in sorted(ids)
        if key.split() != [key]
    ]
    for name, table in tables.items():
        for key, value in table.items():
            if UNUSUAL_BLANK.search(value):
                found = f"'{key}' has a line break or an unusual blank in '{value[:40]}'"
                problems.append(
                    Problem(f"data directory: {name}", found, "words separated by spaces", "clean the text")
                )
    return problems


def spk2utt(utt2spk: Mapping[str, str]) -> dict[str, str]:
    """Speaker -> its utterances in order, separated by spaces."""
    grouped: dict[str, list[str]] = defaultdict(list)
    for utt_id in sorted(utt2spk):
        grouped[utt2spk[utt_id]].append(utt_id)
    return {speaker: " ".join(grouped[speaker]) for speaker in sorted(grouped)}


def table_text(entries: Mapping[str, str]) -> str:
    """A table's content, sorted in the C locale."""
    return "".join(f"{key} {entries[key]}".rstrip() + "\n" for key in sorted(entries))


def _write(path: Path, tables: Mapping[str, Mapping[str, str]]) -> None:
    if not tables["utt2spk"]:
        raise DataError(str(path), "would hold no utterances", "at least one", "choose others")
    path.mkdir(parents=True, exist_ok=True)
    pending = {name: path / f".{name}.{os.getpid()}.partial" for name in tables}
    try:
        for name, partial in pending.items():
            write_text(partial, table_text(tables[name]))
        for name, partial in pending.items():
            os.replace(partial, path / name)
    finally:
        for partial in pending.values():
            partial.unlink(missing_ok=True)
    for name in TABLES.keys() - tables.keys():
        (path / name).unlink(missing_ok=True)
