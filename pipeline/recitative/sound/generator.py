"""Generation of sound by exported models: audio sample by sample, mel frames, batches of sounds, and text to speech.

Sounds of similar length are generated together. A voice converts text and speaker into the conditioning of a model of
samples: labels, or mel frames that another model generates from labels. The kinds are 'sound', audio sample by sample,
and 'spectrogram', mel frames for a vocoder.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from recitative.audio.files import Samples
from recitative.config import FeatureSettings, RecordingsData
from recitative.errors import UsageError
from recitative.model.kind import LENGTHS, Entries, Extra, ModelKind, ModelMetadata, Signature
from recitative.model.onnx_stage import OnnxStage
from recitative.reading import checked, parsed_json
from recitative.sound.conditioning import (
    MIDDLE,
    Labels,
    LevelDecoder,
    SpectrogramSettings,
    WaveSettings,
    between,
    companded,
    label_conditions,
    levels_of,
    places_of,
    with_neighbors,
)
from recitative.stage import Array


class SoundGenerator:
    """Generates samples. Each row has its own random numbers, from (seed, number of the row)."""

    def __init__(self, graphs: OnnxStage) -> None:
        """graphs: a file from 'recitative export'; see ``model.onnx_stage.open_file``."""
        self.metadata = graphs.metadata
        self.labels: Labels = self.metadata.extras["labels"]
        self._graphs = graphs
        self._outputs = ["levels", *(f"new_state.{name}" for name in self.metadata.state)]

    @property
    def sample_rate(self) -> int:
        """Hz"""
        rate: int = self.metadata.settings.features.sample_rate
        return rate

    def generate(
        self,
        num_samples: int,
        *,
        frames: Sequence[Samples] = (),
        given: Samples | None = None,
        row_numbers: Sequence[int] = (0,),
        seed: int = 1,
        temperature: float = 1.0,
    ) -> Iterator[Samples]:
        """Yield blocks (N, B) of samples in [-1, 1], ``num_samples`` in all, as they are generated.

        frames: (T, C), the conditioning of each row (``sound.conditioning``), empty without conditioning. given: (S,)
        samples that every row starts with, quantized to the model's levels. row_numbers: of the N rows, for their
        random numbers. temperature: sampling temperature, > 0.
        """
        sound = self.metadata.settings.sound
        steps = -(-num_samples // sound.step)
        conditioning = self._encode(frames, steps)
        rows = len(row_numbers)
        fixed = self._fixed_levels(given, steps, frames or [np.zeros((1, 0), np.float32)] * rows)
        rngs = [np.random.default_rng([seed, number]) for number in row_numbers]
        state = {f"state.{name}": initial.array(rows) for name, initial in self.metadata.state.items()}
        codes = np.full((rows, sound.history), MIDDLE, np.int64)
        decoder, values = LevelDecoder(list(frames), rows, self.metadata.settings), companded()
        ones, cooling = np.ones(rows, np.int64), np.array(1 / temperature, np.float32)
        for step in range(steps):
            feeds = state | {
                "past": values[codes],
                "last": codes[:, -1],
                "given": fixed[:, step],
                "uniforms": np.stack([rng.random(sound.step, np.float32) for rng in rngs]),
                "cooling": cooling,
                "lengths": ones,
            }
            if conditioning is not None:
                feeds["told"] = conditioning[step]
            levels, *after = self._graphs.run(self._outputs, feeds)
            state = dict(zip(state, after, strict=True))
            codes = np.concatenate([codes[:, sound.step :], levels], axis=1)
            yield decoder.step(step, levels)[:, : num_samples - step * sound.step]

    def _encode(self, frames: Sequence[Samples], steps: int) -> Samples | None:
        """The encoder's output, interpolated at each step, (J, N, W)."""
        if self.metadata.settings.sound.condition == "none":
            return None
        places = places_of(np.arange(steps), self.metadata.settings)
        feeds: list[dict[str, Array]] = [
            {"frames": one[None], "lengths": np.array([len(one)], np.int64)} for one in frames
        ]
        return np.stack([between(self._graphs.call("encoder", feed)[0], places) for feed in feeds], axis=1)

    def _fixed_levels(self, given: Samples | None, steps: int, frames: Sequence[Samples]) -> npt.NDArray[np.int64]:
        """(N, J, step): the levels of the given samples, then -1."""
        sound = self.metadata.settings.sound
        fixed = np.full((len(frames), steps * sound.step), -1, np.int64)
        if given is not None:
            for row, frames_here in zip(fixed, frames, strict=True):
                codes = levels_of(given, frames_here, self.metadata.settings)[: len(row)]
                row[: len(codes)] = codes
        return fixed.reshape(len(frames), steps, sound.step)


ROWS = 16  # sounds generated together, which share the reading of the weights


def generate_all(
    generator: SoundGenerator,
    lengths: Sequence[int],
    conditioning: Callable[[int], tuple[Samples, int] | None],
    *,
    seed: int = 1,
    temperature: float = 1.0,
    on_progress: Callable[[float, int], None] | None = None,
) -> Iterator[tuple[int, Samples]]:
    """Yield the number of each sound and its samples (S,), the shortest first. At most ``ROWS`` are in memory.

    lengths: approximate samples of each sound. conditioning: number of a sound -> frames (T, C) and exact samples, or
    None to skip it. The number also selects the random numbers. on_progress: samples done, samples in all.
    """
    order = sorted(range(len(lengths)), key=lambda i: lengths[i])
    total, done = sum(lengths), 0
    step = generator.metadata.settings.sound.step
    for start in range(0, len(order), ROWS):
        numbers = order[start : start + ROWS]
        group = {i: found for i in numbers if (found := conditioning(i)) is not None}
        group_total = sum(lengths[i] for i in numbers)
        longest = max((count for _, count in group.values()), default=0)
        frames, blocks = [frames for frames, _ in group.values()], list[Samples]()
        if group:
            for block in generator.generate(
                longest, frames=frames, row_numbers=list(group), seed=seed, temperature=temperature
            ):
                blocks.append(block)
                if on_progress:
                    on_progress(done + group_total * min(1.0, len(blocks) * step / longest), total)
        for row, (number, (_, count)) in enumerate(group.items()):
            yield number, np.concatenate([block[row] for block in blocks])[:count]
        done += group_total


OWN_NUMBERS = 1  # makes the random numbers differ from the vocoder's


class SpectrogramGenerator:
    """Generates mel frames. Each sound has its own random numbers, from (seed, number of the sound)."""

    def __init__(self, graphs: OnnxStage) -> None:
        """graphs: a file from 'recitative export'; see ``model.onnx_stage.open_file``."""
        self.metadata = graphs.metadata
        self.labels: Labels = self.metadata.extras["labels"]
        self._graphs = graphs
        self._outputs = ["frame", "normal", *(f"new_state.{name}" for name in self.metadata.state)]

    def generate(
        self, text: str, speaker: str, num_samples: int, *, number: int = 0, seed: int = 1, temperature: float = 1.0
    ) -> Array:
        """Log-mel frames (T, C), T >= 1, of a sound of about ``num_samples`` samples.

        temperature: scale of the standard deviations, >= 0. Raises UsageError for an unknown label.
        """
        features = self.metadata.settings.features
        count = max(1, (num_samples - features.window_samples) // features.hop_samples + 1)
        conditioning = label_conditions(text, speaker, num_samples, features, self.labels)[:count]
        rng = np.random.default_rng([seed, number, OWN_NUMBERS])
        feeds = {f"state.{name}": initial.array(1) for name, initial in self.metadata.state.items()}
        feeds |= {
            "past": np.zeros((1, features.dim), np.float32),
            "lengths": np.ones(1, np.int64),
            "heat": np.array(temperature, np.float32),
        }
        frames = []
        for t in range(count):
            feeds["told"] = conditioning[t : t + 1]
            feeds["uniforms"] = rng.random((1, 1), np.float32)
            feeds["normals"] = rng.standard_normal((1, features.dim), np.float32)
            frame, feeds["past"], *after = self._graphs.run(self._outputs, feeds)
            feeds |= {f"state.{name}": value for name, value in zip(self.metadata.state, after, strict=True)}
            frames.append(frame)
        return np.concatenate(frames)


class Voice(Protocol):
    """Text to speech: ``generator`` makes the samples from ``conditioning``."""

    @property
    def generator(self) -> SoundGenerator: ...

    @property
    def labels(self) -> Labels: ...

    def conditioning(self, text: str, speaker: str, num_samples: int, *, number: int, seed: int) -> Samples:
        """(T, C). number: of the sound, for its random numbers. Raises UsageError for an unknown label."""
        ...


@dataclass(frozen=True)
class LabelVoice:
    """A model of samples that is conditioned on labels."""

    generator: SoundGenerator

    @property
    def labels(self) -> Labels:
        return self.generator.labels

    def conditioning(self, text: str, speaker: str, num_samples: int, *, number: int, seed: int) -> Samples:
        return label_conditions(text, speaker, num_samples, self.generator.metadata.settings.features, self.labels)


@dataclass(frozen=True)
class SpectrogramVoice:
    """A model of mel frames that is conditioned on labels, and a vocoder. temperature: of the frames."""

    spectrogram: SpectrogramGenerator
    generator: SoundGenerator
    temperature: float

    def __post_init__(self) -> None:
        vocoder, generated = self.generator.metadata.settings, self.spectrogram.metadata.settings.features
        if vocoder.sound.condition != "mel":
            raise UsageError(f"--vocoder: sound.condition={vocoder.sound.condition}; a vocoder has sound.condition=mel")
        if vocoder.features != generated:
            raise UsageError(
                f"--vocoder: reads {vocoder.features.num_mel_bins} mel bands at {vocoder.features.sample_rate} Hz, the "
                f"model generates {generated.num_mel_bins} at {generated.sample_rate} Hz; both need the same settings "
                "'features'"
            )

    @property
    def labels(self) -> Labels:
        return self.spectrogram.labels

    def conditioning(self, text: str, speaker: str, num_samples: int, *, number: int, seed: int) -> Samples:
        frames = self.spectrogram.generate(
            text, speaker, num_samples, number=number, seed=seed, temperature=self.temperature
        )
        return with_neighbors(frames, self.generator.metadata.settings.sound.context)


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
    settings=WaveSettings,
    data=RecordingsData,
    build="recitative.sound.task:new_wave_model",
    task="recitative.sound.task:prepare",
    runner=lambda stage, settings, labels: SoundGenerator(stage),
    graphs=_graphs,
    describe=describe,
    extras={"labels": LABELS},
    writer="recitative.sound.task:write_wave",
    from_file=True,
)

SPECTROGRAM = ModelKind(
    name="spectrogram",
    settings=SpectrogramSettings,
    data=RecordingsData,
    build="recitative.sound.task:new_spectrogram_model",
    task="recitative.sound.task:prepare",
    runner=lambda stage, settings, labels: SpectrogramGenerator(stage),
    graphs=_graphs_of_spectrogram,
    describe=describe_spectrogram,
    extras={"labels": LABELS},
    writer="recitative.sound.task:write_spectrogram",
    from_file=True,
)
