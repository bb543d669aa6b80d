"""Settings of an anomaly model. Loaded by ``config.load_tree``; no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field, model_validator

from recitative.config import AugmentSettings, FeatureSettings, RecurrentSettings, TrainSettings

LEAST_WINDOW = 4  # frames: an autoregression fits fewer frames too well


class _Section(BaseModel, frozen=True, extra="forbid"):
    pass


class ForecasterCoreSettings(RecurrentSettings):
    """The recurrent core, forward only."""

    direction: Literal["forward"] = "forward"
    layers: int = Field(1, ge=1)
    hidden: int = Field(192, ge=1)


class ForecasterNetworkSettings(_Section):
    cmvn: Literal["global", "running"] = "global"  # running: running mean normalization after the global one
    horizon: int = Field(1, ge=1)  # frames from the last known one to the predicted one
    width: int = Field(0, ge=0)  # width of a linear projection before the core; 0 = none
    recurrent: ForecasterCoreSettings = ForecasterCoreSettings()
    dropout: float = Field(0.0, ge=0, lt=1)  # of the core's output
    components: int = Field(4, ge=1)  # Gaussians in the mixture density of a frame
    least_deviation: float = Field(0.1, gt=0)  # lower bound for a channel, in standard deviations of the corpus


class WatchSettings(_Section):
    """Anomaly score; its threshold is set on the dev recordings at the end of training."""

    score: Literal["ratio", "surprise"] = "ratio"  # see ``anomaly.score``
    window_s: float = Field(2.0, gt=0)  # length of the scored window
    false_alarms: float = Field(0.01, ge=0, lt=1)  # share of normal windows allowed above the threshold


class ForecasterTrainSettings(TrainSettings):
    """Training settings with other defaults."""

    epochs: int = Field(20, ge=1)
    warmup_steps: int = Field(100, ge=0)
    keep_best: int = Field(1, ge=1)


class ForecasterSettings(_Section):
    """Settings of an anomaly model."""

    kind: Literal["forecaster"] = "forecaster"  # identifies the kind of model
    features: FeatureSettings = FeatureSettings()
    augment: AugmentSettings = AugmentSettings()
    segment_s: float = Field(10.0, gt=0)  # longer recordings are split into segments of this length for training
    model: ForecasterNetworkSettings = ForecasterNetworkSettings()
    watch: WatchSettings = WatchSettings()
    train: ForecasterTrainSettings = ForecasterTrainSettings()

    @model_validator(mode="after")
    def _consistent(self) -> ForecasterSettings:
        if self.features.kind != "fbank" and self.augment.vtlp != (1.0, 1.0):
            raise ValueError(f"augment.vtlp={list(self.augment.vtlp)} needs features.kind=fbank")
        if self.features.delta_order:
            raise ValueError(
                f"features.delta_order={self.features.delta_order} must be 0, because deltas contain future frames"
            )
        if self.watch_frames < LEAST_WINDOW:
            least_s = LEAST_WINDOW * self.features.frame_shift_ms / 1000
            found = f"watch.window_s={self.watch.window_s:g}"
            raise ValueError(f"{found} must be at least {least_s:g}, {LEAST_WINDOW} frames")
        return self

    @property
    def watch_frames(self) -> int:
        """Frames of a scored window."""
        return round(self.watch.window_s * 1000 / self.features.frame_shift_ms)

    @property
    def watch_samples(self) -> int:
        """Samples of the shortest recording that can be scored."""
        return self.features.window_samples + (self.watch_frames - 1) * self.features.hop_samples
