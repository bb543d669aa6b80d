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
    pooling: Literal["last", "mean", "attention"] = "attention"  # over the frames so far; see ``nn.pooling``
    dropout: float = Field(0.0, ge=0, lt=1)  # of what the core says


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
    labels: tuple[str, ...] = ()  # what there is to tell apart; empty: the labels of the training set
    class_weights: Literal["none", "balanced"] = "none"  # balanced: every class counts the same, however rare
    model: ClassifierNetworkSettings = ClassifierNetworkSettings()
    train: ClassifierTrainSettings = ClassifierTrainSettings()

    @model_validator(mode="after")
    def _consistent(self) -> ClassifierSettings:
        self.augment.require_fit(self.features)
        if len(set(self.labels)) < len(self.labels):
            raise ValueError(f"labels={list(self.labels)} must be unlike each other")
        return self
