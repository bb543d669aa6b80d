"""The kind 'classifier': one label for a whole recording."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from recitative.classification.settings import ClassifierData, ClassifierSettings
from recitative.errors import DataError
from recitative.model.file import ModelMetadata
from recitative.model.kind import Endpoint, Extra, ModelKind, feature_graph
from recitative.reading import parsed_json
from recitative.stage import Array, Stage

if TYPE_CHECKING:
    from recitative.audio.files import AudioInput
    from recitative.classification.classifier import Classifier
    from recitative.classification.network import ClassifierModel

TRAIN = "recitative train"
LIVE_EVERY_S = 0.5  # a server's live stream gets a label after each


def build(settings: ClassifierSettings, labels: tuple[str, ...]) -> ClassifierModel:
    from recitative.classification.network import new_classifier

    return new_classifier(settings, labels)


def describe(metadata: ModelMetadata[ClassifierSettings]) -> dict[str, str]:
    features, network = metadata.settings.features, metadata.settings.model
    labels = metadata.extras["labels"]
    return {
        "kind": f"classifier, {network.pooling} over time",
        "input": f"{features.sample_rate} Hz, {features.num_mel_bins} {features.kind} channels",
        "labels": f"{len(labels)}: {', '.join(labels)}",
        "streams": "no" if metadata.lookahead is None else "yes",
    }


def _run(stage: Stage[Array], settings: ClassifierSettings, extras: Mapping[str, Any]) -> Classifier:
    from recitative.classification.classifier import Classifier

    return Classifier(stage, settings, extras["labels"])


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


def _parse_labels(text: str, where: str, _extras: Mapping[str, Any]) -> tuple[str, ...]:
    """A list of two or more names, in the order of the outputs."""
    labels, wanted = parsed_json(text, where, "a list of two or more names"), "a list of two or more names"
    if not (isinstance(labels, list) and len(labels) > 1 and all(isinstance(label, str) for label in labels)):
        raise DataError(where, "holds no labels", wanted, f"make one with '{TRAIN}'")
    return tuple(labels)


def _labels_text(classifier: ClassifierModel) -> str:
    return json.dumps(classifier.labels, ensure_ascii=False, indent=1) + "\n"


CLASSIFIER: ModelKind[ClassifierSettings, ClassifierModel] = ModelKind(
    name="classifier",
    title="classifier",
    settings=ClassifierSettings,
    build=build,
    train=TRAIN,
    export="recitative export",
    describe=describe,
    task="recitative.classification.task",
    data=ClassifierData,
    graphs=lambda settings, extras: feature_graph(settings.features.dim, len(extras["labels"])),
    runner=_run,
    endpoint=Endpoint(
        "/v1/audio/classifications",
        _about,
        _answer,
        stream=lambda classifier, *, rules: classifier.stream(LIVE_EVERY_S),
    ),
    extras={"labels": Extra("labels.json", _labels_text, _parse_labels)},
)
