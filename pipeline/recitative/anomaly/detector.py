"""From samples to strangeness, features and forecaster as one stage. NumPy only.

The forecaster may be PyTorch's (``model.torch_stage``) or ONNX Runtime's (``model.onnx_stage``): both are stages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from recitative.anomaly.score import Strangeness
from recitative.anomaly.settings import ForecasterSettings
from recitative.anomaly.threshold import Threshold
from recitative.errors import UsageError
from recitative.features.frontend import FeatureExtractor
from recitative.stage import Array, Padded, Stage, State

if TYPE_CHECKING:
    from recitative.anomaly.watch import AlarmStream


class Watcher:
    """Stage: samples (N, S) float32 in [-1, 1] -> strangeness (N, T, 1) float32, of windows of ``window_s`` seconds.

    State: the entries of its parts as ``features.*``, ``network.*`` and ``window.*``. Threads may share a watcher; a
    stream belongs to one at a time.
    """

    def __init__(self, network: Stage[Array], settings: ForecasterSettings, threshold: Threshold | None = None) -> None:
        """network: features (N, T, C) -> surprise (N, T, 1), a stage on NumPy arrays; threshold: the model's own."""
        self.settings = settings
        self.threshold = threshold
        self.extractor = FeatureExtractor(settings.features)
        self.window = Strangeness(settings.features.dim, settings.watch_frames, settings.watch.score)
        self._parts: dict[str, Stage[Any]] = {"features": self.extractor, "network": network, "window": self.window}

    @property
    def sample_rate(self) -> int:
        """In Hz."""
        return self.settings.features.sample_rate

    @property
    def stride(self) -> int:
        """In samples."""
        return self.extractor.stride * self.window.stride

    @property
    def lookahead(self) -> int:
        """In samples."""
        return self.extractor.lookahead + self.window.lookahead * self.extractor.stride

    def stream(self, threshold: Threshold | None = None) -> AlarmStream:
        """A new stream of alarms. threshold: None = the model's own. Raises UsageError if there is none."""
        from recitative.anomaly.watch import AlarmStream

        return AlarmStream(self, threshold or self.required_threshold)

    @property
    def required_threshold(self) -> Threshold:
        """The model's own. Raises UsageError if it has none."""
        if self.threshold is None:
            raise UsageError("this model has no threshold; give one, or run 'recitative anomaly threshold'")
        return self.threshold

    def output_lengths(self, lengths: Array) -> Array:
        return self.window.output_lengths(self.extractor.output_lengths(lengths))

    def initial_state(self, n: int) -> State:
        return {
            f"{name}.{key}": value for name, part in self._parts.items() for key, value in part.initial_state(n).items()
        }

    def step(self, x: Padded[Array], state: State, *, last: bool) -> tuple[Padded[Array], State]:
        features, first = self.extractor.step(x, _entries(state, "features"), last=last)
        surprise, second = self._parts["network"].step(features, _entries(state, "network"), last=last)
        both = Padded(np.concatenate([surprise.data, features.data], axis=2), features.lengths)
        y, third = self.window.step(both, _entries(state, "window"), last=last)
        after = {"features": first, "network": second, "window": third}
        return y, {f"{name}.{key}": value for name, part in after.items() for key, value in part.items()}


def _entries(state: State, name: str) -> State:
    prefix = f"{name}."
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
