"""The kinds 'sound', audio sample by sample, and 'spectrogram', mel frames for a vocoder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from recitative.config import FeatureSettings, RecordingsData
from recitative.model.file import ModelMetadata
from recitative.model.kind import LENGTHS, Entries, Extra, ModelKind, Signature
from recitative.reading import checked, parsed_json
from recitative.sound.conditioning import Labels
from recitative.sound.generator import SoundGenerator, SpectrogramGenerator
from recitative.sound.settings import SpectrogramSettings, WaveSettings


def _mel(features: FeatureSettings) -> str:
    return f"{features.num_mel_bins} mel channels every {features.frame_shift_ms:g} ms"


def _names(labels: Labels) -> dict[str, str]:
    return {"texts": ", ".join(labels.texts), "speakers": ", ".join(labels.speakers)}


def describe(metadata: ModelMetadata) -> dict[str, str]:
    settings: WaveSettings = metadata.settings
    rows = {"kind": "sound", "output": f"{settings.features.sample_rate} Hz, {settings.sound.step} samples a step"}
    match settings.sound.condition:
        case "mel":
            return rows | {"input": _mel(settings.features)}
        case "labels":
            return rows | _names(metadata.extras["labels"])
        case "none":
            return rows | {"input": "none"}


def describe_spectrogram(metadata: ModelMetadata) -> dict[str, str]:
    output = _mel(metadata.settings.features)
    return {"kind": "sound, as mel frames for a vocoder", "output": output, **_names(metadata.extras["labels"])}


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


def _parse_labels(text: str, where: str) -> Labels:
    wanted = "texts and speakers"
    return checked(Labels, parsed_json(text, where, wanted), where, wanted, f"make one with '{SOUND.train}'")


LABELS = Extra("labels.json", lambda labels: json.dumps(asdict(labels), indent=1) + "\n", _parse_labels)

SOUND = ModelKind(
    name="sound",
    title="sound model",
    settings=WaveSettings,
    data=RecordingsData,
    build="recitative.sound.network:new_wave_model",
    task="recitative.sound.task:prepare",
    runner=lambda stage, settings, labels: SoundGenerator(stage),
    graphs=_graphs,
    describe=describe,
    extras={"labels": LABELS},
    writer="recitative.sound.network:write_wave",
    from_file=True,
)

SPECTROGRAM = ModelKind(
    name="spectrogram",
    title="spectrogram model",
    settings=SpectrogramSettings,
    data=RecordingsData,
    build="recitative.sound.network:new_spectrogram_model",
    task="recitative.sound.task:prepare",
    runner=lambda stage, settings, labels: SpectrogramGenerator(stage),
    graphs=_graphs_of_spectrogram,
    describe=describe_spectrogram,
    extras={"labels": LABELS},
    writer="recitative.sound.network:write_spectrogram",
    from_file=True,
)
