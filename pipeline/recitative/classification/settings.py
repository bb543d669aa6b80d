"""Settings of a classifier. Loaded by ``config.load_tree``; no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, model_validator

from recitative.config import (
    AugmentSettings,
    FeatureSettings,
    FrontEndSettings,
    RecurrentSettings,
    TrainingData,
    TrainSettings,
)


class _Section(BaseModel, frozen=True, extra="forbid"):
    pass


class MixupSettings(_Section):
    """Mix-up of pairs of recordings and their labels (Zhang et al. 2018, "mixup")."""

    alpha: float = Field(0.0, ge=0)  # shares are distributed as Beta(alpha, alpha); 0 = off


class ClassifierCoreSettings(RecurrentSettings):
    """The recurrent core; streams need a forward or latency-controlled one."""

    direction: Literal["forward", "bidirectional", "latency_controlled"] = "forward"
    layers: int = Field(2, ge=1)
    hidden: int = Field(128, ge=1)  # per direction


class ClassifierNetworkSettings(_Section):
    cmvn: Literal["global", "utterance", "running"] = (
        "global"  # utterance, running: mean normalization after the global one
    )
    front_end: FrontEndSettings = FrontEndSettings()
    recurrent: ClassifierCoreSettings = ClassifierCoreSettings()
    pooling: Literal["last", "mean", "attention", "recent"] = "attention"  # over the frames so far; see ``nn.pooling``
    pooling_frames: int = Field(0, ge=0)  # core frames averaged by 'recent'; 0 for the others
    dropout: float = Field(0.0, ge=0, lt=1)  # of the core's output

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
    """Training settings with other defaults."""

    epochs: int = Field(20, ge=1)
    warmup_steps: int = Field(100, ge=0)
    keep_best: int = Field(1, ge=1)


class ClassifierSettings(_Section):
    """Settings of a classifier."""

    kind: Literal["classifier"] = "classifier"  # identifies the kind of model
    features: FeatureSettings = FeatureSettings()
    augment: AugmentSettings = AugmentSettings()
    mixup: MixupSettings = MixupSettings()
    piece_s: float = Field(0.0, ge=0)  # train on random crops of this length; 0 = whole recordings
    context_s: float = Field(0.0, ge=0)  # precede each recording with up to this much of others, as in a stream
    labels: tuple[str, ...] = ()  # empty: the labels of the training set
    class_weights: Literal["none", "balanced"] = "none"  # balanced: all classes have equal total weight
    model: ClassifierNetworkSettings = ClassifierNetworkSettings()
    train: ClassifierTrainSettings = ClassifierTrainSettings()

    @model_validator(mode="after")
    def _consistent(self) -> ClassifierSettings:
        self.augment.require_fit(self.features)
        if self.context_s and (self.piece_s or self.mixup.alpha):
            raise ValueError(
                f"context_s={self.context_s:g} needs piece_s=0 and mixup.alpha=0: the label is for the end of a row"
            )
        if len(set(self.labels)) < len(self.labels):
            raise ValueError(f"labels={list(self.labels)} must be distinct")
        return self


class ClassifierData(TrainingData):
    train: Path  # a data directory; an utterance's whole text is its label
    dev: Path | None = None  # a data directory that chooses the best epoch; without it the last one is kept
    cmvn: Path | None = None  # statistics from 'recitative cmvn'; null: computed at the start
