"""From samples to log probabilities, features and network as one stage, and to words with times. NumPy only.

The network may be PyTorch's (``recognition.network``) or ONNX Runtime's (``runtime.network``): both are stages.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from recitative.config import Settings
from recitative.features.frontend import FeatureExtractor
from recitative.models.decoders import Decoder, Spoken, TimedTable, Wishes, new_decoder
from recitative.models.language import Language
from recitative.stage import Padded, Stage, State
from recitative.text.tokens import TokenTable

Array = npt.NDArray[Any]


class Transcriber:
    """Stage: samples (N, S) float32 in [-1, 1] -> log probabilities (N, T, V) float32.

    State: the entries of its two parts as ``features.*`` and ``network.*``.
    """

    def __init__(
        self,
        network: Stage[Array],
        settings: Settings,
        tokens: TokenTable,
        language: Language | None = None,
        wishes: Wishes | None = None,
    ) -> None:
        """network: features (N, T, C) -> log probabilities (N, T', V), a stage on NumPy arrays.

        ``decoder`` is what the settings, the model's language and the wishes ask for.
        """
        self.network = network
        self.settings = settings
        self.tokens = tokens
        self.language = language or Language()
        self.extractor = FeatureExtractor(settings.features)
        self.timed = TimedTable(tokens, self.frame_s)
        self.decoder: Decoder = new_decoder(settings.decode, self.timed, self.language, wishes)

    def with_wishes(self, wishes: Wishes) -> Transcriber:
        """The same model, decoded in another way."""
        return Transcriber(self.network, self.settings, self.tokens, self.language, wishes)

    def with_decoder(self, decoder: Decoder) -> Transcriber:
        """The same model, asked for something else than its words."""
        other = copy.copy(self)
        other.decoder = decoder
        return other

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

    def log_probs(self, rows: Sequence[Array]) -> list[Array]:
        """Of whole recordings (S,): (T, V) each."""
        y, _ = self.step(pad_samples(rows), self.initial_state(len(rows)), last=True)
        return [data[:length] for data, length in zip(y.data, y.lengths, strict=True)]

    def transcribe(self, rows: Sequence[Array], *, chunk_samples: int | None = None) -> list[Spoken]:
        """What is said in several recordings (S,) at once: whole, or in chunks as a stream would bring them."""
        x = pad_samples(rows)
        step = chunk_samples or x.data.shape[1]
        state = self.initial_state(len(rows))
        heard = [self.decoder.start() for _ in rows]
        for start in range(0, max(x.data.shape[1], 1), step):
            piece = Padded(x.data[:, start : start + step], np.clip(x.lengths - start, 0, step))
            y, state = self.step(piece, state, last=start + step >= x.data.shape[1])
            heard = [
                self.decoder.step(log_probs[:length], past)
                for past, log_probs, length in zip(heard, y.data, y.lengths, strict=True)
            ]
        return [self.decoder.finish(past) for past in heard]


def pad_samples(rows: Sequence[Array]) -> Padded[Array]:
    """Recordings (S,) as a padded batch (N, S)."""
    lengths = np.array([len(row) for row in rows], np.int64)
    data = np.zeros((len(rows), int(lengths.max(initial=0))), np.float32)
    for i, row in enumerate(rows):
        data[i, : len(row)] = row
    return Padded(data, lengths)


def _entries(state: State, name: str) -> State:
    prefix = f"{name}."
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
