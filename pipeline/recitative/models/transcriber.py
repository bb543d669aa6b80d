"""From samples to log probabilities, features and network as one stage, and to tokens with times. NumPy only.

The network may be PyTorch's (``recognition.network``) or ONNX Runtime's (``runtime.network``): both are stages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from recitative.config import Settings
from recitative.ctc.greedy import BestPath
from recitative.features.frontend import FeatureExtractor
from recitative.stage import Padded, Stage, State
from recitative.text.tokens import TokenTable

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class TimedToken:
    token: str
    start_s: float  # where its first frame begins, in seconds from the start of the stream
    end_s: float  # where its last frame ends
    confidence: float  # the model's own probability for it, 0..1


class Transcriber:
    """Stage: samples (N, S) float32 in [-1, 1] -> log probabilities (N, T, V) float32.

    State: the entries of its two parts as ``features.*`` and ``network.*``.
    """

    def __init__(self, network: Stage[Array], settings: Settings, tokens: TokenTable) -> None:
        """``network``: features (N, T, C) -> log probabilities (N, T', V), a stage on NumPy arrays."""
        self.network = network
        self.settings = settings
        self.tokens = tokens
        self.extractor = FeatureExtractor(settings.features)

    @property
    def sample_rate(self) -> int:
        """In Hz."""
        return self.settings.features.sample_rate

    @property
    def stride(self) -> int:
        """In samples."""
        return self.extractor.stride * self.network.stride

    @property
    def frame_s(self) -> float:
        """Seconds of audio per output."""
        return self.stride / self.sample_rate

    @property
    def lookahead(self) -> int | None:
        """In samples."""
        ahead = self.network.lookahead
        return None if ahead is None else self.extractor.lookahead + ahead * self.extractor.stride

    @property
    def latency_ms(self) -> float | None:
        """Algorithmic latency: audio after an output's own instant that must be heard first; None = all of it."""
        return None if self.lookahead is None else 1000.0 * self.lookahead / self.sample_rate

    def output_lengths(self, lengths: Array) -> Array:
        return self.network.output_lengths(self.extractor.output_lengths(lengths))

    def initial_state(self, n: int) -> State:
        parts: dict[str, Stage[Any]] = {"features": self.extractor, "network": self.network}
        return {f"{name}.{key}": value for name, part in parts.items() for key, value in part.initial_state(n).items()}

    def step(self, x: Padded[Array], state: State, *, last: bool) -> tuple[Padded[Array], State]:
        features, feature_state = self.extractor.step(x, _entries(state, "features"), last=last)
        y, network_state = self.network.step(features, _entries(state, "network"), last=last)
        new_state = {f"features.{key}": value for key, value in feature_state.items()}
        return y, new_state | {f"network.{key}": value for key, value in network_state.items()}

    def transcribe(self, rows: Sequence[Array], *, chunk_samples: int | None = None) -> list[list[TimedToken]]:
        """Tokens with times of several recordings (S,) at once: whole, or in chunks as a stream would bring them."""
        x = pad_samples(rows)
        step = chunk_samples or x.data.shape[1]
        state = self.initial_state(len(rows))
        heard: list[BestPath] = [BestPath() for _ in rows]
        for start in range(0, max(x.data.shape[1], 1), step):
            piece = Padded(x.data[:, start : start + step], np.clip(x.lengths - start, 0, step))
            y, state = self.step(piece, state, last=start + step >= x.data.shape[1])
            for path, log_probs, length in zip(heard, y.data, y.lengths, strict=True):
                path.extend(log_probs[:length])
        return [self.tokens_of(path) for path in heard]

    def tokens_of(self, path: BestPath) -> list[TimedToken]:
        """What a stream has said so far."""
        return [
            TimedToken(
                self.tokens.symbols[run.label],
                round(run.begin * self.frame_s, 3),
                round(run.end * self.frame_s, 3),
                round(run.confidence, 4),
            )
            for run in path.runs
        ]


def pad_samples(rows: Sequence[Array]) -> Padded[Array]:
    """Recordings (S,) as a padded batch (N, S)."""
    lengths = np.array([len(row) for row in rows], np.int64)
    data = np.zeros((len(rows), int(lengths.max(initial=0))), np.float32)
    for i, row in enumerate(rows):
        data[i, : len(row)] = row
    return Padded(data, lengths)


def text_of(tokens: Sequence[TimedToken]) -> str:
    """The transcript, with single spaces between words."""
    return " ".join("".join(token.token for token in tokens).split())


def _entries(state: State, name: str) -> State:
    prefix = f"{name}."
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
