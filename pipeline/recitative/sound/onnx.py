"""A sound model's file, run by ONNX Runtime: samples as they are drawn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from recitative.audio.mulaw import MIDDLE, companded
from recitative.audio.recording import Samples
from recitative.model.session import Entries, open_graph, open_model
from recitative.sound.conditioning import Labels, between, places_of
from recitative.sound.excitation import Sounds, levels_of
from recitative.sound.kinds import SOUND
from recitative.stage import Array


class SoundGenerator:
    """Draws sound. Every row has its own random numbers, from (seed, number of the row)."""

    def __init__(self, content: Path | bytes, *, threads: int = 1) -> None:
        """``content`` is a file from 'recitative export', or what is in one. Raises DataError for another."""
        self._session, self.metadata = open_model(content, SOUND, threads=threads)
        self.labels: Labels = self.metadata.extras["labels"]
        told = self.metadata.settings.sound.condition != "none"
        self._encoder = open_graph(self.metadata, "encoder", threads=threads) if told else None
        self._require_graphs()
        self._outputs = ["levels", *(f"new_state.{name}" for name in self.metadata.state)]

    def _require_graphs(self) -> None:
        sound = self.metadata.settings.sound
        inputs: Entries = {
            "past": ("float32", (None, sound.history)),
            "last": ("int64", (None,)),
            "given": ("int64", (None, sound.step)),
            "uniforms": ("float32", (None, sound.step)),
            "cooling": ("float32", ()),
            "lengths": ("int64", (None,)),
        }
        if self._encoder:
            inputs = {**inputs, "told": ("float32", (None, self.metadata.settings.model.condition_width))}
            frames: Entries = {"frames": ("float32", (None, None, None)), "lengths": ("int64", (None,))}
            self._encoder.require(frames, {"said": ("float32", (None, None, None))}, {})
        self._session.require(inputs, {"levels": ("int64", (None, sound.step))}, self.metadata.state)

    @property
    def sample_rate(self) -> int:
        """Hz"""
        return self.metadata.settings.features.sample_rate

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
            levels, *after = self._session.run(self._outputs, feeds)
            state = dict(zip(state, after, strict=True))
            codes = np.concatenate([codes[:, sound.step :], levels], axis=1)
            yield sounds.step(step, levels)[:, : num_samples - step * sound.step]

    def _told(self, frames: Sequence[Samples], steps: int) -> Samples | None:
        """(J, N, W) what the encoder says at each step."""
        if self._encoder is None:
            return None
        places = places_of(np.arange(steps), self.metadata.settings)
        rows = []
        for piece in frames:
            feeds: dict[str, Array] = {"frames": piece[None], "lengths": np.array([len(piece)], np.int64)}
            rows.append(between(self._encoder.run(["said"], feeds)[0][0], places))
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
