"""Kaldi's matrices, binary and text (matrix/kaldi-matrix.cc), and archives of them: ``feats.ark`` and ``feats.scp``."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np

from recitative.atomic import replacing
from recitative.data.tables import write_table
from recitative.errors import DataError
from recitative.stage import Array

_BINARY = b"\0B"
_SIZES = "<bibi"  # 4 rows 4 columns: 4 is the size in bytes of the number that follows
_TYPES: dict[bytes, np.dtype[Any]] = {b"FM ": np.dtype("<f4"), b"DM ": np.dtype("<f8")}


def encode_binary(matrix: Array) -> bytes:
    """A matrix (T, C) in Kaldi's binary form, including the ``\\0B`` mark; float64 as DM, all others as float32, FM."""
    token = b"DM " if matrix.dtype == np.float64 else b"FM "
    rows, columns = matrix.shape
    values = np.ascontiguousarray(matrix, dtype=_TYPES[token]).tobytes()
    return b"".join([_BINARY, token, struct.pack(_SIZES, 4, rows, 4, columns), values])


def encode_text(matrix: Array) -> str:
    """A matrix (T, C) as Kaldi's text, with enough digits to restore the same numbers."""
    lines = "\n".join("  " + " ".join(repr(float(value)) for value in row) for row in matrix)
    return f" [\n{lines} ]\n"


def read_matrix(stream: IO[bytes], where: str) -> Array:
    """Read the matrix at the stream's position: float32 or float64 if binary, float64 if text.

    Raises DataError, located at ``where``, if there is no such matrix or it is truncated.
    """
    mark = stream.read(2)
    return _read_binary(stream, where) if mark == _BINARY else _read_text(mark + stream.read(), where)


def _read_binary(stream: IO[bytes], where: str) -> Array:
    token = stream.read(3)
    if token not in _TYPES:
        remedy = "write it with 'copy-feats --compress=false'"
        raise DataError(where, f"has a Kaldi object {token!r}", "a float matrix (FM or DM)", remedy)
    header = stream.read(struct.calcsize(_SIZES))
    if len(header) < struct.calcsize(_SIZES):
        raise _truncated(where)
    row_mark, rows, column_mark, columns = struct.unpack(_SIZES, header)
    if (row_mark, column_mark) != (4, 4) or rows < 0 or columns < 0:
        raise DataError(where, f"a matrix of {rows} by {columns}", remedy="the file is damaged: write it again")
    dtype = _TYPES[token]
    size = rows * columns * dtype.itemsize
    begin = stream.tell()
    if stream.seek(0, io.SEEK_END) - begin < size:  # a damaged header may claim more than fits into memory
        raise _truncated(where)
    stream.seek(begin)
    values = stream.read(size)
    matrix: Array = np.frombuffer(values, dtype).reshape(rows, columns)
    return matrix


def _read_text(content: bytes, where: str) -> Array:
    begin, end = content.find(b"["), content.find(b"]")
    if begin < 0 or end < begin or content[:begin].strip():
        raise DataError(where, "is not a Kaldi matrix", "binary (\\0B) or text '[ ... ]'", "write it again")
    lines = [line.split() for line in content[begin + 1 : end].splitlines() if line.strip()]
    try:
        rows = [[float(value) for value in line] for line in lines]
        return np.array(rows, np.float64).reshape(len(rows), -1 if rows else 0)
    except ValueError:
        remedy = "the file is damaged: write it again"
        raise DataError(where, "a matrix with words or rows of unequal length", remedy=remedy) from None


def _truncated(where: str) -> DataError:
    return DataError(where, "the matrix ends too early", remedy="the file is truncated: write it again")


def write_archive(scp: Path, ark: Path, items: Iterable[tuple[str, Array]]) -> dict[str, int]:
    """Write (utt_id, matrix (T, C)) pairs as binary float32 (or float64) matrices, uncompressed.

    Returns utt_id -> frames. Both files are atomic: if ``items`` raises, neither is written. Paths in the scp are
    absolute, as in Kaldi's scripts. Raises DataError for an id that is empty, has a blank, or is repeated.
    """
    offsets: dict[str, int] = {}
    frames: dict[str, int] = {}
    with replacing(ark) as partial:
        with partial.open("wb") as stream:
            for utt_id, matrix in items:
                _check_id(scp, utt_id, offsets)
                stream.write(utt_id.encode("utf-8") + b" ")
                offsets[utt_id] = stream.tell()
                frames[utt_id] = len(matrix)
                stream.write(encode_binary(matrix))
        scp.unlink(missing_ok=True)  # an old scp would have wrong offsets for the new ark
    write_table(scp, {utt_id: f"{ark.resolve()}:{offset}" for utt_id, offset in offsets.items()})
    return frames


def _check_id(scp: Path, utt_id: str, known: dict[str, int]) -> None:
    if not utt_id or utt_id.split() != [utt_id]:
        raise DataError(str(scp), f"utterance id {utt_id!r}", "one word", "rename the utterance")
    if utt_id in known:
        raise DataError(str(scp), f"utterance '{utt_id}' is repeated", "unique ids", "rename one")
