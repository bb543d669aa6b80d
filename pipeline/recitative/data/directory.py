"""A Kaldi data directory: a folder of text tables that names utterances, their audio, speakers and transcripts.

    wav.scp   recording path           utt2spk   utterance speaker      text      utterance transcript (optional)
    segments  utterance recording start_s end_s (optional: without it every recording is one utterance)
    spk2utt   speaker utterances...    and any of the optional tables in ``recitative.data.tables.TABLES``

A folder of shards (``data.shards``) reads as a data directory whose recordings lie in the shards.

The rules are those of kaldi/egs/wsj/s5/utils/validate_data_dir.sh. Relative paths in wav.scp are relative to the
current folder, as in Kaldi. A command ("... |") is an error: nothing that a table holds is run.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from recitative.data.columns import parse_segment, segment_value, words_of
from recitative.data.consistency import Tables, as_rows, consistency_problems, invert, scan_directory, values
from recitative.data.shards.index import ShardIndex, is_shards
from recitative.data.tables import TABLES, write_tables
from recitative.data.utterance import Utterance as Utterance
from recitative.errors import DataError, Problem

CORE_TABLES = ("wav.scp", "segments", "text", "utt2spk", "spk2utt")


@dataclass(frozen=True)
class DataDirectory:
    """Utterances in the order of their ids, and the optional tables as they are, by name and key."""

    utterances: Sequence[Utterance]  # made as they are asked for, where they come from shards
    extras: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: str | Path) -> DataDirectory:
        """Read the tables, or the index of a folder of shards; audio is not opened ('recitative check' does that).

        Raises one DataError with every fault of the tables' form and every mismatch between them, or with every shard
        that is not as the index says.
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
        """From tables without problems."""
        utterances = (_utterance(tables, row.key) for row in tables["utt2spk"].values())
        extras = {name: values(rows) for name, rows in tables.items() if name not in CORE_TABLES}
        return cls(tuple(sorted(utterances, key=lambda u: u.utt_id)), extras)

    def write(self, path: str | Path) -> None:
        """Write every table. A folder that exists keeps its other files; its tables are replaced or, if there is no
        such table here, removed. All tables are written out before the first takes its place.

        Raises DataError before anything is written for whatever ``read`` would raise it.
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
        """These utterances sorted by id; entries of the optional tables that none of them uses are left out."""
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
    """Table name -> key -> value. Raises DataError where utterances contradict each other."""
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
