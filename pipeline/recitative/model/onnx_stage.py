"""An exported file, run by ONNX Runtime: the same stage for all kinds of models.

No other module of the library imports ONNX Runtime.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import onnxruntime as ort

from recitative.errors import DataError, UsageError
from recitative.model.kind import (
    MAKE_ONE,
    Entries,
    InitialState,
    ModelKind,
    ModelMetadata,
    kind_in,
    read_entries,
    split_metadata,
    with_article,
)
from recitative.reading import GZIP_MAGIC, unpacked
from recitative.stage import Array, Padded, State

DAMAGED = "copy or export it again"

_DTYPES = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(int64)": "int64", "tensor(bool)": "bool"}


class OnnxStage:
    """Stage: the input of the graph, (N, T, ...), -> its output, (N, T', C) float32; state as in the metadata.

    For networks that are no map of frames, such as the generation of samples, use ``run`` and ``call`` only.
    """

    def __init__(self, content: Path | bytes, *kinds: ModelKind, threads: int = 1) -> None:
        """content: an exported file, gzipped or not, or its bytes

        Raises DataError for a damaged file, one of another kind, and one whose graphs do not fit its metadata.
        """
        self._session, self.metadata = open_model(content, kinds, threads=threads)
        state, settings = self.metadata.state, self.metadata.settings
        graphs = self.metadata.kind.graphs(settings, self.metadata.extras)
        main = graphs[""]
        self._session.require(main.inputs, main.outputs, state)
        self._others = {name: _open_graph(self.metadata, name, threads) for name in graphs if name}
        for name, session in self._others.items():
            session.require(graphs[name].inputs, graphs[name].outputs, {})
        self._signatures = graphs
        core = settings.model.recurrent
        self._front_end = getattr(settings.model, "front_end", None)
        if self._front_end:
            piece = core.chunk * self._front_end.core_stride if core.direction == "latency_controlled" else 0
            if (self.metadata.stride, self.metadata.piece_frames) != (self._front_end.output_stride, piece):
                self._session.refuse("its settings and its metadata disagree about the frame rate")
        self.stride = self.metadata.stride
        self.lookahead = None if core.direction == "bidirectional" else self.metadata.lookahead  # in input frames
        self._initial = with_sentinels(state)
        # The sentinels of int8 cells that run backwards are constants of the graph, so rows cannot be batched.
        int8 = self.metadata.weights == "int8" and self._front_end is not None
        self._row_by_row = int8 and core.cell == "lstm" and core.direction != "forward"
        self._state_inputs = [(f"state.{name}", name) for name in state]
        self._takes_last = "last" in main.inputs
        self._input, (self._dtype, _) = next(iter(main.inputs.items()))
        y = next(iter(main.outputs))
        self._gives_lengths = f"{y}_lengths" in main.outputs
        lengths = [f"{y}_lengths"] if self._gives_lengths else []
        self._outputs = [y, *lengths, *(f"new_state.{name}" for name in state)]

    def run(self, outputs: list[str], feeds: Mapping[str, Array]) -> list[Array]:
        """One call of the main graph."""
        return self._session.run(outputs, feeds)

    def call(self, graph: str, feeds: Mapping[str, Array]) -> Array:
        """The first output of a further graph."""
        return self._others[graph].run([next(iter(self._signatures[graph].outputs))], feeds)[0]

    def output_lengths(self, lengths: Array) -> Array:
        if self._front_end is None:
            return lengths
        return np.array([self._front_end.num_output_frames(int(length)) for length in lengths], np.int64)

    def initial_state(self, n: int) -> State:
        return {name: initial.array(n) for name, initial in self._initial.items()}

    def step(self, x: Padded[Array], state: State, *, last: bool) -> tuple[Padded[Array], State]:
        """Raises UsageError when a bidirectional model is stepped in chunks."""
        if self.lookahead is None and not last:
            raise UsageError(
                "a bidirectional model cannot be stepped in pieces: it needs the whole recording or piece at once; use "
                "one with a 'forward' or 'latency_controlled' core"
            )
        if self.metadata.piece_frames:
            y, state = self._in_pieces(x, state, last=last)
        else:
            y, state = self._run(x, state, last=last)
        return y, self.initial_state(len(x.lengths)) if last else state

    def _in_pieces(self, x: Padded[Array], state: State, *, last: bool) -> tuple[Padded[Array], State]:
        """Feed at most ``piece_frames`` in each call of the graph; at the end call it without frames until all rows are
        flushed."""
        frames, piece = x.data.shape[1], self.metadata.piece_frames
        outputs: list[Padded[Array]] = []
        for start in range(0, max(frames, 1), piece):
            part = Padded(x.data[:, start : start + piece], np.clip(x.lengths - start, 0, piece))
            y, state = self._run(part, state, last=last and start + piece >= frames)
            outputs.append(y)
        nothing = Padded(x.data[:, :0], np.zeros_like(x.lengths))
        while last and outputs[-1].lengths.any():
            y, state = self._run(nothing, state, last=True)
            outputs.append(y)
        return join(outputs), state

    def _run(self, x: Padded[Array], state: State, *, last: bool) -> tuple[Padded[Array], State]:
        rows = len(x.lengths)
        if not self._row_by_row or rows == 1:
            return self._run_graph(x, state, last=last)
        alone = [
            self._run_graph(
                Padded(x.data[row : row + 1, : x.lengths[row]], x.lengths[row : row + 1]),
                {name: value[row : row + 1] for name, value in state.items()},
                last=last,
            )
            for row in range(rows)
        ]
        frames = max(y.data.shape[1] for y, _ in alone)
        data = np.concatenate([np.pad(y.data, ((0, 0), (0, frames - y.data.shape[1]), (0, 0))) for y, _ in alone])
        lengths = np.concatenate([y.lengths for y, _ in alone])
        return Padded(data, lengths), {name: np.concatenate([after[name] for _, after in alone]) for name in state}

    def _run_graph(self, x: Padded[Array], state: State, *, last: bool) -> tuple[Padded[Array], State]:
        n, frames, *rest = x.data.shape
        data = x.data if frames else np.zeros((n, 1, *rest), self._dtype)  # recurrent operators take no empty rows
        feeds = {self._input: data, "lengths": x.lengths}
        for entry, name in self._state_inputs:
            feeds[entry] = state[name]
        if self._takes_last:
            feeds["last"] = np.array(last)
        y, *rest = self._session.run(self._outputs, feeds)
        lengths, new_state = (rest[0], rest[1:]) if self._gives_lengths else (x.lengths, rest)
        data = y if self._gives_lengths else y[:, :frames]
        return Padded(data, lengths), dict(zip(self._initial, new_state, strict=True))


def open_file(content: Path | bytes, kind: ModelKind, *, threads: int = 1) -> Any:
    """An exported file of this kind, ready to run: the result of ``kind.run``. Raises what ``OnnxStage`` raises."""
    stage = OnnxStage(content, kind, threads=threads)
    return kind.run(stage, stage.metadata.settings, stage.metadata.extras)


def join(parts: list[Padded[Array]]) -> Padded[Array]:
    """Batches of the same rows -> one batch, in which the frames of each row follow one another."""
    if len(parts) == 1:
        return parts[0]
    lengths = np.sum([part.lengths for part in parts], axis=0)
    data = np.zeros((len(lengths), int(lengths.max(initial=0)), *parts[0].data.shape[2:]), parts[0].data.dtype)
    for row in range(len(lengths)):
        pieces = [part.data[row, : part.lengths[row]] for part in parts]
        data[row, : lengths[row]] = np.concatenate(pieces)
    return Padded(data, lengths)


# Sessions


class Session:
    """The graph of a model file, ready to run, and the file's metadata."""

    def __init__(self, session: ort.InferenceSession, metadata: dict[str, str], where: str) -> None:
        self._session = session
        self.where = where
        self.metadata = metadata

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Array]) -> list[Array]:
        """Raises DataError if ONNX Runtime cannot run the graph, such as that of a damaged file without a checksum."""
        try:
            results: list[Array] = self._session.run(outputs, feeds)
        except Exception as error:
            if not type(error).__module__.startswith("onnxruntime"):
                raise
            raise DataError(self.where, f"its graph failed ({_first_line(error)})", "", DAMAGED) from None
        return results

    def require(self, inputs: Entries, outputs: Entries, state: Mapping[str, InitialState]) -> None:
        """Raises DataError unless the graph has exactly these inputs and outputs, and ``state`` among both."""
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


def open_session(content: Path | bytes, where: str, kind: str, threads: int) -> Session:
    """content: a file or its bytes; where and kind, such as "model file", are for errors.

    Raises DataError for a wrong checksum, and for a file that ONNX Runtime cannot open.
    """
    if isinstance(content, Path):
        if not content.is_file():
            found = "is a folder" if content.is_dir() else "does not exist"
            raise DataError(where, found, with_article(kind), MAKE_ONE)
        content = read_content(content, where, kind)
    graph, metadata = _split(content, where, kind)
    del content  # a file may be large
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    options.log_severity_level = 3
    try:
        session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"], enable_fallback=0)
    except Exception as error:  # ONNX Runtime has an exception class for each status and no common base
        raise _not_opened(where, error, kind) from None
    session._model_bytes = None  # kept for a session with other providers
    return Session(session, metadata, where)


def open_kind(content: Path | bytes, kinds: Sequence[ModelKind], *, threads: int = 1) -> tuple[Session, ModelKind]:
    """An exported file or its bytes, and its kind. Raises DataError if it is none of these kinds."""
    where = str(content) if isinstance(content, Path) else f"the {kinds[0].title}"
    file = f"{kinds[0].title}'s file" if len(kinds) == 1 else "model file"
    session = open_session(content, where, file, threads)
    return session, kind_in(session.metadata, where, kinds)


def open_model(content: Path | bytes, kinds: Sequence[ModelKind], *, threads: int = 1) -> tuple[Session, ModelMetadata]:
    """The same with all metadata."""
    session, kind = open_kind(content, kinds, threads=threads)
    metadata = read_entries(session.metadata, session.where, kind)
    session.metadata.clear()  # it is in ``metadata``, and a language model is large
    return session, metadata


def _open_graph(metadata: ModelMetadata, name: str, threads: int) -> Session:
    """A further graph of an exported file. Raises DataError if it is missing or damaged."""
    file = f"{metadata.kind.title}'s file"
    return open_session(metadata.graphs.get(name, b""), metadata.where, file, threads)


def read_model(path: Path, kind: ModelKind) -> tuple[bytes, dict[str, str]]:
    """The content of an exported file, unpacked, and its metadata, without opening its graph.

    Raises DataError for a file that is damaged or of another kind.
    """
    where, file = str(path), f"{kind.title}'s file"
    if path.is_dir():
        remedy = f"export it first: 'recitative export {path} --output model.onnx'"
        raise DataError(where, "is a folder", with_article(file), remedy)
    if not path.is_file():
        raise DataError(where, "does not exist", with_article(file), MAKE_ONE)
    content = read_content(path, where, file)
    _, metadata = _split(content, where, file)
    kind_in(metadata, where, [kind])
    return content, metadata


def read_content(path: Path, where: str, kind: str) -> bytes:
    """The content of a model file, unpacked. Raises DataError if it cannot be read."""
    try:
        content = path.read_bytes()
        return unpacked(content, where) if content.startswith(GZIP_MAGIC) else content
    except (OSError, DataError) as error:
        raise _not_opened(where, error, kind) from None


def _split(content: bytes, where: str, kind: str) -> tuple[bytes, dict[str, str]]:
    """A file without its metadata, and the metadata. Raises DataError for a damaged file."""
    try:
        return split_metadata(content, where, kind)
    except ValueError as error:
        raise _not_opened(where, error, kind) from None


def _not_opened(where: str, error: Exception, kind: str) -> DataError:
    return DataError(where, f"cannot be opened ({_first_line(error)})", f"a whole {kind}", DAMAGED)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _fits(found: tuple[str, Sequence[int | str | None]], wanted: tuple[str, tuple[int | None, ...]]) -> bool:
    """found: a variable size has a name; wanted: it is None."""
    (dtype, shape), (wanted_dtype, wanted_shape) = found, wanted
    return (
        dtype == wanted_dtype
        and len(shape) == len(wanted_shape)
        and all(b is None or a == b for a, b in zip(shape, wanted_shape, strict=True))
    )


# Sentinels of the int8 LSTM: two units in each cell that are always the ends of the range by which ONNX Runtime
# quantizes the hidden units of all rows, + and - tanh of a large cell (see ``model.graph``). ONNX Runtime's tanh
# is a rational function, in float32 up to 1.0000002 for some arguments from 8 to 9, and 1 for larger ones: a saturated
# unit of one row could widen the range of all others, and their numbers would depend on the rest of the batch. So the
# cells of the sentinels are those of the largest tanh that this machine computes.

# A graph of one operator: Tanh, x (n,) -> y (n,).
_TANH = b64decode("CAo6OAoMCgF4EgF5IgRUYW5oEgR0YW5oWhAKAXgSCwoJCAESBQoDEgFuYhAKAXkSCwoJCAESBQoDEgFuQgQKABAS")


def with_sentinels(state: Mapping[str, InitialState]) -> dict[str, InitialState]:
    """The initial state with the sentinels of this machine. Entries with a tail are h and c of int8 LSTMs."""

    def replaced(name: str, initial: InitialState) -> InitialState:
        if not initial.tail:
            return initial
        cell, largest = largest_tanh()
        value = cell if name.endswith(".c") else largest
        return replace(initial, tail=tuple(float(np.copysign(value, end)) for end in initial.tail))

    return {name: replaced(name, initial) for name, initial in state.items()}


@cache
def largest_tanh() -> tuple[float, float]:
    """x and tanh x where ONNX Runtime's tanh is largest, over all float32 from 8 to 9; it is constant above."""
    first, last = (int(np.float32(end).view(np.int32)) for end in (8, 9))
    x = np.arange(first, last + 1, dtype=np.int32).view(np.float32)
    (y,) = open_session(_TANH, "tanh", "graph", threads=1).run(["y"], {"x": x})
    at = int(y.argmax())
    return float(x[at]), float(y[at])
