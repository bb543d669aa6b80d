"""Kaldi's matrix format, binary and text (matrix/kaldi-matrix.cc, Matrix::Read and ::Write)."""

from __future__ import annotations

import io
import struct
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from recitative.errors import DataError

Array = npt.NDArray[Any]

_BINARY = b"\0B"
_SIZES = "<bibi"  # 4 rows 4 columns: the 4 is the number of bytes of the number that follows
_TYPES: dict[bytes, np.dtype[Any]] = {b"FM ": np.dtype("<f4"), b"DM ": np.dtype("<f8")}


def encode_binary(matrix: Array) -> bytes:
    """A matrix (T, C) as Kaldi's binary bytes, the ``\\0B`` mark included; float64 as DM, all else as float32, FM."""
    token = b"DM " if matrix.dtype == np.float64 else b"FM "
    rows, columns = matrix.shape
    values = np.ascontiguousarray(matrix, dtype=_TYPES[token]).tobytes()
    return b"".join([_BINARY, token, struct.pack(_SIZES, 4, rows, 4, columns), values])


def encode_text(matrix: Array) -> str:
    """A matrix (T, C) as Kaldi's text, with as many digits as give the same numbers back."""
    lines = "\n".join("  " + " ".join(repr(float(value)) for value in row) for row in matrix)
    return f" [\n{lines} ]\n"


def read_matrix(stream: IO[bytes], where: str) -> Array:
    """The matrix that starts at the stream's position: float32 or float64 if binary, float64 if text.

    Raises DataError, beginning with ``where``, if no such matrix is there or it ends too early.
    """
    mark = stream.read(2)
    return _read_binary(stream, where) if mark == _BINARY else _read_text(mark + stream.read(), where)


def _read_binary(stream: IO[bytes], where: str) -> Array:
    token = stream.read(3)
    if token not in _TYPES:
        remedy = "write it with 'copy-feats --compress=false'"
        raise DataError(where, f"holds a Kaldi object {token!r}", "a float matrix (FM or DM)", remedy)
    header = stream.read(struct.calcsize(_SIZES))
    if len(header) < struct.calcsize(_SIZES):
        raise _truncated(where)
    row_mark, rows, column_mark, columns = struct.unpack(_SIZES, header)
    if (row_mark, column_mark) != (4, 4) or rows < 0 or columns < 0:
        raise DataError(where, f"a matrix of {rows} by {columns}", remedy="the file is damaged: write it again")
    dtype = _TYPES[token]
    size = rows * columns * dtype.itemsize
    begin = stream.tell()
    if stream.seek(0, io.SEEK_END) - begin < size:  # a damaged header may ask for more than there is memory
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
