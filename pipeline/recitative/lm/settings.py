"""The settings of a language model: what its tokens are, its network, its training. Read by ``config.load_tree``."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field, model_validator

from recitative.config import RecurrentSettings, TrainSettings
from recitative.text.vocabulary import TextUnit

OF_AUDIO = ("batch_s", "max_duration_s", "workers", "cache_mb")  # settings of the loop that say nothing about text


class TextSettings(BaseModel, frozen=True, extra="forbid"):
    unit: TextUnit = "word"
    min_count: int = Field(2, ge=1)  # what is rarer in the training text becomes the unknown symbol
    streams: int = Field(16, ge=1)  # parts of the text that are read side by side: the batch
    bptt: int = Field(32, ge=1)  # tokens through which gradients flow back


class CoreSettings(RecurrentSettings):
    """The recurrent core, reading forward only: a model of text may not see what it is to predict."""

    direction: Literal["forward"] = "forward"
    layers: int = Field(1, ge=1)
    hidden: int = Field(256, ge=1)


class NetworkSettings(BaseModel, frozen=True, extra="forbid"):
    embedding: int = Field(256, ge=1)  # width of a token's vector
    dropout: float = Field(0.5, ge=0, lt=1)  # of the embedding and of what the output layer reads
    tied: bool = True  # the output layer is the table of embeddings
    recurrent: CoreSettings = CoreSettings()


class TextTrainSettings(TrainSettings):
    """The loop's settings with other defaults: a text is small beside a corpus of speech."""

    epochs: int = Field(40, ge=1)
    learning_rate: float = Field(5e-3, gt=0)  # the peak
    warmup_steps: int = Field(20, ge=0)
    clip_norm: float = Field(1.0, gt=0)
    patience: int = Field(5, ge=0)
    keep_best: int = Field(1, ge=1)

    @model_validator(mode="after")
    def _no_audio(self) -> TextTrainSettings:
        for name in OF_AUDIO:
            if getattr(self, name) != TrainSettings.model_fields[name].default:
                raise ValueError(f"{name} is about audio; a text is cut by text.streams and text.bptt")
        return self


class LanguageModelSettings(BaseModel, frozen=True, extra="forbid"):
    """Everything a language model's run depends on."""

    kind: Literal["language_model"] = "language_model"  # tells this file from a recogniser's
    text: TextSettings = TextSettings()
    model: NetworkSettings = NetworkSettings()
    train: TextTrainSettings = TextTrainSettings()
