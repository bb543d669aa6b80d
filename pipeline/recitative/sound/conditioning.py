"""What a model of sound is told, frame by frame: mel frames with their neighbors, or labels. NumPy only.

Frame t tells of the samples around ``center(t)``; between two frames what is told moves evenly from one to the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recitative.config import FeatureSettings
from recitative.errors import DataError, UsageError
from recitative.features.frontend import FeatureExtractor
from recitative.sound.settings import WaveSettings
from recitative.stage import Array

PROGRESS = 24  # places in a recording that labels tell apart
LONGEST_S = 5.0  # labels: a duration is told as a share of this


@dataclass(frozen=True)
class Labels:
    """What recordings can be told to be: texts and speakers, each in a fixed order; how long each text usually is."""

    texts: tuple[str, ...] = ()
    speakers: tuple[str, ...] = ()
    seconds: tuple[float, ...] = ()

    def width(self) -> int:
        return len(self.texts) + len(self.speakers) + PROGRESS + 1


def width_of(settings: WaveSettings, labels: Labels) -> int:
    """Numbers in a frame."""
    match settings.sound.condition:
        case "none":
            return 0
        case "mel":
            return (2 * settings.sound.context + 1) * settings.features.dim
        case "labels":
            return labels.width()


def mel_conditions(samples: Array, settings: WaveSettings) -> Array:
    """(S,) in [-1, 1] -> (T, C): each mel frame between its neighbors.

    Raises DataError for a recording shorter than a frame.
    """
    frames = FeatureExtractor(settings.features).compute(samples)
    if not len(frames):
        shortest = f"{settings.features.frame_length_ms:g} ms or more"
        raise DataError("recording", f"has {len(samples)} samples, less than one frame", shortest, "leave it out")
    return with_neighbors(frames, settings.sound.context)


def with_neighbors(frames: Array, context: int) -> Array:
    """(T, C), T > 0 -> (T, (2 context + 1) C): each frame between its neighbors; the ends stand for those beyond."""
    padded = np.concatenate([frames[:1]] * context + [frames] + [frames[-1:]] * context)
    return np.concatenate([padded[i : i + len(frames)] for i in range(2 * context + 1)], axis=1)


def label_conditions(text: str, speaker: str, num_samples: int, features: FeatureSettings, labels: Labels) -> Array:
    """(T, C): who says what, how long it is, and how far on a frame is. Raises UsageError for an unknown label."""
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
    """Where steps of the core lie among frames: 2.25 is a quarter of the way from frame 2 to frame 3."""
    features, step = settings.features, settings.sound.step
    first = features.window_samples if settings.sound.condition == "mel" else features.hop_samples
    middle = steps * step + step / 2
    return np.asarray((middle - first / 2) / features.hop_samples)


def between(frames: npt.NDArray[np.floating], places: npt.NDArray[np.floating]) -> Array:
    """(T, C) frames, (J,) places -> (J, C); before the first and behind the last frame stands that frame."""
    inside = np.clip(places, 0.0, len(frames) - 1.0)
    left = np.floor(inside).astype(np.int64)
    right = np.minimum(left + 1, len(frames) - 1)
    share = (inside - left)[:, None].astype(np.float32)
    return np.asarray((1 - share) * frames[left] + share * frames[right], np.float32)
