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

from recitative.data.consistency import Tables, as_rows, consistency_problems, invert, scan_directory, values
from recitative.data.shards.index import ShardIndex, is_shards
from recitative.data.tables import TABLES, TableRow, parse_segment, read_table, segment_value, words_of, write_tables
from recitative.data.tables import Utterance as Utterance
from recitative.errors import DataError, Problem, UsageError
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
        if problems:
            raise DataError.collect(problems)
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
        if problems:
            raise DataError.collect(problems)
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
