"""The kind 'recognizer': speech to text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from recitative.asr.decoding import Language
from recitative.config import RecognizerData, Settings
from recitative.features.frontend import FeatureExtractor
from recitative.lm.ngram import parse_lm
from recitative.model.file import ModelMetadata
from recitative.model.kind import RECOGNIZER_NAME, Endpoint, Extra, ModelKind, feature_graph
from recitative.pretrained import name_of
from recitative.reading import parsed_json
from recitative.score.calibration import Calibrator
from recitative.stage import Array, Stage
from recitative.text.lexicon import Lexicon
from recitative.text.tokens import TokenTable

if TYPE_CHECKING:
    from recitative.asr.network import RecognizerModel
    from recitative.asr.recognizer import Recognizer


def build(
    settings: Settings,
    tokens: TokenTable,
    lexicon: Lexicon | None = None,
    lm: str | None = None,
    calibrator: Calibrator | None = None,
) -> RecognizerModel:
    from recitative.asr.network import new_recognizer

    return new_recognizer(settings, tokens, Language(lexicon, lm or "", calibrator))


def language_of(extras: Mapping[str, Any]) -> Language:
    """What a recognizer knows of its language, from the extras of its file."""
    return Language(extras["lexicon"], extras["lm"] or "", extras["calibrator"])


def describe(metadata: ModelMetadata[Settings]) -> dict[str, str]:
    settings, tokens = metadata.settings, metadata.extras["tokens"]
    features = FeatureExtractor(settings.features)
    rate = settings.features.sample_rate
    frame_ms = 1000 * features.stride * metadata.stride / rate
    streams = metadata.lookahead is not None
    ahead = features.lookahead + (metadata.lookahead or 0) * features.stride  # samples
    return {
        "input": f"{rate} Hz, {settings.features.num_mel_bins} {settings.features.kind} channels",
        "output": f"{len(tokens) - 1} {tokens.unit}s, one frame every {frame_ms:g} ms",
        "latency": f"{1000 * ahead / rate:g} ms (algorithmic)" if streams else "the whole recording",
        "streams": "yes" if streams else "no",
        "tokens": " ".join(repr(symbol)[1:-1] if symbol != " " else "<space>" for symbol in tokens.symbols[1:]),
        "decoding": _decoding(settings, language_of(metadata.extras)),
    }


def _run(stage: Stage[Array], settings: Settings, extras: Mapping[str, Any]) -> Recognizer:
    from recitative.asr.recognizer import Recognizer
    from recitative.asr.stream import Transcriber

    metadata = getattr(stage, "metadata", None)  # of a file
    name = name_of(metadata.where) if metadata else ""
    return Recognizer(Transcriber(stage, settings, extras["tokens"], language_of(extras)), name)


def _about(recognizer: Recognizer) -> dict[str, Any]:
    latency_ms = recognizer.latency_ms
    return {"streams": latency_ms is not None, "sample_rate": recognizer.sample_rate, "latency_ms": latency_ms}


def _decoding(settings: Settings, language: Language) -> str:
    """What it knows of language, and how much that weighs."""
    decode, parts = settings.decode, []
    if language.lexicon:
        parts.append(f"lexicon of {len(language.lexicon)} words")
    if language.lm:
        parts.append(f"{language.lm.order}-gram, weight {decode.lm_weight:g}, word bonus {decode.word_bonus:g}")
    if language.calibrator:
        parts.append("calibrated confidences")
    return f"beam of {decode.beam}: {', '.join(parts)}" if parts else decode.kind


def _tokens_text(model: RecognizerModel) -> str:
    return model.tokens.to_text()


def _parse_tokens(text: str, where: str, _extras: Mapping[str, Any]) -> TokenTable:
    return TokenTable.parse(text, where)


def _lexicon_text(model: RecognizerModel) -> str:
    return model.language.lexicon.to_text() if model.language.lexicon else ""


def _parse_lexicon(text: str, where: str, extras: Mapping[str, Any]) -> Lexicon:
    return Lexicon.parse(text, where, extras["tokens"])


def _lm_text(model: RecognizerModel) -> str:
    return model.language.ngram


def _packed_lm(text: str, where: str) -> str:
    """An n-gram model that people put into a folder, packed or as an ARPA file has it, in its packed form."""
    return parse_lm(text, where).to_text()


def _keep_lm(text: str, _where: str, _extras: Mapping[str, Any]) -> str:
    """It is read when it is needed, see ``Language.lm``."""
    return text


def _calibrator_text(model: RecognizerModel) -> str:
    calibrator = model.language.calibrator
    return json.dumps(calibrator.to_dict(), indent=1) + "\n" if calibrator else ""


def _parse_calibrator(text: str, where: str, _extras: Mapping[str, Any]) -> Calibrator:
    return Calibrator.from_dict(parsed_json(text, where, "a calibrator"), where)


RECOGNIZER: ModelKind[Settings, RecognizerModel] = ModelKind(
    name=RECOGNIZER_NAME,
    title="recognizer",
    settings=Settings,
    build=build,
    train="recitative average EXP",
    export="recitative export",
    describe=describe,
    task="recitative.asr.task",
    data=RecognizerData,
    graphs=lambda settings, extras: feature_graph(settings.features.dim, len(extras["tokens"])),
    runner=_run,
    endpoint=Endpoint("/v1/audio/transcriptions", _about, stream=lambda recognizer, *, rules: recognizer.stream(rules)),
    extras={
        "tokens": Extra("tokens.txt", _tokens_text, _parse_tokens),
        "lexicon": Extra("lexicon.txt", _lexicon_text, _parse_lexicon, optional=True),
        "lm": Extra("lm.ngram", _lm_text, _keep_lm, optional=True, edited=_packed_lm, older="lm.arpa"),
        "calibrator": Extra("confidence.json", _calibrator_text, _parse_calibrator, optional=True),
    },
    weights="trained",
    distributed=True,
    saved_by_training=False,
)
