"""A forecaster's file, run by ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from recitative.models.forecaster_card import REMEDY, ForecasterCard
from recitative.runtime.session import open_session
from recitative.stage import Padded, State

Array = npt.NDArray[Any]


class OnnxForecaster:
    """Stage: features (N, T, C) float32 -> surprise (N, T, 1) float32; state as the card says."""

    stride = 1
    lookahead = 0

    def __init__(self, content: Path | bytes, *, threads: int = 1) -> None:
        """``content`` is what 'recitative forecaster export' wrote, or what is in it. Raises DataError for another."""
        where = str(content) if isinstance(content, Path) else "the forecaster"
        self._session = open_session(content, where, "forecaster's file", REMEDY, threads)
        self.card = ForecasterCard.from_metadata(self._session.metadata, where)
        self._session.require(
            {"features": ("float32", (None, None, self.card.settings.features.dim)), "lengths": ("int64", (None,))},
            {"surprise": ("float32", (None, None, 1))},
            self.card.state,
        )
        self._outputs = ["surprise", *(f"new_state.{name}" for name in self.card.state)]

    def output_lengths(self, lengths: Array) -> Array:
        return lengths

    def initial_state(self, n: int) -> State:
        return {name: initial.array(n) for name, initial in self.card.state.items()}

    def step(self, x: Padded[Array], state: State, *, last: bool) -> tuple[Padded[Array], State]:
        n, frames, channels = x.data.shape
        data = x.data if frames else np.zeros((n, 1, channels), np.float32)  # recurrent operators take no empty rows
        feeds = {"features": data, "lengths": x.lengths} | {f"state.{name}": state[name] for name in self.card.state}
        y, *new_state = self._session.run(self._outputs, feeds)
        after = self.initial_state(n) if last else dict(zip(self.card.state, new_state, strict=True))
        return Padded(y[:, :frames], x.lengths), after
