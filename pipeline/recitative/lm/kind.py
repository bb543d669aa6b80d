"""The kind 'language_model': a recurrent language model that predicts the next word or character of a text."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from recitative.config import BestEpochTrainSettings, ForwardRecurrentSettings, Section, TrainingData, TrainSettings
from recitative.lm.recurrent import RecurrentLanguageModel
from recitative.model.file import ModelMetadata
from recitative.model.kind import VOCABULARY, ModelKind, token_graph
from recitative.text.tokens import TextUnit

_FOR_AUDIO = ("batch_s", "max_duration_s", "workers", "cache_mb")  # training settings that apply to audio only


class TextSettings(Section):
    unit: TextUnit = "word"
    min_count: int = Field(2, ge=1)  # rarer tokens of the training text become the unknown symbol
    streams: int = Field(16, ge=1)  # batch size: streams into which the text is split
    bptt: int = Field(32, ge=1)  # truncated BPTT length in tokens


class NetworkSettings(Section):
    embedding: int = Field(256, ge=1)  # embedding width of tokens
    dropout: float = Field(0.5, ge=0, lt=1)  # of the embedding and of the output layer's input
    tied: bool = True  # the output layer shares the weights of the embedding
    recurrent: ForwardRecurrentSettings = ForwardRecurrentSettings()


class TokenTrainSettings(BestEpochTrainSettings):
    """Training settings for text and music, whose batches are not measured in seconds of audio."""

    batch_settings: ClassVar[str] = "text.streams and text.bptt"  # settings to use instead
    clip_norm: float = Field(1.0, gt=0)

    @model_validator(mode="after")
    def _no_audio(self) -> Self:
        for name in _FOR_AUDIO:
            if getattr(self, name) != TrainSettings.model_fields[name].default:
                raise ValueError(f"{name} applies to audio only; see {self.batch_settings}")
        return self


class TextTrainSettings(TokenTrainSettings):
    """Training settings with other defaults."""

    epochs: int = Field(40, ge=1)
    learning_rate: float = Field(5e-3, gt=0)  # peak
    warmup_steps: int = Field(20, ge=0)
    patience: int = Field(5, ge=0)


class LanguageModelSettings(Section):
    """Settings of a recurrent language model."""

    kind: Literal["language_model"] = "language_model"  # identifies the kind of model
    text: TextSettings = TextSettings()
    model: NetworkSettings = NetworkSettings()
    train: TextTrainSettings = TextTrainSettings()


class LanguageModelData(TrainingData):
    train: tuple[Path, ...] = Field(min_length=1)  # data directories, shards or text tables
    dev: Path  # the data directory or text table that chooses the best epoch

    @field_validator("train", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        return [value] if isinstance(value, str | Path) else value


def describe(metadata: ModelMetadata) -> dict[str, str]:
    vocabulary = metadata.extras["vocabulary"]
    return {"kind": "language model", "tokens": f"{len(vocabulary)} {vocabulary.unit}s"}


LANGUAGE_MODEL = ModelKind(
    name="language_model",
    title="language model",
    settings=LanguageModelSettings,
    data=LanguageModelData,
    build="recitative.lm.task:new_language_model",
    task="recitative.lm.task:prepare",
    runner=lambda stage, settings, vocabulary: RecurrentLanguageModel(stage, vocabulary),
    graphs=lambda settings, extras: token_graph(len(extras["vocabulary"])),
    describe=describe,
    extras={"vocabulary": VOCABULARY},
)
