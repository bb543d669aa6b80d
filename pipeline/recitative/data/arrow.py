"""Datasets of Hugging Face as Parquet or Arrow files, in which recordings are stored as bytes. Needs pyarrow.

A table has a column of recordings, ``{bytes, path}`` as the feature ``Audio`` stores them or paths, one of transcripts,
and perhaps one of speakers, with the names of ``sources.NAMES``. Files: '*.parquet', also in ``data/``, where a
repository has them, and the '*.arrow' of ``Dataset.save_to_disk``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from recitative.atomic import replacing, write_bytes
from recitative.data.sources import NAMES, Entry, Source, sift
from recitative.errors import DataError
from recitative.reading import is_file

SUFFIXES = (".parquet", ".arrow")
ROWS = 64  # read at once: a row has a whole recording

Row = tuple[str, Mapping[str, Any]]  # its place, and its values by column


def arrow_files(root: Path) -> list[Path]:
    """The Parquet or Arrow files of a folder or its folder ``data``, or the file itself; none for another source."""
    if is_file(root):
        return [root] if root.suffix.lower() in SUFFIXES else []
    for suffix in SUFFIXES:
        if files := sorted(root.glob(f"*{suffix}")) or sorted(root.glob(f"data/*{suffix}")):
            return files
    return []


def read_arrow(root: Path, files: Sequence[Path], unpacked: Path | None) -> Source:
    """Every row as an entry. unpacked: folder for recordings that are stored as bytes

    Raises DataError for damaged files, without columns of recordings and transcripts, or of several splits.
    """
    if len(splits := sorted({path.name.split("-")[0] for path in files if path.suffix == ".parquet"})) > 1:
        found = f"has the splits {', '.join(splits)}"
        raise DataError(str(root), found, "one", "give one file, or put each split into its own folder")
    places: dict[str, str] = {}
    written: set[Path] = set()

    def entry_of(row: Row) -> Entry:
        where, values = row
        if not places:
            places.update(_columns(where, values))
        speaker = values.get(places.get("speaker", ""))
        path = _recording(where, values[places["audio"]], root, unpacked, written)
        text = values[places["text"]]
        if not isinstance(text, str):
            raise DataError(where, f"has the transcript {text!r}", "a text", "correct it")
        return Entry(where, path, text, str(speaker) if speaker not in (None, "") else None, path.stem)

    entries, bad = sift(entry_of, _rows(files))
    return Source(root, tuple(entries), tuple(bad))


def _rows(files: Iterable[Path]) -> Iterator[Row]:
    import pyarrow
    from pyarrow import ipc, parquet

    for path in files:
        number = 0
        try:
            if path.suffix.lower() == ".parquet":
                batches = parquet.ParquetFile(path).iter_batches(ROWS)
            else:
                batches = ipc.open_stream(pyarrow.memory_map(str(path)))
            for batch in batches:
                for values in batch.to_pylist():
                    number += 1
                    yield f"{path}:{number}", values
        except (pyarrow.ArrowException, OSError, ValueError) as error:
            reason = str(error).splitlines()[0][:100]
            raise DataError(str(path), f"is damaged ({reason})", "a Parquet or Arrow file", "fetch it again") from None


def _columns(where: str, values: Mapping[str, Any]) -> dict[str, str]:
    """Audio, text and speaker -> the column of one of its names."""
    found = {kind: next((name for name in names if name in values), "") for kind, names in NAMES.items()}
    stored = [name for name, value in values.items() if isinstance(value, Mapping) and "bytes" in value]
    found["audio"] = stored[0] if stored else found["audio"]
    for kind in ("audio", "text"):
        if not found[kind]:
            has = f"has the columns {', '.join(values)}"
            raise DataError(where.rpartition(":")[0], has, f"{kind}: {', '.join(NAMES[kind])}", "rename one")
    return found


def _recording(where: str, value: Any, root: Path, unpacked: Path | None, written: set[Path]) -> Path:
    """The file of a recording, written now if the row has its bytes. written: before, from rows above"""
    content = value.get("bytes") if isinstance(value, Mapping) else None
    name = value.get("path") if isinstance(value, Mapping) else value
    if content is None:
        if not isinstance(name, str) or not name:
            raise DataError(where, "has no recording", "bytes or a path", "remove the row")
        path = (root if root.is_dir() else root.parent) / name
        if not is_file(path):
            raise DataError(where, f"({path}) does not exist", "a recording", "correct the path")
        return path
    if unpacked is None:
        raise DataError(where, "stores recordings as bytes", "files", "run 'recitative data import' first")
    file, _, number = where.rpartition(":")
    name = Path(name if isinstance(name, str) else "").name
    suffix = Path(name).suffix or _suffix(content)
    path = unpacked / f"{Path(name).stem}{suffix}"
    if not name or path in written:
        path = unpacked / f"{Path(file).stem}-{int(number):06d}{suffix}"
    written.add(path)
    write_bytes(path, content)
    return path


def _suffix(content: bytes) -> str:
    kinds = {b"fLaC": ".flac", b"OggS": ".ogg", b"RIFF": ".wav"}
    return kinds.get(content[:4], ".mp3")


def write_parquet(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows with 'id', 'speaker', 'text', and 'audio', which is {'bytes', 'path'}, with the features that
    ``datasets.load_dataset`` reads."""
    import pyarrow
    from pyarrow import parquet

    text = {"dtype": "string", "_type": "Value"}
    features = {"id": text, "speaker": text, "text": text, "audio": {"_type": "Audio"}}
    audio = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    columns = [(name, audio if name == "audio" else pyarrow.string()) for name in features]
    described = json.dumps({"info": {"features": features}})
    schema = pyarrow.schema(columns, metadata={"huggingface": described})
    waiting = iter(rows)
    with replacing(path) as partial, parquet.ParquetWriter(partial, schema) as writer:
        while batch := list(islice(waiting, ROWS)):
            writer.write_batch(pyarrow.RecordBatch.from_pylist(batch, schema=schema))
