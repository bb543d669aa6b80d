"""Who can say a text: what a sound model is told of a text and a speaker: labels, or mel frames drawn from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from recitative.audio.recording import Samples
from recitative.errors import UsageError
from recitative.sound.conditioning import Labels, label_conditions, with_neighbors
from recitative.sound.onnx import SoundGenerator
from recitative.sound.spectrogram_onnx import SpectrogramGenerator


class Voice(Protocol):
    """Sounds are drawn by ``generator`` from what ``told`` says."""

    @property
    def generator(self) -> SoundGenerator: ...

    @property
    def labels(self) -> Labels: ...

    def told(self, text: str, speaker: str, num_samples: int, *, number: int, seed: int) -> Samples:
        """(T, C); number: of the sound, for random numbers. Raises UsageError for an unknown label."""
        ...


@dataclass(frozen=True)
class LabelVoice:
    """A sound model that is told labels."""

    generator: SoundGenerator

    @property
    def labels(self) -> Labels:
        return self.generator.labels

    def told(self, text: str, speaker: str, num_samples: int, *, number: int, seed: int) -> Samples:
        return label_conditions(text, speaker, num_samples, self.generator.metadata.settings.features, self.labels)


@dataclass(frozen=True)
class SpectrogramVoice:
    """A model that draws mel frames from labels, and a vocoder that draws sound from these. ``heat``: of the frames."""

    spectrogram: SpectrogramGenerator
    generator: SoundGenerator
    heat: float

    def __post_init__(self) -> None:
        vocoder, drawn = self.generator.metadata.settings, self.spectrogram.metadata.settings.features
        if vocoder.sound.condition != "mel":
            raise UsageError(f"--vocoder: is told {vocoder.sound.condition}; a vocoder is told mel frames")
        if vocoder.features != drawn:
            raise UsageError(
                f"--vocoder: reads {vocoder.features.num_mel_bins} mel bands at {vocoder.features.sample_rate} Hz, the "
                f"model draws {drawn.num_mel_bins} at {drawn.sample_rate} Hz; both need the same settings 'features'"
            )

    @property
    def labels(self) -> Labels:
        return self.spectrogram.labels

    def told(self, text: str, speaker: str, num_samples: int, *, number: int, seed: int) -> Samples:
        frames = self.spectrogram.generate(text, speaker, num_samples, number=number, seed=seed, heat=self.heat)
        return with_neighbors(frames, self.generator.metadata.settings.sound.context)
