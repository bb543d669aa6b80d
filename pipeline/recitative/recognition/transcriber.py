"""From samples to tokens with times: features, network and greedy decoder as one stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from recitative.ctc.greedy import GreedyDecoder
from recitative.features.frontend import FeatureExtractor
from recitative.models.folder import Recogniser
from recitative.stage import Padded, Stage, State

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class TimedToken:
    token: str
    start_s: float  # where its frame begins, in seconds from the start of the stream


class Transcriber:
    """Stage: samples (N, S) float32 in [-1, 1] -> (N, T) int64, the label that begins at each frame or 0.

    State: the entries of its three parts as ``features.*``, ``network.*`` and ``decoder.*``; the network's are
    PyTorch tensors.
    """

    def __init__(self, recogniser: Recogniser) -> None:
        self.recogniser = recogniser
        self.extractor = FeatureExtractor(recogniser.settings.features)
        self.network = recogniser.network
        self.decoder = GreedyDecoder()
        self.device = next(self.network.parameters()).device

    @property
    def stride(self) -> int:
        """In samples."""
        return self.extractor.stride * self.network.stride

    @property
    def lookahead(self) -> int | None:
        """In samples."""
        ahead = self.network.lookahead
        return None if ahead is None else self.extractor.lookahead + ahead * self.extractor.stride

    def output_lengths(self, lengths: Array) -> Array:
        frames = torch.from_numpy(np.asarray(self.extractor.output_lengths(lengths)))
        return self.network.output_lengths(frames).numpy()

    def initial_state(self, n: int) -> State:
        parts: dict[str, Stage[Any]] = {"features": self.extractor, "network": self.network, "decoder": self.decoder}
        return {f"{name}.{key}": value for name, part in parts.items() for key, value in part.initial_state(n).items()}

    def step(self, x: Padded[Array], state: State, *, last: bool) -> tuple[Padded[Array], State]:
        log_probs, new_state = self.log_probs(x, state, last=last)
        labels, decoder_state = self.decoder.step(log_probs, _entries(state, "decoder"), last=last)
        return labels, new_state | {f"decoder.{key}": value for key, value in decoder_state.items()}

    def log_probs(self, x: Padded[Array], state: State, *, last: bool) -> tuple[Padded[Array], State]:
        """The first two parts: samples -> log probabilities (N, T, V)."""
        features, feature_state = self.extractor.step(x, _entries(state, "features"), last=last)
        tensors = Padded(
            torch.from_numpy(features.data).to(self.device), torch.from_numpy(features.lengths).to(self.device)
        )
        with torch.inference_mode():
            y, network_state = self.network.step(tensors, _entries(state, "network"), last=last)
        new_state = {f"features.{key}": value for key, value in feature_state.items()}
        new_state |= {f"network.{key}": value for key, value in network_state.items()}
        return Padded(y.data.float().cpu().numpy(), y.lengths.cpu().numpy()), new_state

    def transcribe(self, rows: Sequence[Array], *, chunk_samples: int | None = None) -> list[list[TimedToken]]:
        """Tokens with times of several recordings (S,) at once: whole, or in chunks as a stream would bring them."""
        x = pad_samples(rows)
        step = chunk_samples or x.data.shape[1]
        state = self.initial_state(len(rows))
        heard: list[list[Array]] = [[] for _ in rows]
        for start in range(0, max(x.data.shape[1], 1), step):
            piece = Padded(x.data[:, start : start + step], np.clip(x.lengths - start, 0, step))
            y, state = self.step(piece, state, last=start + step >= x.data.shape[1])
            for row, labels, length in zip(heard, y.data, y.lengths, strict=True):
                row.append(labels[:length])
        return [self._timed(np.concatenate(row)) for row in heard]

    def _timed(self, labels: Array) -> list[TimedToken]:
        symbols, frame_s = self.recogniser.tokens.symbols, self.recogniser.frame_s
        return [TimedToken(symbols[labels[t]], round(t * frame_s, 3)) for t in labels.nonzero()[0]]


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
