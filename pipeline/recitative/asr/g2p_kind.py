"""The kind 'g2p': letter-to-sound models, which pronounce words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from recitative.asr.g2p_settings import G2PData, G2PSettings
from recitative.model.file import ModelMetadata
from recitative.model.kind import Extra, ModelKind
from recitative.text.tokens import TokenTable

if TYPE_CHECKING:
    from recitative.asr.g2p_network import G2PModel


def build(settings: G2PSettings, letters: TokenTable, phones: TokenTable) -> G2PModel:
    from recitative.asr.g2p_network import new_g2p

    return new_g2p(settings, letters, phones)


def describe(metadata: ModelMetadata[G2PSettings]) -> dict[str, str]:
    letters, phones = metadata.extras["letters"], metadata.extras["phones"]
    return {
        "kind": "letter-to-sound model",
        "letters": " ".join(letters.symbols[1:]),
        "phones": " ".join(phones.symbols[1:]),
    }


def _letters_text(model: G2PModel) -> str:
    return model.letters.to_text()


def _phones_text(model: G2PModel) -> str:
    return model.phones.to_text()


def _parse_table(text: str, where: str, _extras: Mapping[str, Any]) -> TokenTable:
    return TokenTable.parse(text, where)


G2P: ModelKind[G2PSettings, G2PModel] = ModelKind(
    name="g2p",
    title="letter-to-sound model",
    settings=G2PSettings,
    build=build,
    train="recitative train",
    export="",
    describe=describe,
    task="recitative.asr.g2p_task",
    data=G2PData,
    extras={
        "letters": Extra("letters.txt", _letters_text, _parse_table),
        "phones": Extra("tokens.txt", _phones_text, _parse_table),
    },
)
