"""The kind 'classifier': one label for a whole recording."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from recitative.config import (
    AugmentSettings,
    BestEpochTrainSettings,
    FeatureSettings,
    FrontEndSettings,
    RecurrentSettings,
    Section,
    TrainingData,
)
from recitative.errors import DataError
from recitative.model.file import ModelMetadata
from recitative.model.kind import Endpoint, Extra, ModelKind, feature_graph
from recitative.reading import parsed_json

if TYPE_CHECKING:
    from recitative.audio.files import AudioInput
    from recitative.classification.classifier import Classifier

LIVE_EVERY_S = 0.5  # interval of the labels of a server's live stream


class MixupSettings(Section):
    """Mix-up of pairs of recordings and their labels (Zhang et al. 2018, "mixup")."""

    alpha: float = Field(0.0, ge=0)  # shares are distributed as Beta(alpha, alpha); 0 = off


class ClassifierCoreSettings(RecurrentSettings):
    """The recurrent core; streams need a forward or latency-controlled one."""

    direction: Literal["forward", "bidirectional", "latency_controlled"] = "forward"
    layers: int = Field(2, ge=1)
    hidden: int = Field(128, ge=1)  # per direction


class ClassifierNetworkSettings(Section):
    cmvn: Literal["global", "utterance", "running"] = (
        "global"  # utterance, running: mean normalization after the global one
    )
    front_end: FrontEndSettings = FrontEndSettings()
    recurrent: ClassifierCoreSettings = ClassifierCoreSettings()
    pooling: Literal["last", "mean", "attention", "recent"] = "attention"  # over the frames so far; see ``nn.stages``
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


class ClassifierSettings(Section):
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
    train: BestEpochTrainSettings = BestEpochTrainSettings()

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


def describe(metadata: ModelMetadata) -> dict[str, str]:
    features, network = metadata.settings.features, metadata.settings.model
    labels = metadata.extras["labels"]
    return {
        "kind": f"classifier, {network.pooling} over time",
        "input": f"{features.sample_rate} Hz, {features.num_mel_bins} {features.kind} channels",
        "labels": f"{len(labels)}: {', '.join(labels)}",
        "streams": "no" if metadata.lookahead is None else "yes",
    }


def _about(classifier: Classifier) -> dict[str, Any]:
    about = {
        "sample_rate": classifier.sample_rate,
        "latency_ms": classifier.latency_ms,
        "labels": list(classifier.labels),
    }
    return {"streams": classifier.lookahead is not None} | about


def _answer(classifier: Classifier, audio: AudioInput, _check: Callable[[], None]) -> dict[str, Any]:
    label = classifier.classify_file(audio)
    times = {"start": label.start_s, "end": round(label.end_s, 3)}
    labels = [{"label": one.label, "probability": one.probability} for one in label.predictions]
    return {"labels": [{**times, **one, "score": one["probability"]} for one in labels]}  # score: its former name


def _labels_text(labels: tuple[str, ...]) -> str:
    return json.dumps(labels, ensure_ascii=False, indent=1) + "\n"


def _parse_labels(text: str, where: str) -> tuple[str, ...]:
    """A list of two or more names, in the order of the outputs."""
    labels, wanted = parsed_json(text, where, "a list of two or more names"), "a list of two or more names"
    if not (isinstance(labels, list) and len(labels) > 1 and all(isinstance(label, str) for label in labels)):
        raise DataError(where, "holds no labels", wanted, f"make one with '{CLASSIFIER.train}'")
    return tuple(labels)


CLASSIFIER = ModelKind(
    name="classifier",
    title="classifier",
    settings=ClassifierSettings,
    data=ClassifierData,
    build="recitative.classification.task:new_classifier",
    task="recitative.classification.task:prepare",
    runner="recitative.classification.classifier:Classifier",
    graphs=lambda settings, extras: feature_graph(settings.features.dim, len(extras["labels"])),
    describe=describe,
    extras={"labels": Extra("labels.json", _labels_text, _parse_labels)},
    int8="recitative.classification.task:ClassifierCheck",
    endpoint=Endpoint(
        "/v1/audio/classifications",
        _about,
        _answer,
        stream=lambda classifier, *, rules: classifier.stream(LIVE_EVERY_S),
    ),
)
