"""Networks that predict tokens, run by ONNX Runtime, and a language model's file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from recitative.lm.kind import LANGUAGE_MODEL
from recitative.lm.scores import RecurrentLanguageModel
from recitative.model.file import InitialState
from recitative.model.session import Session, open_model
from recitative.stage import Array, Padded, State


class OnnxTokenNetwork:
    """Stage: token ids (N, T) int64 -> ln P of the next token (N, T, V) float32; ``initial`` says what its state is."""

    stride = 1
    lookahead = 0

    def __init__(self, session: Session, initial: Mapping[str, InitialState], num_tokens: int) -> None:
        """num_tokens: V. Raises DataError for the graph of another network."""
        session.require(
            {"tokens": ("int64", (None, None)), "lengths": ("int64", (None,))},
            {"log_probs": ("float32", (None, None, num_tokens))},
            initial,
        )
        self._session = session
        self._initial = initial
        self._outputs = ["log_probs", *(f"new_state.{name}" for name in initial)]

    def output_lengths(self, lengths: Array) -> Array:
        return lengths

    def initial_state(self, n: int) -> State:
        return {name: initial.array(n) for name, initial in self._initial.items()}

    def step(self, x: Padded[Array], state: State, *, last: bool) -> tuple[Padded[Array], State]:
        n, tokens = x.data.shape
        data = x.data if tokens else np.zeros((n, 1), np.int64)  # recurrent operators take no empty sequences
        feeds = {"tokens": data, "lengths": x.lengths} | {f"state.{name}": state[name] for name in self._initial}
        y, *new_state = self._session.run(self._outputs, feeds)
        after = self.initial_state(n) if last else dict(zip(self._initial, new_state, strict=True))
        return Padded(y[:, :tokens], x.lengths), after


def open_language_model(content: Path | bytes, *, threads: int = 1) -> RecurrentLanguageModel:
    """The scorer around a file from 'recitative export', or what is in one. Raises DataError for anything else."""
    session, metadata = open_model(content, LANGUAGE_MODEL, threads=threads)
    vocabulary = metadata.extras["vocabulary"]
    return RecurrentLanguageModel(OnnxTokenNetwork(session, metadata.state, len(vocabulary)), vocabulary)
