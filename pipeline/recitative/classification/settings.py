"""The settings of a classifier of recordings. Read by ``config.load_tree``; no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field, model_validator

from recitative.config import (
    AugmentSettings,
    FeatureSettings,
    FrontEndSettings,
    RecurrentSettings,
    TrainSettings,
)


class _Section(BaseModel, frozen=True, extra="forbid"):
    pass


class MixupSettings(_Section):
    """Two recordings heard at once, and half right to name either (Zhang et al. 2018, "mixup")."""

    alpha: float = Field(0.0, ge=0)  # shares are drawn from Beta(alpha, alpha); 0 = every recording alone


class ClassifierCoreSettings(RecurrentSettings):
    """The recurrent core; only a forward or latency-controlled one can label a stream while it runs."""

    direction: Literal["forward", "bidirectional", "latency_controlled"] = "forward"
    layers: int = Field(2, ge=1)
    hidden: int = Field(128, ge=1)  # per direction


class ClassifierNetworkSettings(_Section):
    cmvn: Literal["global", "utterance", "running"] = "global"  # whose mean is taken away after the corpus's
    front_end: FrontEndSettings = FrontEndSettings()
    recurrent: ClassifierCoreSettings = ClassifierCoreSettings()
    pooling: Literal["last", "mean", "attention", "recent"] = "attention"  # over the frames so far; see ``nn.pooling``
    pooling_frames: int = Field(0, ge=0)  # of the core, that 'recent' hears; 0 for the others
    dropout: float = Field(0.0, ge=0, lt=1)  # of what the core says

    @model_validator(mode="after")
    def _pools_what_it_says(self) -> ClassifierNetworkSettings:
        if self.pooling == "recent" and self.pooling_frames < 2:
            raise ValueError(f"pooling_frames={self.pooling_frames} must be 2 or more with pooling=recent")
        if self.pooling != "recent" and self.pooling_frames:
            raise ValueError(f"pooling_frames={self.pooling_frames} needs pooling=recent, not {self.pooling}")
        if self.front_end.outputs_per_step > 1:
            raise ValueError(f"front_end.outputs_per_step={self.front_end.outputs_per_step} is for recognizers; use 1")
        return self


class ClassifierTrainSettings(TrainSettings):
    """The loop's settings with other defaults."""

    epochs: int = Field(20, ge=1)
    warmup_steps: int = Field(100, ge=0)
    keep_best: int = Field(1, ge=1)


class ClassifierSettings(_Section):
    """Everything a classifier's run depends on."""

    kind: Literal["classifier"] = "classifier"  # tells this file from other models'
    features: FeatureSettings = FeatureSettings()
    augment: AugmentSettings = AugmentSettings()
    mixup: MixupSettings = MixupSettings()
    piece_s: float = Field(0.0, ge=0)  # train on a random piece of a recording, at most so long; 0 = all of it
    context_s: float = Field(0.0, ge=0)  # up to so much of other recordings goes before each, as in a stream
    labels: tuple[str, ...] = ()  # what there is to tell apart; empty: the labels of the training set
    class_weights: Literal["none", "balanced"] = "none"  # balanced: every class counts the same, however rare
    model: ClassifierNetworkSettings = ClassifierNetworkSettings()
    train: ClassifierTrainSettings = ClassifierTrainSettings()

    @model_validator(mode="after")
    def _consistent(self) -> ClassifierSettings:
        self.augment.require_fit(self.features)
        if self.context_s and (self.piece_s or self.mixup.alpha):
            raise ValueError(
                f"context_s={self.context_s:g} needs piece_s=0 and mixup.alpha=0: the label is that of the end of a row"
            )
        if len(set(self.labels)) < len(self.labels):
            raise ValueError(f"labels={list(self.labels)} must be unlike each other")
        return self
