"""The kind 'punctuation': restores the punctuation and case of text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from recitative.config import ForwardRecurrentSettings, Section, TrainingData
from recitative.lm.kind import TextTrainSettings
from recitative.model.file import ModelMetadata
from recitative.model.kind import LENGTHS, VOCABULARY, ModelKind, Signature
from recitative.punctuation.punctuator import FEATURES, LABELS, Punctuator


class PunctuationTextSettings(Section):
    min_count: int = Field(50, ge=1)  # rarer words are represented by their beginnings and ends alone
    batch_words: int = Field(2000, ge=1)
    epoch_batches: int = Field(0, ge=0)  # batches of an epoch, drawn anew for each; 0 = the whole text
    shorten: float = Field(0.4, ge=0, le=1)  # probability that a passage ends with any of its sentences,
    cut: float = Field(0.1, ge=0, le=1)  # and that it ends anywhere


class PunctuationCoreSettings(ForwardRecurrentSettings):
    """The recurrent core, forward only, with another default."""

    hidden: int = Field(128, ge=1)


class PunctuationNetworkSettings(Section):
    embedding: int = Field(64, ge=1)  # embedding width of words, and of their beginnings and ends
    buckets: int = Field(4096, ge=1)  # entries of the table of beginnings and ends, which are found by a checksum
    dropout: float = Field(0.1, ge=0, lt=1)  # of whole entries in training
    lookahead_words: int = Field(4, ge=0)  # words that are read before a word is decided
    width: int = Field(96, ge=1)  # of the layer between the core and the output layer
    recurrent: PunctuationCoreSettings = PunctuationCoreSettings()


class PunctuationTrainSettings(TextTrainSettings):
    """Training settings with other defaults."""

    epochs: int = Field(3, ge=1)
    learning_rate: float = Field(5e-3, gt=0)  # peak
    warmup_steps: int = Field(50, ge=0)
    patience: int = Field(0, ge=0)


class PunctuationSettings(Section):
    """Settings of a model that restores punctuation and case."""

    kind: Literal["punctuation"] = "punctuation"  # identifies the kind of model
    text: PunctuationTextSettings = PunctuationTextSettings()
    model: PunctuationNetworkSettings = PunctuationNetworkSettings()
    train: PunctuationTrainSettings = PunctuationTrainSettings()


class PunctuationData(TrainingData):
    train: Path  # written text, a passage of one or more sentences on each line
    dev: Path  # the same, to choose the best epoch


def describe(metadata: ModelMetadata) -> dict[str, str]:
    return {
        "kind": "punctuation model",
        "words": f"{len(metadata.extras['vocabulary'])}",
        "latency": f"{metadata.settings.model.lookahead_words} words of look-ahead",
    }


def _graphs(_settings: PunctuationSettings, _extras: Mapping[str, Any]) -> Mapping[str, Signature]:
    inputs = {"tokens": ("int64", (None, None, FEATURES)), **LENGTHS, "last": ("bool", ())}
    log_probs = {"log_probs": ("float32", (None, None, len(LABELS))), "log_probs_lengths": ("int64", (None,))}
    return {"": Signature(inputs, log_probs)}


PUNCTUATION = ModelKind(
    name="punctuation",
    title="punctuation model",
    settings=PunctuationSettings,
    data=PunctuationData,
    build="recitative.punctuation.task:new_punctuation_model",
    task="recitative.punctuation.task:prepare",
    runner=lambda stage, settings, vocabulary: Punctuator(stage, vocabulary, settings.model.buckets),
    graphs=_graphs,
    describe=describe,
    extras={"vocabulary": VOCABULARY},
    int8="weights",
)
