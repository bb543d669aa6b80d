"""Settings of the models of sound: audio sample by sample, and mel frames from labels."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from recitative.config import BestEpochTrainSettings, FeatureSettings, ForwardRecurrentSettings, Section


class SoundSettings(Section):
    """The generated audio and its conditioning."""

    condition: Literal["none", "mel", "labels"] = "mel"  # labels: text and speaker of a recording
    preemphasis: float = Field(0.85, ge=0, lt=1)
    prediction: int = Field(16, ge=0, le=64)  # mel: order of the linear prediction computed from the frames; 0: none
    context: int = Field(2, ge=0)  # mel: further conditioning frames on each side
    step: int = Field(16, ge=1)  # samples for each step of the core; must divide the hop
    history: int = Field(32, ge=1)  # previous samples in the input


class WaveCoreSettings(ForwardRecurrentSettings):
    """The recurrent core, with one step for ``sound.step`` samples."""

    hidden: int = Field(384, ge=1)
    projection: int = Field(128, ge=0)  # of the core's output, before the layers of each sample


class WaveNetworkSettings(Section):
    condition_width: int = Field(128, ge=1)
    width: int = Field(192, ge=1)  # of the layers that generate a sample
    recurrent: WaveCoreSettings = WaveCoreSettings()


class SegmentSettings(Section):
    """Batches of recordings."""

    rows: int = Field(16, ge=1)
    segment_s: float = Field(0.5, gt=0)  # truncated BPTT length in seconds
    noise: float = Field(0.5, ge=0)  # mean error in levels, added to the input samples
    dev_s: float = Field(60.0, gt=0)  # seconds of the dev set used to score an epoch


class WaveTrainSettings(BestEpochTrainSettings):
    """Training settings with other defaults."""

    learning_rate: float = Field(1e-3, gt=0)  # peak
    warmup_steps: int = Field(200, ge=0)
    clip_norm: float = Field(1.0, gt=0)
    ema: float = Field(0.998, ge=0, lt=1)


class WaveSettings(Section):
    """Settings of a model of audio. ``features`` are the mel frames, also for the timing of labels."""

    kind: Literal["sound"] = "sound"  # identifies the kind of model
    sound: SoundSettings = SoundSettings()
    features: FeatureSettings = FeatureSettings(num_mel_bins=80)
    segments: SegmentSettings = SegmentSettings()
    model: WaveNetworkSettings = WaveNetworkSettings()
    train: WaveTrainSettings = WaveTrainSettings()

    @model_validator(mode="after")
    def _consistent(self) -> WaveSettings:
        if self.features.hop_samples % self.sound.step:
            raise ValueError(f"sound.step={self.sound.step} must divide the hop of {self.features.hop_samples} samples")
        if self.sound.history < self.sound.step:
            raise ValueError(f"sound.history={self.sound.history} must be at least sound.step={self.sound.step}")
        if self.prediction and (self.features.kind != "fbank" or self.features.delta_order):
            raise ValueError("sound.prediction needs features.kind=fbank and features.delta_order=0; or set it to 0")
        return self

    @property
    def prediction(self) -> int:
        """Order of the linear prediction; 0 without mel frames."""
        return self.sound.prediction if self.sound.condition == "mel" else 0

    @property
    def segment_steps(self) -> int:
        """Steps of the core in a segment."""
        return max(1, round(self.segments.segment_s * self.features.sample_rate / self.sound.step))


class SpectrogramCoreSettings(ForwardRecurrentSettings):
    """The recurrent core, with one step for each frame."""

    layers: int = Field(2, ge=1)
    dropout: float = Field(0.2, ge=0, lt=1)


class SpectrogramNetworkSettings(Section):
    width: int = Field(128, ge=1)  # of the projected previous frame, and of the conditioning
    past_dropout: float = Field(0.3, ge=0, lt=1)  # of the previous frame, which at inference is the model's own
    recurrent: SpectrogramCoreSettings = SpectrogramCoreSettings()
    components: int = Field(1, ge=1)  # Gaussians in the mixture density of a frame
    least_deviation: float = Field(0.05, gt=0)  # lower bound for a channel, in standard deviations of the corpus


class SpectrogramTrainSettings(BestEpochTrainSettings):
    """Training settings with other defaults."""

    epochs: int = Field(12, ge=1)
    clip_norm: float = Field(1.0, gt=0)


class SpectrogramSettings(Section):
    """Settings of a model of mel frames. ``features`` describes the generated frames."""

    kind: Literal["spectrogram"] = "spectrogram"  # identifies the kind of model
    features: FeatureSettings = FeatureSettings()
    rows: int = Field(32, ge=1)  # recordings in a batch
    model: SpectrogramNetworkSettings = SpectrogramNetworkSettings()
    train: SpectrogramTrainSettings = SpectrogramTrainSettings()

    @model_validator(mode="after")
    def _consistent(self) -> SpectrogramSettings:
        if self.features.kind != "fbank" or self.features.delta_order:
            raise ValueError("a spectrogram needs features.kind=fbank and features.delta_order=0")
        return self
