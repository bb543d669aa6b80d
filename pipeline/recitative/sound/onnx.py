"""Sound drawn sample by sample, by the graphs of a sound model's file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from recitative.audio.mulaw import MIDDLE, companded
from recitative.audio.recording import Samples
from recitative.model.onnx_stage import OnnxStage
from recitative.sound.conditioning import Labels, between, places_of
from recitative.sound.excitation import Sounds, levels_of
from recitative.stage import Array


class SoundGenerator:
    """Draws sound. Every row has its own random numbers, from (seed, number of the row)."""

    def __init__(self, graphs: OnnxStage) -> None:
        """graphs: of a file from 'recitative export'; see ``model.onnx_stage.open_file``."""
        self.metadata = graphs.metadata
        self.labels: Labels = self.metadata.extras["labels"]
        self._graphs = graphs
        self._outputs = ["levels", *(f"new_state.{name}" for name in self.metadata.state)]

    @property
    def sample_rate(self) -> int:
        """Hz"""
        rate: int = self.metadata.settings.features.sample_rate
        return rate

    def generate(
        self,
        num_samples: int,
        *,
        frames: Sequence[Samples] = (),
        given: Samples | None = None,
        row_numbers: Sequence[int] = (0,),
        seed: int = 1,
        temperature: float = 1.0,
    ) -> Iterator[Samples]:
        """Blocks (N, B) of samples in [-1, 1], as they are drawn; ``num_samples`` in all.

        frames: (T, C) what each row is told (``sound.conditioning``), none if the model is told nothing. given: (S,)
        samples that every row begins with: they are heard, and come out as the model's levels have them. row_numbers:
        of the N rows, for their random numbers. temperature > 0: of the distributions of samples.
        """
        sound = self.metadata.settings.sound
        steps = -(-num_samples // sound.step)
        told = self._told(frames, steps)
        rows = len(row_numbers)
        fixed = self._fixed(given, steps, frames or [np.zeros((1, 0), np.float32)] * rows)
        rngs = [np.random.default_rng([seed, number]) for number in row_numbers]
        state = {f"state.{name}": initial.array(rows) for name, initial in self.metadata.state.items()}
        codes = np.full((rows, sound.history), MIDDLE, np.int64)
        sounds, values = Sounds(list(frames), rows, self.metadata.settings), companded()
        ones, cooling = np.ones(rows, np.int64), np.array(1 / temperature, np.float32)
        for step in range(steps):
            feeds = state | {
                "past": values[codes],
                "last": codes[:, -1],
                "given": fixed[:, step],
                "uniforms": np.stack([rng.random(sound.step, np.float32) for rng in rngs]),
                "cooling": cooling,
                "lengths": ones,
            }
            if told is not None:
                feeds["told"] = told[step]
            levels, *after = self._graphs.run(self._outputs, feeds)
            state = dict(zip(state, after, strict=True))
            codes = np.concatenate([codes[:, sound.step :], levels], axis=1)
            yield sounds.step(step, levels)[:, : num_samples - step * sound.step]

    def _told(self, frames: Sequence[Samples], steps: int) -> Samples | None:
        """(J, N, W) what the encoder says at each step."""
        if self.metadata.settings.sound.condition == "none":
            return None
        places = places_of(np.arange(steps), self.metadata.settings)
        rows = []
        for piece in frames:
            feeds: dict[str, Array] = {"frames": piece[None], "lengths": np.array([len(piece)], np.int64)}
            rows.append(between(self._graphs.call("encoder", feeds)[0], places))
        return np.stack(rows, axis=1)

    def _fixed(self, given: Samples | None, steps: int, frames: Sequence[Samples]) -> npt.NDArray[np.int64]:
        """(N, J, step) levels of what is given, -1 behind it."""
        sound = self.metadata.settings.sound
        fixed = np.full((len(frames), steps * sound.step), -1, np.int64)
        if given is not None:
            for row, told in zip(fixed, frames, strict=True):
                codes = levels_of(given, told, self.metadata.settings)[: len(row)]
                row[: len(codes)] = codes
        return fixed.reshape(len(frames), steps, sound.step)
