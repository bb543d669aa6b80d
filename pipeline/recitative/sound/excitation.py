"""Between sound and the levels that a model of sound draws: emphasis, linear prediction, companding. NumPy only.

With linear prediction a level is one of the excitation, in units of the gain that its mel frame foretells; without it,
of the emphasised sound itself.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from recitative.audio.mulaw import Codes, Deemphasis, decode, emphasize, encode
from recitative.audio.recording import Samples
from recitative.features.linear_prediction import Predictors, SynthesisFilter, predictors, whiten
from recitative.sound.conditioning import places_of
from recitative.sound.settings import WaveSettings

LOUDEST = 16.0  # gains: full scale of the excitation; a pulse of a voice reaches about ten


def levels_of(samples: Samples, frames: Samples, settings: WaveSettings) -> Codes:
    """(S,) in [-1, 1] and what the model is told, (T, C) -> (S,)."""
    sound = settings.sound
    raised = emphasize(samples, sound.preemphasis)
    if not settings.prediction:
        return encode(raised)
    steps = np.arange(-(-len(samples) // sound.step))
    at = _predictors(frames, settings).at(nearest(steps, len(frames), settings))
    each = Predictors(*(np.repeat(values, sound.step, axis=0)[: len(samples)] for values in (at.taps, at.gains)))
    return encode(whiten(raised, each) / LOUDEST)


class Sounds:
    """Levels back into samples, a step of the core at a time, for rows side by side."""

    def __init__(self, frames: list[Samples], rows: int, settings: WaveSettings) -> None:
        """``frames`` is (T, C) what each row is told; read with linear prediction only."""
        self._settings = settings
        self._deemphasis = Deemphasis(rows, settings.sound.preemphasis)
        self._coloring = SynthesisFilter(rows, settings.prediction) if settings.prediction else None
        self._predictors = [_predictors(one, settings) for one in frames] if settings.prediction else []

    def step(self, number: int, levels: npt.NDArray[np.integer]) -> Samples:
        """(N, step) levels of a step of the core -> samples in [-1, 1]."""
        block = decode(levels)
        if self._coloring:
            block = self._coloring(LOUDEST * block, self._at(number)).astype(np.float32)
        return np.clip(self._deemphasis(block), -1.0, 1.0)

    def _at(self, number: int) -> Predictors:
        steps = np.array([number])
        here = [row.at(nearest(steps, len(row.gains), self._settings)) for row in self._predictors]
        return Predictors(np.concatenate([row.taps for row in here]), np.concatenate([row.gains for row in here]))


def nearest(steps: npt.NDArray[np.integer], count: int, settings: WaveSettings) -> npt.NDArray[np.int64]:
    """Of ``count`` frames the one nearest to the middle of each step of the core."""
    return np.clip(np.floor(places_of(steps, settings) + 0.5), 0, count - 1).astype(np.int64)


def _predictors(frames: Samples, settings: WaveSettings) -> Predictors:
    sound, dim = settings.sound, settings.features.dim
    middle = frames[:, sound.context * dim : (sound.context + 1) * dim]
    return predictors(middle, settings.features, settings.prediction, sound.preemphasis)
