"""Opening a model file, gzipped or not, with ONNX Runtime."""

from __future__ import annotations

import gzip
from pathlib import Path

import onnxruntime as ort

from recitative.errors import DataError

GZIP_MAGIC = b"\x1f\x8b"


def open_session(content: Path | bytes, where: str, kind: str, remedy: str, threads: int) -> ort.InferenceSession:
    """``content`` is a file, or what is in one; ``where``, ``kind`` ("model file") and ``remedy`` are for errors.

    Raises DataError for what ONNX Runtime cannot open.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    options.log_severity_level = 3
    if isinstance(content, Path) and not content.is_file():
        raise DataError(where, "does not exist", f"a {kind}", remedy)
    try:
        return ort.InferenceSession(_source(content), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has an exception class for each status and no common base
        found = f"cannot be opened ({str(error).splitlines()[0]})"
        raise DataError(where, found, f"a whole {kind}", "copy or export it again") from None


def _source(content: Path | bytes) -> str | bytes:
    """What ONNX Runtime opens: a path, so that it can map the file, or bytes."""
    if isinstance(content, bytes):
        return content
    with content.open("rb") as file:
        is_gzipped = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
    return gzip.decompress(content.read_bytes()) if is_gzipped else str(content)


def file_kind(path: Path, kind: str, remedy: str) -> str:
    """What a model file says that it is: 'music', 'events', ...; '' where it doesn't. Raises as ``open_session``."""
    session = open_session(path, str(path), kind, remedy, threads=1)
    return str(session.get_modelmeta().custom_metadata_map.get("recitative.kind", ""))
