"""The kind 'language_model': the next word or character of a text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from recitative.lm.settings import LanguageModelData, LanguageModelSettings
from recitative.model.file import ModelMetadata
from recitative.model.kind import Extra, ModelKind, token_graph
from recitative.stage import Array, Stage
from recitative.text.tokens import TokenTable
from recitative.text.vocabulary import Vocabulary

if TYPE_CHECKING:
    from recitative.lm.network import LanguageModelNetwork
    from recitative.lm.scores import RecurrentLanguageModel


def build(settings: LanguageModelSettings, vocabulary: Vocabulary) -> LanguageModelNetwork:
    from recitative.lm.network import new_language_model

    return new_language_model(settings, vocabulary)


def describe(metadata: ModelMetadata[LanguageModelSettings]) -> dict[str, str]:
    vocabulary = metadata.extras["vocabulary"]
    return {"kind": "language model", "tokens": f"{len(vocabulary)} {vocabulary.unit}s"}


def _run(stage: Stage[Array], _settings: LanguageModelSettings, extras: Mapping[str, Any]) -> RecurrentLanguageModel:
    from recitative.lm.scores import RecurrentLanguageModel

    return RecurrentLanguageModel(stage, extras["vocabulary"])


def _vocabulary_text(model: LanguageModelNetwork) -> str:
    return model.vocabulary.table.to_text()


def _parse_vocabulary(text: str, where: str, _extras: Mapping[str, Any]) -> Vocabulary:
    return Vocabulary(TokenTable.parse(text, where))


LANGUAGE_MODEL: ModelKind[LanguageModelSettings, LanguageModelNetwork] = ModelKind(
    name="language_model",
    title="language model",
    settings=LanguageModelSettings,
    build=build,
    train="recitative train",
    export="recitative export",
    describe=describe,
    task="recitative.lm.task",
    data=LanguageModelData,
    graphs=lambda settings, extras: token_graph(len(extras["vocabulary"])),
    runner=_run,
    extras={"vocabulary": Extra("tokens.txt", _vocabulary_text, _parse_vocabulary)},
)
