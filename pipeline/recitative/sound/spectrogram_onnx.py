"""Mel frames drawn from labels, for a vocoder to make sound of."""

from __future__ import annotations

import numpy as np

from recitative.model.onnx_stage import OnnxStage
from recitative.sound.conditioning import Labels, label_conditions
from recitative.stage import Array

OWN_NUMBERS = 1  # sets its random numbers apart from those of the vocoder


class SpectrogramGenerator:
    """Draws frames. Every sound has its own random numbers, from (seed, number of the sound)."""

    def __init__(self, graphs: OnnxStage) -> None:
        """graphs: of a file from 'recitative export'; see ``model.onnx_stage.open_file``."""
        self.metadata = graphs.metadata
        self.labels: Labels = self.metadata.extras["labels"]
        self._graphs = graphs
        self._outputs = ["frame", "normal", *(f"new_state.{name}" for name in self.metadata.state)]

    def generate(
        self, text: str, speaker: str, num_samples: int, *, number: int = 0, seed: int = 1, heat: float = 1.0
    ) -> Array:
        """(T, C) log-mel frames, T at least 1, of a sound of about so many samples.

        heat >= 0: of the distributions of frames; 0 is always the middle. Raises UsageError for an unknown label.
        """
        features = self.metadata.settings.features
        count = max(1, (num_samples - features.window_samples) // features.hop_samples + 1)
        told = label_conditions(text, speaker, num_samples, features, self.labels)[:count]
        rng = np.random.default_rng([seed, number, OWN_NUMBERS])
        feeds = {f"state.{name}": initial.array(1) for name, initial in self.metadata.state.items()}
        feeds |= {
            "past": np.zeros((1, features.dim), np.float32),
            "lengths": np.ones(1, np.int64),
            "heat": np.array(heat, np.float32),
        }
        frames = []
        for t in range(count):
            feeds["told"] = told[t : t + 1]
            feeds["uniforms"] = rng.random((1, 1), np.float32)
            feeds["normals"] = rng.standard_normal((1, features.dim), np.float32)
            frame, feeds["past"], *after = self._graphs.run(self._outputs, feeds)
            feeds |= {f"state.{name}": value for name, value in zip(self.metadata.state, after, strict=True)}
            frames.append(frame)
        return np.concatenate(frames)
