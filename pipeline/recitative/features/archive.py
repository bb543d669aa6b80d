"""Kaldi archives of feature matrices: ``feats.ark`` holds them, ``feats.scp`` says where each begins."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy.typing as npt

from recitative.atomic import replacing
from recitative.data.tables import read_table, write_table
from recitative.errors import DataError
from recitative.features.matrix import encode_binary, read_matrix
from recitative.reading import opened

Array = npt.NDArray[Any]


def write_archive(scp: Path, ark: Path, items: Iterable[tuple[str, Array]]) -> dict[str, int]:
    """Write (utt_id, matrix (T, C)) pairs as binary float32 (or float64) matrices, uncompressed.

    Returns utt_id -> frames. Both files appear whole or, if ``items`` raises, not at all; the paths in the scp are
    absolute, as Kaldi's scripts make them. Raises DataError for an id that is empty, has a blank, or comes twice.
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
        scp.unlink(missing_ok=True)  # never an old scp beside a new ark: its offsets would be wrong
    write_table(scp, {utt_id: f"{ark.resolve()}:{offset}" for utt_id, offset in offsets.items()})
    return frames


def read_archive(scp: Path) -> Iterator[tuple[str, Array]]:
    """The (utt_id, matrix (T, C)) pairs that an scp of ``path:offset`` lines names, in its order.

    Raises DataError that names the scp's line for a missing file, a path without an offset, or a broken matrix.
    """
    with ExitStack() as files:
        archives: dict[str, IO[bytes]] = {}
        for row in read_table(scp):
            where = f"{scp}:{row.line}: utterance '{row.key}'"
            path, offset = _parse_location(where, row.value)
            remedy = "make it with 'recitative features'"
            try:
                if path not in archives:
                    archives[path] = files.enter_context(opened(path, "an archive", remedy))
                archives[path].seek(offset)
            except DataError as error:
                found = error.problems[0]
                raise DataError(where, f"{found.where} {found.found}", found.allowed, remedy) from None
            except (OSError, OverflowError):
                raise DataError(where, f"{path} has no byte {offset}", remedy=remedy) from None
            yield row.key, read_matrix(archives[path], where)


def _check_id(scp: Path, utt_id: str, known: dict[str, int]) -> None:
    if not utt_id or utt_id.split() != [utt_id]:
        raise DataError(str(scp), f"utterance id {utt_id!r}", "one word", "rename the utterance")
    if utt_id in known:
        raise DataError(str(scp), f"utterance '{utt_id}' comes twice", "unique ids", "rename one")


def _parse_location(where: str, value: str) -> tuple[str, int]:
    path, _, offset = value.rpartition(":")
    if not path or not (offset.isascii() and offset.isdigit()):
        raise DataError(where, f"'{value}'", "path:offset", "make it with 'recitative features'")
    return path, int(offset)
