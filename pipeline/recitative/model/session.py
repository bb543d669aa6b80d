"""Opening a model file, gzipped or not, with ONNX Runtime, which nothing else in the library imports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import onnxruntime as ort

from recitative.errors import DataError
from recitative.model.checksum import require_no_claim, verify_checksum
from recitative.model.file import InitialState, ModelMetadata, kind_in, read_entries
from recitative.model.kind import AnyKind, Entries
from recitative.model.onnx_file import divided
from recitative.reading import GZIP_MAGIC, unpacked
from recitative.stage import Array

DAMAGED = "copy or export it again"

_DTYPES = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(int64)": "int64", "tensor(bool)": "bool"}


class Session:
    """The graph of a model file, ready to run, and the file's metadata."""

    def __init__(self, session: ort.InferenceSession, metadata: dict[str, str], where: str) -> None:
        self._session = session
        self.where = where
        self.metadata = metadata

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Array]) -> list[Array]:
        """Raises DataError if ONNX Runtime cannot run the graph, as of a damaged file without a checksum."""
        try:
            results: list[Array] = self._session.run(outputs, feeds)
        except Exception as error:
            if not _of_onnxruntime(error):
                raise
            raise DataError(self.where, f"its graph failed ({_first_line(error)})", "", DAMAGED) from None
        return results

    def require(self, inputs: Entries, outputs: Entries, state: Mapping[str, InitialState]) -> None:
        """Raises DataError unless the graph has these inputs and outputs, and ``state`` among both, and no others."""
        shapes = {name: (initial.dtype, (None, *initial.shape)) for name, initial in state.items()}
        for found, expected, prefix in (
            (self._session.get_inputs(), inputs, "state."),
            (self._session.get_outputs(), outputs, "new_state."),
        ):
            wanted = {**expected, **{f"{prefix}{name}": entry for name, entry in shapes.items()}}
            there = {entry.name: (_DTYPES.get(entry.type, entry.type), entry.shape) for entry in found}
            for name in wanted.keys() | there.keys():
                if name not in wanted or name not in there or not _fits(there[name], wanted[name]):
                    self.refuse(f"its graph and its metadata disagree about '{name}'")

    def refuse(self, found: str) -> NoReturn:
        """Raises DataError."""
        raise DataError(self.where, f"is damaged: {found}", "a whole model file", DAMAGED)


def open_session(content: Path | bytes, where: str, kind: str, remedy: str, threads: int) -> Session:
    """``content`` is a file, or what is in one; ``where``, ``kind`` ("model file") and ``remedy`` are for errors.

    Raises DataError for what is damaged, see ``model.checksum``, and for what ONNX Runtime cannot open.
    """
    if isinstance(content, Path):
        if not content.is_file():
            raise DataError(where, "does not exist", f"a {kind}", remedy)
        content = read_content(content, where, kind)
    graph, metadata = _divided(content, where, kind)
    del content  # a file may be large
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    options.log_severity_level = 3
    try:
        session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"], enable_fallback=0)
    except Exception as error:  # ONNX Runtime has an exception class for each status and no common base
        raise _unopened(where, error, kind) from None
    session._model_bytes = None  # which it keeps for a session with other providers
    return Session(session, metadata, where)


def read_model(path: Path, kind: AnyKind) -> tuple[bytes, dict[str, str]]:
    """What is in an exported file, unpacked, and its metadata, without opening its graph.

    Raises DataError for a file that is damaged or of another kind.
    """
    where, file = str(path), f"{kind.title}'s file"
    if path.is_dir():
        raise DataError(
            where, "is a folder", f"a {file}", f"export it first: '{kind.export} {path} --output model.onnx'"
        )
    if not path.is_file():
        raise DataError(where, "does not exist", f"a {file}", f"make one with '{kind.export}'")
    content = read_content(path, where, file)
    _, metadata = _divided(content, where, file)
    kind_in(metadata, where, [kind])
    return content, metadata


def open_kind(content: Path | bytes, kinds: Sequence[AnyKind], *, threads: int = 1) -> tuple[Session, AnyKind]:
    """An exported file, or what is in one, and which of these kinds it is. Raises DataError for none of them."""
    where = str(content) if isinstance(content, Path) else f"the {kinds[0].title}"
    file = f"{kinds[0].title}'s file" if len(kinds) == 1 else "model file"
    session = open_session(content, where, file, f"make one with '{kinds[0].export}'", threads)
    return session, kind_in(session.metadata, where, kinds)


def open_model(
    content: Path | bytes, kinds: Sequence[AnyKind], *, threads: int = 1
) -> tuple[Session, ModelMetadata[Any]]:
    """The same with its metadata, which name the kind."""
    session, kind = open_kind(content, kinds, threads=threads)
    metadata = read_entries(session.metadata, session.where, kind)
    session.metadata.clear()  # all of it is in the other, and a language model is large
    return session, metadata


def open_graph(metadata: ModelMetadata[Any], name: str, *, threads: int = 1) -> Session:
    """A further graph of an exported file. Raises DataError for a damaged one, or if there is none."""
    title = metadata.kind.title
    remedy = f"make one with '{metadata.kind.export}'"
    return open_session(metadata.graphs.get(name, b""), metadata.where, f"{title}'s file", remedy, threads)


def _divided(content: bytes, where: str, kind: str) -> tuple[bytes, dict[str, str]]:
    """A file without its metadata, and these. Raises DataError for a damaged one."""
    has_checksum = verify_checksum(content, where, kind)
    try:
        graph, metadata = divided(content)
    except ValueError as error:
        raise _unopened(where, error, kind) from None
    if not has_checksum:
        require_no_claim(metadata, where, kind)
    return graph, metadata


def read_content(path: Path, where: str, kind: str) -> bytes:
    """What is in a model file, unpacked. Raises DataError if it cannot be read."""
    try:
        content = path.read_bytes()
        return unpacked(content, where) if content.startswith(GZIP_MAGIC) else content
    except (OSError, DataError) as error:
        raise _unopened(where, error, kind) from None


def _unopened(where: str, error: Exception, kind: str) -> DataError:
    return DataError(where, f"cannot be opened ({_first_line(error)})", f"a whole {kind}", DAMAGED)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _of_onnxruntime(error: Exception) -> bool:
    return type(error).__module__.startswith("onnxruntime")


def _fits(found: tuple[str, Sequence[int | str | None]], wanted: tuple[str, tuple[int | None, ...]]) -> bool:
    """A size that the graph leaves open has a name there."""
    (dtype, shape), (wanted_dtype, wanted_shape) = found, wanted
    return (
        dtype == wanted_dtype
        and len(shape) == len(wanted_shape)
        and all(b is None or a == b for a, b in zip(shape, wanted_shape, strict=True))
    )
