"""The settings of a forecaster of feature frames. Read by ``config.load_tree``; no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field, model_validator

from recitative.config import AugmentSettings, FeatureSettings, RecurrentSettings, TrainSettings

LEAST_WINDOW = 4  # frames: a line through fewer fits nearly everything


class _Section(BaseModel, frozen=True, extra="forbid"):
    pass


class ForecasterCoreSettings(RecurrentSettings):
    """The recurrent core, which knows nothing but the past."""

    direction: Literal["forward"] = "forward"
    layers: int = Field(1, ge=1)
    hidden: int = Field(192, ge=1)


class ForecasterNetworkSettings(_Section):
    cmvn: Literal["global", "running"] = "global"  # whose mean is taken away after the corpus's
    horizon: int = Field(1, ge=1)  # frames from the last one that is known to the one that is forecast
    width: int = Field(0, ge=0)  # what frames are projected to before the core; 0 = they are not
    recurrent: ForecasterCoreSettings = ForecasterCoreSettings()
    dropout: float = Field(0.0, ge=0, lt=1)  # of what the core says
    components: int = Field(4, ge=1)  # Gaussians in the density of a frame
    least_deviation: float = Field(0.1, gt=0)  # of a channel, in deviations of the corpus


class WatchSettings(_Section):
    """What counts as unusual; its limit is learned from the dev recordings at the end of training."""

    score: Literal["ratio", "surprise"] = "ratio"  # see ``anomaly.score``
    window_s: float = Field(2.0, gt=0)  # seconds that are judged together
    false_alarms: float = Field(0.01, ge=0, lt=1)  # part of the windows of usual recordings that may be called unusual


class ForecasterTrainSettings(TrainSettings):
    """The loop's settings with other defaults."""

    epochs: int = Field(20, ge=1)
    warmup_steps: int = Field(100, ge=0)
    keep_best: int = Field(1, ge=1)


class ForecasterSettings(_Section):
    """Everything a forecaster's run depends on."""

    kind: Literal["forecaster"] = "forecaster"  # tells this file from other models'
    features: FeatureSettings = FeatureSettings()
    augment: AugmentSettings = AugmentSettings()
    segment_s: float = Field(10.0, gt=0)  # longer recordings are trained on in pieces of this length
    model: ForecasterNetworkSettings = ForecasterNetworkSettings()
    watch: WatchSettings = WatchSettings()
    train: ForecasterTrainSettings = ForecasterTrainSettings()

    @model_validator(mode="after")
    def _consistent(self) -> ForecasterSettings:
        if self.features.kind != "fbank" and self.augment.vtlp != (1.0, 1.0):
            raise ValueError(f"augment.vtlp={list(self.augment.vtlp)} needs features.kind=fbank")
        if self.features.delta_order:
            raise ValueError(f"features.delta_order={self.features.delta_order} must be 0: deltas tell what comes next")
        if self.watch_frames < LEAST_WINDOW:
            least_s = LEAST_WINDOW * self.features.frame_shift_ms / 1000
            found = f"watch.window_s={self.watch.window_s:g}"
            raise ValueError(f"{found} must be at least {least_s:g}, {LEAST_WINDOW} frames")
        return self

    @property
    def watch_frames(self) -> int:
        """Frames that are judged together."""
        return round(self.watch.window_s * 1000 / self.features.frame_shift_ms)

    @property
    def watch_samples(self) -> int:
        """Samples of the shortest recording that can be judged."""
        return self.features.window_samples + (self.watch_frames - 1) * self.features.hop_samples
