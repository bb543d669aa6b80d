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
from recitative.model.kind import RECOGNIZER_NAME, TOKENS, Endpoint, Extra, ModelKind, feature_graph
from recitative.pretrained import name_of
from recitative.reading import parsed_json
from recitative.score.calibration import Calibrator
from recitative.stage import Array, Stage
from recitative.text.lexicon import Lexicon

if TYPE_CHECKING:
    from recitative.asr.recognizer import Recognizer


def language_of(extras: Mapping[str, Any]) -> Language:
    """Lexicon, language model and calibrator, from the extras of a model file."""
    return Language(extras["lexicon"], extras["lm"] or "", extras["calibrator"])


def describe(metadata: ModelMetadata) -> dict[str, str]:
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


def _run(stage: Stage[Array], settings: Settings, **extras: Any) -> Recognizer:
    from recitative.asr.recognizer import Recognizer
    from recitative.asr.stream import Transcriber

    metadata = getattr(stage, "metadata", None)  # of an exported file
    name = name_of(metadata.where) if metadata else ""
    return Recognizer(Transcriber(stage, settings, extras["tokens"], language_of(extras)), name)


def _about(recognizer: Recognizer) -> dict[str, Any]:
    latency_ms = recognizer.latency_ms
    return {"streams": latency_ms is not None, "sample_rate": recognizer.sample_rate, "latency_ms": latency_ms}


def _decoding(settings: Settings, language: Language) -> str:
    """Decoder, lexicon and language model."""
    decode, parts = settings.decode, []
    if language.lexicon:
        parts.append(f"lexicon of {len(language.lexicon)} words")
    if language.lm:
        parts.append(f"{language.lm.order}-gram, weight {decode.lm_weight:g}, word bonus {decode.word_bonus:g}")
    if language.calibrator:
        parts.append("calibrated confidences")
    return f"beam of {decode.beam}: {', '.join(parts)}" if parts else decode.kind


RECOGNIZER = ModelKind(
    name=RECOGNIZER_NAME,
    title="recognizer",
    settings=Settings,
    data=RecognizerData,
    build="recitative.asr.network:build",
    task="recitative.asr.task:prepare",
    runner=_run,
    graphs=lambda settings, extras: feature_graph(settings.features.dim, len(extras["tokens"])),
    describe=describe,
    extras={
        "tokens": TOKENS,
        "lexicon": Extra("lexicon.txt", Lexicon.to_text, Lexicon.parse, needs=("tokens",), optional=True),
        "lm": Extra(
            "lm.ngram",
            str,
            lambda text, where: text,  # parsed when it is used, see ``Language.lm``
            optional=True,
            edited=lambda text, where: parse_lm(text, where).to_text(),  # also from an ARPA file
            older="lm.arpa",
        ),
        "calibrator": Extra(
            "confidence.json",
            lambda calibrator: json.dumps(calibrator.to_dict(), indent=1) + "\n",
            lambda text, where: Calibrator.from_dict(parsed_json(text, where, "a calibrator"), where),
            optional=True,
        ),
    },
    int8="recitative.asr.export:RecognizerCheck",
    endpoint=Endpoint("/v1/audio/transcriptions", _about, stream=lambda recognizer, *, rules: recognizer.stream(rules)),
    train="recitative average EXP",
    weights="trained",
    distributed=True,
    saved_by_training=False,
)
