"""A forecaster's file, run by ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from recitative.anomaly.kind import FORECASTER
from recitative.anomaly.threshold import Threshold
from recitative.model.session import open_model
from recitative.stage import Array, Padded, State


class OnnxForecaster:
    """Stage: features (N, T, C) float32 -> surprise (N, T, 1) float32; state as the metadata say."""

    stride = 1
    lookahead = 0

    def __init__(self, content: Path | bytes, *, threads: int = 1) -> None:
        """``content`` is what 'recitative export' wrote, or what is in it. Raises DataError for another."""
        self._session, self.metadata = open_model(content, FORECASTER, threads=threads)
        self.threshold: Threshold | None = self.metadata.extras["threshold"]
        self._session.require(
            {"features": ("float32", (None, None, self.metadata.settings.features.dim)), "lengths": ("int64", (None,))},
            {"surprise": ("float32", (None, None, 1))},
            self.metadata.state,
        )
        self._state = self.metadata.state
        self._outputs = ["surprise", *(f"new_state.{name}" for name in self._state)]

    def output_lengths(self, lengths: Array) -> Array:
        return lengths

    def initial_state(self, n: int) -> State:
        return {name: initial.array(n) for name, initial in self._state.items()}

    def step(self, x: Padded[Array], state: State, *, last: bool) -> tuple[Padded[Array], State]:
        n, frames, channels = x.data.shape
        data = x.data if frames else np.zeros((n, 1, channels), np.float32)  # recurrent operators take no empty rows
        feeds = {"features": data, "lengths": x.lengths} | {f"state.{name}": state[name] for name in self._state}
        y, *new_state = self._session.run(self._outputs, feeds)
        after = self.initial_state(n) if last else dict(zip(self._state, new_state, strict=True))
        return Padded(y[:, :frames], x.lengths), after
