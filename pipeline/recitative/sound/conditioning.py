"""The conditioning of a model of sound, and the levels that it generates. NumPy only.

Conditioning is a sequence of frames: mel frames with their neighbors, or labels. Between two frames it is
interpolated. Levels are mu-law codes: of the pre-emphasized sound, or, with linear prediction, of its excitation in
units of the gain that follows from the mel frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recitative.audio.mulaw import Codes, Deemphasis, decode, emphasize, encode
from recitative.audio.samples import Samples
from recitative.config import FeatureSettings
from recitative.errors import DataError, UsageError
from recitative.features.frontend import FeatureExtractor
from recitative.features.linear_prediction import Predictors, SynthesisFilter, predictors, whiten
from recitative.sound.settings import WaveSettings
from recitative.stage import Array

PROGRESS = 24  # positions within a recording, in the conditioning on labels
LONGEST_S = 5.0  # durations are relative to this, in the conditioning on labels
LOUDEST = 16.0  # full scale of the excitation, in gains; a glottal pulse reaches about ten


@dataclass(frozen=True)
class Labels:
    """The texts and speakers that a model knows, each in a fixed order, and the mean duration of each text."""

    texts: tuple[str, ...] = ()
    speakers: tuple[str, ...] = ()
    seconds: tuple[float, ...] = ()

    def width(self) -> int:
        return len(self.texts) + len(self.speakers) + PROGRESS + 1


def width_of(settings: WaveSettings, labels: Labels) -> int:
    """Channels of the conditioning; 0 for none."""
    match settings.sound.condition:
        case "none":
            return 0
        case "mel":
            return (2 * settings.sound.context + 1) * settings.features.dim
        case "labels":
            return labels.width()


def mel_conditions(samples: Array, settings: WaveSettings) -> Array:
    """Mel frames with their neighbors: (S,) in [-1, 1] -> (T, C).

    Raises DataError for a recording shorter than a frame.
    """
    return with_neighbors(mel_frames(samples, FeatureExtractor(settings.features)), settings.sound.context)


def mel_frames(samples: Array, extractor: FeatureExtractor, where: str = "recording") -> Array:
    """(S,) in [-1, 1] -> (T, C). Raises DataError for a recording shorter than a frame."""
    frames = extractor.compute(samples)
    if not len(frames):
        shortest = f"{extractor.settings.frame_length_ms:g} ms or more"
        raise DataError(where, f"has {len(samples)} samples, less than one frame", shortest, "leave it out")
    return frames


def with_neighbors(frames: Array, context: int) -> Array:
    """Stack each frame with its neighbors: (T, C), T > 0 -> (T, (2 context + 1) C). The ends are repeated."""
    padded = np.concatenate([frames[:1]] * context + [frames] + [frames[-1:]] * context)
    return np.concatenate([padded[i : i + len(frames)] for i in range(2 * context + 1)], axis=1)


def label_conditions(text: str, speaker: str, num_samples: int, features: FeatureSettings, labels: Labels) -> Array:
    """(T, C): text, speaker, position within the recording, and duration. Raises UsageError for an unknown label."""
    for name, value, known in (("text", text, labels.texts), ("speaker", speaker, labels.speakers)):
        if value not in known:
            raise UsageError(f"{name} '{value}': the model knows {', '.join(known)}")
    steps = max(1, -(-num_samples // features.hop_samples))
    progress = (np.arange(steps) + 0.5) / steps * (PROGRESS - 1)
    frames = np.zeros((steps, labels.width()), np.float32)
    frames[:, labels.texts.index(text)] = 1.0
    frames[:, len(labels.texts) + labels.speakers.index(speaker)] = 1.0
    places = len(labels.texts) + len(labels.speakers)
    frames[:, places : places + PROGRESS] = np.maximum(0.0, 1.0 - np.abs(progress[:, None] - np.arange(PROGRESS)))
    frames[:, -1] = num_samples / features.sample_rate / LONGEST_S
    return frames


def places_of(steps: npt.NDArray[np.integer], settings: WaveSettings) -> npt.NDArray[np.float64]:
    """The positions of the core's steps among the frames: 2.25 is a quarter of the way from frame 2 to frame 3."""
    features, step = settings.features, settings.sound.step
    first = features.window_samples if settings.sound.condition == "mel" else features.hop_samples
    middle = steps * step + step / 2
    return np.asarray((middle - first / 2) / features.hop_samples)


def nearest(steps: npt.NDArray[np.integer], count: int, settings: WaveSettings) -> npt.NDArray[np.int64]:
    """The index of the frame, of ``count``, that is nearest to the middle of each of the core's steps."""
    return np.clip(np.floor(places_of(steps, settings) + 0.5), 0, count - 1).astype(np.int64)


def between(frames: npt.NDArray[np.floating], places: npt.NDArray[np.floating]) -> Array:
    """Linear interpolation of (T, C) frames at (J,) places -> (J, C). The ends are repeated."""
    inside = np.clip(places, 0.0, len(frames) - 1.0)
    left = np.floor(inside).astype(np.int64)
    right = np.minimum(left + 1, len(frames) - 1)
    share = (inside - left)[:, None].astype(np.float32)
    return np.asarray((1 - share) * frames[left] + share * frames[right], np.float32)


def levels_of(samples: Samples, frames: Samples, settings: WaveSettings) -> Codes:
    """Encode samples (S,) in [-1, 1] as levels (S,). frames: (T, C), the conditioning."""
    sound = settings.sound
    emphasized = emphasize(samples, sound.preemphasis)
    if not settings.prediction:
        return encode(emphasized)
    steps = np.arange(-(-len(samples) // sound.step))
    at = _predictors(frames, settings).at(nearest(steps, len(frames), settings))
    each = Predictors(*(np.repeat(values, sound.step, axis=0)[: len(samples)] for values in (at.taps, at.gains)))
    return encode(whiten(emphasized, each) / LOUDEST)


class LevelDecoder:
    """Decodes levels into samples, one step of the core at a time, for several rows at once."""

    def __init__(self, frames: list[Samples], rows: int, settings: WaveSettings) -> None:
        """frames: (T, C), the conditioning of each row; used with linear prediction only."""
        self._settings = settings
        self._deemphasis = Deemphasis(rows, settings.sound.preemphasis)
        self._filter = SynthesisFilter(rows, settings.prediction) if settings.prediction else None
        self._predictors = [_predictors(one, settings) for one in frames] if settings.prediction else []

    def step(self, number: int, levels: npt.NDArray[np.integer]) -> Samples:
        """(N, step) levels of one step of the core -> samples in [-1, 1]."""
        block = decode(levels)
        if self._filter:
            steps = np.array([number])
            here = [row.at(nearest(steps, len(row.gains), self._settings)) for row in self._predictors]
            joined = Predictors(np.concatenate([p.taps for p in here]), np.concatenate([p.gains for p in here]))
            block = self._filter(LOUDEST * block, joined).astype(np.float32)
        return np.clip(self._deemphasis(block), -1.0, 1.0)


def _predictors(frames: Samples, settings: WaveSettings) -> Predictors:
    """From the mel frames themselves, without their neighbors."""
    sound, dim = settings.sound, settings.features.dim
    middle = frames[:, sound.context * dim : (sound.context + 1) * dim]
    return predictors(middle, settings.features, settings.prediction, sound.preemphasis)
