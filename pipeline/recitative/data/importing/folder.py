"""A folder of recordings with a transcript beside each: 'anna/01.wav' and 'anna/01.txt'."""

from __future__ import annotations

from pathlib import Path

from recitative.audio.files import SUFFIXES
from recitative.data.importing.encoding import read_encoded
from recitative.data.importing.entries import Entry, Source
from recitative.errors import DataError, Problem


def read_folder(folder: Path, encoding: str = "") -> Source:
    """Every recording to any depth; speakers are the sub-folders, if there are any.

    Raises DataError for a folder without recordings, or without transcripts.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    recordings = [path for path in files if path.suffix.lower() in SUFFIXES]
    if not recordings:
        raise DataError(str(folder), "has no recordings", ", ".join(sorted(SUFFIXES)), "correct the path")
    if not any(path.with_suffix(".txt").is_file() for path in recordings):
        raise _no_transcripts(folder, files)
    has_speakers = any(path.parent != folder for path in recordings)
    entries: list[Entry] = []
    bad: list[Problem] = []
    for path in recordings:
        try:
            text = _read_text(path.with_suffix(".txt"), encoding)
        except DataError as error:
            bad.extend(error.problems)
            continue
        speaker = _speaker(path, folder) if has_speakers else None
        entries.append(Entry(str(path), path, text, speaker, path.stem))
    return Source(folder, tuple(entries), tuple(bad), tuple(_lonely_texts(folder, files, recordings)))


def _speaker(path: Path, folder: Path) -> str:
    """The first folder on the way; what lies beside the folders belongs to whom the whole is named after."""
    parts = path.relative_to(folder).parts
    return parts[0] if len(parts) > 1 else folder.resolve().name


def _read_text(path: Path, encoding: str) -> str:
    return " ".join(read_encoded(path, encoding, "a transcript beside each recording", "write it").split())


def _no_transcripts(folder: Path, files: list[Path]) -> DataError:
    tables = [path for path in files if path.suffix.lower() in (".csv", ".tsv")]
    remedy = f"say '--table {tables[0]}'" if len(tables) == 1 else "name the table of transcripts with --table"
    allowed = "a .txt beside each recording, a table, or lhotse's manifests"
    return DataError(str(folder), "has recordings and no transcripts", allowed, remedy)


def _lonely_texts(folder: Path, files: list[Path], recordings: list[Path]) -> list[str]:
    """One note for all transcripts without a recording: they may be something else."""
    owned = {path.with_suffix(".txt") for path in recordings}
    lonely = [str(path.relative_to(folder)) for path in files if path.suffix == ".txt" and path not in owned]
    if not lonely:
        return []
    shown = ", ".join(lonely[:5])
    return [f"{folder}: .txt files without a recording beside them, not used: {len(lonely)} ({shown})"]
