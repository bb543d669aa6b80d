"""The network of a model file as a stage, run by ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from recitative.asr.decoders import Wishes
from recitative.asr.recognizer_kind import RECOGNIZER, language_of
from recitative.asr.transcriber import Transcriber
from recitative.data.frames import num_output_frames
from recitative.errors import UsageError
from recitative.model.file import ModelMetadata
from recitative.model.sentinels import with_sentinels
from recitative.model.session import Session, open_model
from recitative.stage import Array, Padded, State


class OnnxFeatureNetwork:
    """Stage: features (N, T, C) float32 -> log probabilities (N, T', V) float32; state as the metadata say."""

    def __init__(self, session: Session, metadata: ModelMetadata[Any], outputs: int) -> None:
        """outputs: V. Raises DataError if the graph is not the one that the metadata tell of."""
        _require_graph(session, metadata, outputs)
        self._session = session
        self._metadata = metadata
        self._initial = with_sentinels(metadata.state)
        core = metadata.settings.model.recurrent
        # Cells that run backwards begin with sentinels that are constants of the graph: see ``model.sentinels``.
        self._rows_alone = metadata.weights == "int8" and core.cell == "lstm" and core.direction != "forward"
        self._state_names = list(metadata.state)
        self._state_inputs = [f"state.{name}" for name in self._state_names]
        self._outputs = ["log_probs", "log_probs_lengths", *(f"new_state.{name}" for name in self._state_names)]

    @property
    def stride(self) -> int:
        return self._metadata.stride

    @property
    def lookahead(self) -> int | None:
        """In feature frames."""
        return self._metadata.lookahead

    def output_lengths(self, lengths: Array) -> Array:
        front_end = self._metadata.settings.model.front_end
        return np.array([num_output_frames(int(length), front_end) for length in lengths], np.int64)

    def initial_state(self, n: int) -> State:
        return {name: initial.array(n) for name, initial in self._initial.items()}

    def step(self, x: Padded[Array], state: State, *, last: bool) -> tuple[Padded[Array], State]:
        """Raises UsageError when a bidirectional model is stepped in pieces."""
        if self.lookahead is None and not last:
            raise UsageError(
                "a bidirectional model cannot be stepped in pieces: it needs the whole recording at once; use one "
                "with a 'forward' or 'latency_controlled' core"
            )
        if not self._metadata.piece_frames:
            y, state = self._run(x, state, last=last)
            return y, self.initial_state(len(x.lengths)) if last else state
        return self._in_pieces(x, state, last=last)

    def _in_pieces(self, x: Padded[Array], state: State, *, last: bool) -> tuple[Padded[Array], State]:
        """At most ``piece_frames`` in a call of the graph, and calls with none at the end until nothing is left."""
        frames, piece = x.data.shape[1], self._metadata.piece_frames
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
        data = x.data if x.data.shape[1] else np.zeros((len(x.lengths), 1, x.data.shape[2]), np.float32)
        feeds = {"features": data, "lengths": x.lengths, "last": np.array(last)}
        feeds |= {entry: state[name] for entry, name in zip(self._state_inputs, self._state_names, strict=True)}
        y, lengths, *new_state = self._session.run(self._outputs, feeds)
        return Padded(y, lengths), dict(zip(self._state_names, new_state, strict=True))


def _require_graph(session: Session, metadata: ModelMetadata[Any], outputs: int) -> None:
    """The graph's inputs and outputs, and what the metadata say of its rates."""
    model, dim = metadata.settings.model, metadata.settings.features.dim
    session.require(
        {"features": ("float32", (None, None, dim)), "lengths": ("int64", (None,)), "last": ("bool", ())},
        {"log_probs": ("float32", (None, None, outputs)), "log_probs_lengths": ("int64", (None,))},
        metadata.state,
    )
    front_end, core = model.front_end, model.recurrent
    piece = core.chunk * front_end.core_stride if core.direction == "latency_controlled" else 0
    if (metadata.stride, metadata.piece_frames) != (front_end.output_stride, piece):
        session.refuse("its settings and its metadata disagree about the frame rate")


class OnnxNetwork(OnnxFeatureNetwork):
    """The network of a recognizer's file, and its metadata."""

    def __init__(self, content: Path | bytes, *, threads: int = 1) -> None:
        """``content`` is a model file, gzipped or not, or what is in one. Raises DataError for anything else."""
        session, self.metadata = open_model(content, RECOGNIZER, threads=threads)
        super().__init__(session, self.metadata, len(self.metadata.extras["tokens"]))


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


def load_transcriber(model: Path | bytes, *, threads: int = 1, wishes: Wishes | None = None) -> Transcriber:
    """The whole chain from samples to words around a model file."""
    network = OnnxNetwork(model, threads=threads)
    metadata = network.metadata
    tokens, language = metadata.extras["tokens"], language_of(metadata.extras)
    return Transcriber(network, metadata.settings, tokens, language, wishes)
