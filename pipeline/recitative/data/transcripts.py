"""The words and the speakers of a corpus, whatever it is kept in; for those who need no audio."""

from __future__ import annotations

import re
from pathlib import Path

from recitative.data.shards.index import ShardIndex, is_shards
from recitative.data.tables import Row, read_table
from recitative.errors import DataError, UsageError
from recitative.reading import exists, is_file, read_text


def read_transcripts(path: Path) -> list[Row]:
    """utt_id and words of a Kaldi text table, of a data directory, or of a folder of shards, whose rows have no lines.

    Raises DataError for what is wrong with the table or the index, and for shards of audio without transcripts.
    """
    if not is_shards(path):
        return read_table(table_of(path))
    index = ShardIndex.open(path)
    if not index.transcribed:
        raise DataError(str(path), "has no transcripts", "shards of a transcribed corpus", "write them from one")
    return [Row(0, utterance.utt_id, utterance.text or "") for utterance in index]


def read_speakers(path: Path) -> dict[str, str]:
    """utt_id -> speaker, of a data directory or a folder of shards."""
    if is_shards(path):
        return {utterance.utt_id: utterance.speaker for utterance in ShardIndex.open(path)}
    return {row.key: row.value for row in read_table(path / "utt2spk")}


_ID = re.compile(r"[\d_]|\w-\w")
"""What ids of utterances have and words do not."""


def require_ids(path: Path, remedy: str) -> None:
    """Raises UsageError for a file whose lines may begin with words: as a table, each would lose its first.

    A data directory's table is one, and a file beside ``utt2spk``.
    """
    if path.is_dir() or is_file(path.parent / "utt2spk"):
        return
    if exists(path) and not is_file(path):
        raise UsageError(f"{path}: is a pipe, and may be read once only; {remedy}")
    keys = [line.split(maxsplit=1)[0] for line in read_text(path).split("\n") if line.strip()]
    words = [key for key in keys if not _ID.search(key)]
    if len(words) > len(keys) / 2:
        found = f"its lines begin with words such as '{words[0]}', not with utterance ids"
        raise UsageError(f"{path}: {found}; {remedy}")


def table_of(path: Path) -> Path:
    """The text table that a path means: itself, or that of a data directory."""
    return path / "text" if path.is_dir() else path
