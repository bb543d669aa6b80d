"""The settings of a model of sound, sample by sample. Read by ``config.load_tree``; no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field, model_validator

from recitative.config import FeatureSettings, RecurrentSettings, TrainSettings


class _Section(BaseModel, frozen=True, extra="forbid"):
    pass


class SoundSettings(_Section):
    """What is drawn, and what is told."""

    condition: Literal["none", "mel", "labels"] = "mel"  # mel frames; or a recording's text and speaker as labels
    preemphasis: float = Field(0.85, ge=0, lt=1)
    prediction: int = Field(16, ge=0, le=64)  # mel: order of the linear prediction that the frames give; 0: none
    context: int = Field(2, ge=0)  # mel: frames on each side that are told as well
    step: int = Field(16, ge=1)  # samples that are drawn for one step of the core; divides the hop
    history: int = Field(32, ge=1)  # samples that are looked back at


class WaveCoreSettings(RecurrentSettings):
    """The recurrent core, once for ``sound.step`` samples."""

    direction: Literal["forward"] = "forward"
    layers: int = Field(1, ge=1)
    hidden: int = Field(384, ge=1)
    projection: int = Field(128, ge=0)  # what the core says is turned into something else for each sample of a step


class WaveNetworkSettings(_Section):
    condition_width: int = Field(128, ge=1)
    width: int = Field(192, ge=1)  # of what decides a sample
    recurrent: WaveCoreSettings = WaveCoreSettings()


class SegmentSettings(_Section):
    """How recordings become batches."""

    rows: int = Field(16, ge=1)
    segment_s: float = Field(0.5, gt=0)  # seconds through which gradients flow back
    noise: float = Field(0.5, ge=0)  # levels by which what is read is wrong, on average: the model's own will be, too
    dev_s: float = Field(60.0, gt=0)  # seconds of the dev set that score an epoch


class WaveTrainSettings(TrainSettings):
    """The loop's settings with other defaults."""

    epochs: int = Field(20, ge=1)
    learning_rate: float = Field(1e-3, gt=0)  # the peak
    warmup_steps: int = Field(200, ge=0)
    clip_norm: float = Field(1.0, gt=0)
    keep_best: int = Field(1, ge=1)
    ema: float = Field(0.998, ge=0, lt=1)


class WaveSettings(_Section):
    """Everything a sound model's run depends on. ``features``: the mel frames, also the clock of labels."""

    kind: Literal["sound"] = "sound"  # tells this file from other models'
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
        """The order of the linear prediction, 0 for none: only mel frames say what to predict with."""
        return self.sound.prediction if self.sound.condition == "mel" else 0

    @property
    def segment_steps(self) -> int:
        """Steps of the core in a segment."""
        return max(1, round(self.segments.segment_s * self.features.sample_rate / self.sound.step))
