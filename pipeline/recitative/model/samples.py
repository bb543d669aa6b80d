"""From samples to what a network says of them: features and network as one stage. NumPy only.

The network may be PyTorch's (``model.torch_stage``) or ONNX Runtime's (``model.onnx_stage``): both are stages.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recitative.config import FeatureSettings
from recitative.features.frontend import FeatureExtractor
from recitative.stage import Array, Padded, Stage, State


class SampleNetwork:
    """Stage: samples (N, S) float32 in [-1, 1] -> log probabilities (N, T, V) float32.

    State: the entries of its two parts as ``features.*`` and ``network.*``.
    """

    def __init__(self, network: Stage[Array], features: FeatureSettings) -> None:
        """network: features (N, T, C) -> log probabilities (N, T', V), a stage on NumPy arrays."""
        self.network = network
        self.extractor = FeatureExtractor(features)
        self._feature_names = {f"features.{name}": name for name in self.extractor.initial_state(1)}
        self._network_names = {f"network.{name}": name for name in network.initial_state(1)}

    @property
    def sample_rate(self) -> int:
        """In Hz."""
        return self.extractor.settings.sample_rate

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
        return self._joined(self.extractor.initial_state(n), self.network.initial_state(n))

    def step(self, x: Padded[Array], state: State, *, last: bool) -> tuple[Padded[Array], State]:
        feature_state = {name: state[entry] for entry, name in self._feature_names.items()}
        network_state = {name: state[entry] for entry, name in self._network_names.items()}
        features, feature_state = self.extractor.step(x, feature_state, last=last)
        y, network_state = self.network.step(features, network_state, last=last)
        return y, self._joined(feature_state, network_state)

    def _joined(self, feature_state: State, network_state: State) -> State:
        joined = {entry: feature_state[name] for entry, name in self._feature_names.items()}
        return joined | {entry: network_state[name] for entry, name in self._network_names.items()}

    def log_probs(self, rows: Sequence[Array]) -> list[Array]:
        """Of whole recordings (S,): (T, V) each."""
        y, _ = self.step(pad_samples(rows), self.initial_state(len(rows)), last=True)
        return [data[:length] for data, length in zip(y.data, y.lengths, strict=True)]


def pad_samples(rows: Sequence[Array]) -> Padded[Array]:
    """Recordings (S,) as a padded batch (N, S)."""
    lengths = np.array([len(row) for row in rows], np.int64)
    if len(rows) == 1:  # a stream's piece is not copied
        return Padded(np.asarray(rows[0], np.float32)[np.newaxis], lengths)
    data = np.zeros((len(rows), int(lengths.max(initial=0))), np.float32)
    for i, row in enumerate(rows):
        data[i, : len(row)] = row
    return Padded(data, lengths)
