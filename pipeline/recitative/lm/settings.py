"""Settings of a recurrent language model: tokens, network, training. Loaded by ``config.load_tree``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, field_validator, model_validator

from recitative.config import RecurrentSettings, TrainingData, TrainSettings
from recitative.text.vocabulary import TextUnit

_FOR_AUDIO = ("batch_s", "max_duration_s", "workers", "cache_mb")  # training settings that apply to audio only


def refuse_audio_settings(train: TrainSettings, instead: str) -> None:
    """Raises ValueError if one of them is set. ``instead``: what to set."""
    for name in _FOR_AUDIO:
        if getattr(train, name) != TrainSettings.model_fields[name].default:
            raise ValueError(f"{name} applies to audio only; see {instead}")


class TextSettings(BaseModel, frozen=True, extra="forbid"):
    unit: TextUnit = "word"
    min_count: int = Field(2, ge=1)  # rarer tokens of the training text become the unknown symbol
    streams: int = Field(16, ge=1)  # batch size: streams into which the text is split
    bptt: int = Field(32, ge=1)  # truncated BPTT length in tokens


class CoreSettings(RecurrentSettings):
    """The recurrent core, forward only."""

    direction: Literal["forward"] = "forward"
    layers: int = Field(1, ge=1)
    hidden: int = Field(256, ge=1)


class NetworkSettings(BaseModel, frozen=True, extra="forbid"):
    embedding: int = Field(256, ge=1)  # embedding width of tokens
    dropout: float = Field(0.5, ge=0, lt=1)  # of the embedding and of the output layer's input
    tied: bool = True  # the output layer shares the weights of the embedding
    recurrent: CoreSettings = CoreSettings()


class TextTrainSettings(TrainSettings):
    """Training settings with other defaults."""

    epochs: int = Field(40, ge=1)
    learning_rate: float = Field(5e-3, gt=0)  # peak
    warmup_steps: int = Field(20, ge=0)
    clip_norm: float = Field(1.0, gt=0)
    patience: int = Field(5, ge=0)
    keep_best: int = Field(1, ge=1)

    @model_validator(mode="after")
    def _no_audio(self) -> TextTrainSettings:
        refuse_audio_settings(self, "text.streams and text.bptt")
        return self


class LanguageModelSettings(BaseModel, frozen=True, extra="forbid"):
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
