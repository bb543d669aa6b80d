"""A network in an exported file, run by ONNX Runtime: the same stage for every kind of model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from recitative.data.frames import num_output_frames
from recitative.errors import UsageError
from recitative.model.kind import AnyKind
from recitative.model.sentinels import with_sentinels
from recitative.model.session import open_graph, open_model
from recitative.stage import Array, Padded, State


class OnnxStage:
    """Stage: what the graph reads, (N, T, ...), -> what it gives, (N, T', C) float32; state as the metadata say.

    Of kinds without a network of frames, such as sound drawn sample by sample, only ``run`` and ``call`` are of use.
    """

    def __init__(self, content: Path | bytes, *kinds: AnyKind, threads: int = 1) -> None:
        """``content`` is an exported file, gzipped or not, or what is in one. Raises DataError for one that is damaged
        or of none of these kinds, and if its graphs are not what the metadata tell of."""
        self._session, self.metadata = open_model(content, kinds, threads=threads)
        state, settings = self.metadata.state, self.metadata.settings
        graphs = self.metadata.kind.graphs(settings, self.metadata.extras)
        main = graphs[""]
        self._session.require(main.inputs, main.outputs, state)
        self._others = {name: open_graph(self.metadata, name, threads=threads) for name in graphs if name}
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
        whole = core.direction == "bidirectional"
        self.lookahead = None if whole else self.metadata.lookahead  # in frames of the input
        self._initial = with_sentinels(state)
        # int8 cells that run backwards begin with sentinels that are constants of the graph: see ``model.sentinels``.
        int8 = self.metadata.weights == "int8" and self._front_end is not None
        self._rows_alone = int8 and core.cell == "lstm" and core.direction != "forward"
        self._input, (self._dtype, _) = next(iter(main.inputs.items()))
        y = next(iter(main.outputs))
        self._gives_lengths = f"{y}_lengths" in main.outputs
        lengths = [f"{y}_lengths"] if self._gives_lengths else []
        self._outputs = [y, *lengths, *(f"new_state.{name}" for name in state)]

    def run(self, outputs: list[str], feeds: Mapping[str, Array]) -> list[Array]:
        """The main graph, once, as it is."""
        return self._session.run(outputs, feeds)

    def call(self, graph: str, feeds: Mapping[str, Array]) -> Array:
        """What a further graph gives first."""
        return self._others[graph].run([next(iter(self._signatures[graph].outputs))], feeds)[0]

    def output_lengths(self, lengths: Array) -> Array:
        if self._front_end is None:
            return lengths
        return np.array([num_output_frames(int(length), self._front_end) for length in lengths], np.int64)

    def initial_state(self, n: int) -> State:
        return {name: initial.array(n) for name, initial in self._initial.items()}

    def step(self, x: Padded[Array], state: State, *, last: bool) -> tuple[Padded[Array], State]:
        """Raises UsageError when a bidirectional model is stepped in pieces."""
        if self.lookahead is None and not last:
            raise UsageError(
                "a bidirectional model cannot be stepped in pieces: it needs the whole recording or piece at once; use "
                "one with a 'forward' or 'latency_controlled' core"
            )
        if not self.metadata.piece_frames:
            y, state = self._run(x, state, last=last)
            return y, self.initial_state(len(x.lengths)) if last else state
        return self._in_pieces(x, state, last=last)

    def _in_pieces(self, x: Padded[Array], state: State, *, last: bool) -> tuple[Padded[Array], State]:
        """At most ``piece_frames`` in a call of the graph, and calls with none at the end until nothing is left."""
        frames, piece = x.data.shape[1], self.metadata.piece_frames
        outputs: list[Padded[Array]] = []
        for start in range(0, max(frames, 1), piece):
            part = Padded(x.data[:, start : start + piece], np.clip(x.lengths - start, 0, piece))
            y, state = self._run(part, state, last=last and start + piece >= frames)
            outputs.append(y)
        if last:
            nothing = Padded(x.data[:, :0], np.zeros_like(x.lengths))
            while outputs[-1].lengths.any():
                y, state = self._run(nothing, state, last=True)
                outputs.append(y)
        return join(outputs), self.initial_state(len(x.lengths)) if last else state

    def _run(self, x: Padded[Array], state: State, *, last: bool) -> tuple[Padded[Array], State]:
        rows = len(x.lengths)
        if not self._rows_alone or rows == 1:
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
        feeds = {self._input: data, "lengths": x.lengths} | {f"state.{name}": state[name] for name in self._initial}
        if "last" in self._signatures[""].inputs:
            feeds["last"] = np.array(last)
        y, *rest = self._session.run(self._outputs, feeds)
        lengths, new_state = (rest[0], rest[1:]) if self._gives_lengths else (x.lengths, rest)
        data = y if self._gives_lengths else y[:, :frames]
        return Padded(data, lengths), dict(zip(self._initial, new_state, strict=True))


def open_file(content: Path | bytes, kind: AnyKind, *, threads: int = 1) -> Any:
    """What runs an exported file of this kind. Raises DataError for another, or for a damaged one."""
    assert kind.runner, "every kind that is exported has one"
    stage = OnnxStage(content, kind, threads=threads)
    return kind.runner(stage, stage.metadata.settings, stage.metadata.extras)


def join(parts: list[Padded[Array]]) -> Padded[Array]:
    """Batches of the same rows, each row's frames one after another."""
    if len(parts) == 1:
        return parts[0]
    lengths = np.sum([part.lengths for part in parts], axis=0)
    data = np.zeros((len(lengths), int(lengths.max(initial=0)), *parts[0].data.shape[2:]), parts[0].data.dtype)
    for row in range(len(lengths)):
        pieces = [part.data[row, : part.lengths[row]] for part in parts]
        data[row, : lengths[row]] = np.concatenate(pieces)
    return Padded(data, lengths)
