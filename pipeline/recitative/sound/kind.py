"""The kinds 'sound', audio sample by sample, and 'spectrogram', mel frames for a vocoder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from recitative.config import FeatureSettings, RecordingsData
from recitative.model.file import ModelMetadata
from recitative.model.kind import LENGTHS, Entries, Extra, ModelKind, Signature
from recitative.reading import checked, parsed_json
from recitative.sound.conditioning import Labels
from recitative.sound.settings import SpectrogramSettings, WaveSettings

if TYPE_CHECKING:
    from recitative.model.onnx_stage import OnnxStage
    from recitative.sound.generator import SoundGenerator, SpectrogramGenerator
    from recitative.sound.network import SpectrogramModel, WaveModel

TRAIN, EXPORT = "recitative train", "recitative export"


def _labels_text(model: WaveModel | SpectrogramModel) -> str:
    return json.dumps(asdict(model.labels), indent=1) + "\n"


def _parse_labels(text: str, where: str, _extras: Mapping[str, Any]) -> Labels:
    wanted = "texts and speakers"
    return checked(Labels, parsed_json(text, where, wanted), where, wanted, f"make one with '{TRAIN}'")


def _mel(features: FeatureSettings) -> str:
    return f"{features.num_mel_bins} mel channels every {features.frame_shift_ms:g} ms"


def _names(labels: Labels) -> dict[str, str]:
    return {"texts": ", ".join(labels.texts), "speakers": ", ".join(labels.speakers)}


def build(settings: WaveSettings, labels: Labels) -> WaveModel:
    from recitative.sound.network import new_wave_model

    return new_wave_model(settings, labels)


def describe(metadata: ModelMetadata[WaveSettings]) -> dict[str, str]:
    settings = metadata.settings
    rows = {"kind": "sound", "output": f"{settings.features.sample_rate} Hz, {settings.sound.step} samples a step"}
    match settings.sound.condition:
        case "mel":
            return rows | {"input": _mel(settings.features)}
        case "labels":
            return rows | _names(metadata.extras["labels"])
        case "none":
            return rows | {"input": "none"}


def _graphs(settings: WaveSettings, _extras: Mapping[str, Any]) -> Mapping[str, Signature]:
    sound = settings.sound
    inputs: Entries = {
        "past": ("float32", (None, sound.history)),
        "last": ("int64", (None,)),
        "given": ("int64", (None, sound.step)),
        "uniforms": ("float32", (None, sound.step)),
        "cooling": ("float32", ()),
        **LENGTHS,
    }
    levels: Entries = {"levels": ("int64", (None, sound.step))}
    if sound.condition == "none":
        return {"": Signature(inputs, levels)}
    encoded: Entries = {"told": ("float32", (None, settings.model.condition_width))}
    frames: Entries = {"frames": ("float32", (None, None, None)), **LENGTHS}
    encoder = Signature(frames, {"said": ("float32", (None, None, None))})
    return {"": Signature({**inputs, **encoded}, levels), "encoder": encoder}


def _run(graphs: OnnxStage, _settings: WaveSettings, _extras: Mapping[str, Any]) -> SoundGenerator:
    from recitative.sound.generator import SoundGenerator

    return SoundGenerator(graphs)


SOUND: ModelKind[WaveSettings, WaveModel] = ModelKind(
    name="sound",
    title="sound model",
    settings=WaveSettings,
    build=build,
    train=TRAIN,
    export=EXPORT,
    describe=describe,
    task="recitative.sound.task",
    data=RecordingsData,
    graphs=_graphs,
    runner=_run,
    from_file=True,
    extras={"labels": Extra("labels.json", _labels_text, _parse_labels)},
)


def build_spectrogram(settings: SpectrogramSettings, labels: Labels) -> SpectrogramModel:
    from recitative.sound.network import new_spectrogram_model

    return new_spectrogram_model(settings, labels)


def describe_spectrogram(metadata: ModelMetadata[SpectrogramSettings]) -> dict[str, str]:
    output = _mel(metadata.settings.features)
    return {"kind": "sound, as mel frames for a vocoder", "output": output, **_names(metadata.extras["labels"])}


def _graphs_of_spectrogram(settings: SpectrogramSettings, extras: Mapping[str, Any]) -> Mapping[str, Signature]:
    frame = ("float32", (None, settings.features.dim))
    inputs: Entries = {
        "past": frame,
        "told": ("float32", (None, extras["labels"].width())),
        "uniforms": ("float32", (None, 1)),
        "normals": frame,
        "heat": ("float32", ()),
        **LENGTHS,
    }
    return {"": Signature(inputs, {"normal": frame, "frame": frame})}


def _run_spectrogram(
    graphs: OnnxStage, _settings: SpectrogramSettings, _extras: Mapping[str, Any]
) -> SpectrogramGenerator:
    from recitative.sound.generator import SpectrogramGenerator

    return SpectrogramGenerator(graphs)


SPECTROGRAM: ModelKind[SpectrogramSettings, SpectrogramModel] = ModelKind(
    name="spectrogram",
    title="spectrogram model",
    settings=SpectrogramSettings,
    build=build_spectrogram,
    train=TRAIN,
    export=EXPORT,
    describe=describe_spectrogram,
    task="recitative.sound.task",
    data=RecordingsData,
    graphs=_graphs_of_spectrogram,
    runner=_run_spectrogram,
    from_file=True,
    extras={"labels": Extra("labels.json", _labels_text, _parse_labels)},
)
