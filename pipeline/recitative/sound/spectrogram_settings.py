"""Settings of a model that generates mel frames from labels. Loaded by ``config.load_tree``; no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field, model_validator

from recitative.config import FeatureSettings, RecurrentSettings, TrainSettings


class _Section(BaseModel, frozen=True, extra="forbid"):
    pass


class SpectrogramCoreSettings(RecurrentSettings):
    """The recurrent core, with one step for each frame."""

    direction: Literal["forward"] = "forward"
    layers: int = Field(2, ge=1)
    hidden: int = Field(256, ge=1)
    dropout: float = Field(0.2, ge=0, lt=1)


class SpectrogramNetworkSettings(_Section):
    width: int = Field(128, ge=1)  # of the projected previous frame, and of the conditioning
    past_dropout: float = Field(0.3, ge=0, lt=1)  # of the previous frame, which at inference is the model's own
    recurrent: SpectrogramCoreSettings = SpectrogramCoreSettings()
    components: int = Field(1, ge=1)  # Gaussians in the mixture density of a frame
    least_deviation: float = Field(0.05, gt=0)  # lower bound for a channel, in standard deviations of the corpus


class SpectrogramTrainSettings(TrainSettings):
    """Training settings with other defaults."""

    epochs: int = Field(12, ge=1)
    learning_rate: float = Field(2e-3, gt=0)  # peak
    warmup_steps: int = Field(100, ge=0)
    clip_norm: float = Field(1.0, gt=0)
    keep_best: int = Field(1, ge=1)


class SpectrogramSettings(_Section):
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
