"""A music model's file, run by ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from recitative.errors import UsageError
from recitative.model.file import ModelMetadata
from recitative.model.session import Session, open_graph, open_model
from recitative.music.kind import MUSIC
from recitative.music.settings import FrameSettings, MusicSettings
from recitative.stage import Array, Ids, Padded, State


class OnnxMusic:
    """``models.composer.Scorer``: a music model that needs no PyTorch."""

    def __init__(self, content: Path | bytes, *, threads: int = 1) -> None:
        """``content`` is a file from 'recitative export', or what is in one. Raises DataError for another."""
        session, self.metadata = open_model(content, MUSIC, threads=threads)
        self._choice = open_graph(self.metadata, "choice", threads=threads)
        session.require(
            {"ids": ("int64", (None, None, None)), "lengths": ("int64", (None,))},
            {"hidden": ("float32", (None, None, None))},
            self.metadata.state,
        )
        self._choice.require(
            {"hidden": ("float32", (None, None)), "ids": ("int64", (None, None)), "beside": ("int64", (None, None))},
            {"scores": ("float32", (None, None))},
            {},
        )
        self.context = _Context(session, self.metadata)

    @property
    def settings(self) -> MusicSettings:
        """Of its training."""
        return self.metadata.settings

    @property
    def frames(self) -> FrameSettings:
        return self.settings.frames

    @property
    def fills(self) -> bool:
        """Whether it fills in what is missing; else it continues what is there."""
        return self.settings.model.recurrent.direction == "bidirectional"

    def scores(self, hidden: Array, ids: Ids, beside: Ids) -> Array:
        """(M, H), (M, G), (M, R) -> (M, outputs)."""
        feeds = {"hidden": np.ascontiguousarray(hidden), "ids": ids, "beside": beside}
        scores: Array = self._choice.run(["scores"], feeds)[0]
        return scores


class _Context:
    """Stage: ids (N, T, F) int64 -> hidden (N, T, H) float32; state as the metadata say. What lies beyond a row's
    length must be ids as well."""

    stride = 1

    def __init__(self, session: Session, metadata: ModelMetadata[MusicSettings]) -> None:
        self._session = session
        self._metadata = metadata
        self._outputs = ["hidden", *(f"new_state.{name}" for name in metadata.state)]
        self.lookahead = None if metadata.settings.model.recurrent.direction == "bidirectional" else 0

    def output_lengths(self, lengths: Array) -> Array:
        return lengths

    def initial_state(self, n: int) -> State:
        return {name: initial.array(n) for name, initial in self._metadata.state.items()}

    def step(self, x: Padded[Array], state: State, *, last: bool) -> tuple[Padded[Array], State]:
        """Raises UsageError when a bidirectional model is stepped in pieces."""
        if self.lookahead is None and not last:
            raise UsageError("a music model that fills in cannot be stepped in pieces: it needs the whole piece")
        ids = x.data if x.data.shape[1] else np.zeros((len(x.data), 1, x.data.shape[2]), np.int64)
        feeds = {"ids": ids, "lengths": x.lengths} | {f"state.{name}": state[name] for name in self._metadata.state}
        y, *new_state = self._session.run(self._outputs, feeds)
        after = self.initial_state(len(x.data)) if last else dict(zip(self._metadata.state, new_state, strict=True))
        return Padded(y, x.lengths), after
