"""The kinds 'recognizer', speech to text, and 'g2p', letter-to-sound models (grapheme to phoneme)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from recitative.config import RecognizerData, RecurrentSettings, Section, Settings, TextTrainSettings, TrainingData
from recitative.decoding.hypotheses import Calibrator
from recitative.errors import DataError, counted
from recitative.features.frontend import FeatureExtractor
from recitative.lm.ngram import NgramModel, StoredNgram, parse_lm, read_lm
from recitative.model.kind import (
    RECOGNIZER_NAME,
    TOKENS,
    Endpoint,
    Extra,
    ModelKind,
    ModelMetadata,
    feature_graph,
    token_graph,
)
from recitative.pretrained import name_of
from recitative.reading import checked, parsed_json
from recitative.stage import Array, Stage
from recitative.text.tokens import Lexicon, TokenTable

if TYPE_CHECKING:
    from recitative.asr.pronunciation import Pronouncer
    from recitative.asr.recognizer import Recognizer


@dataclass(frozen=True)
class Language:
    """What a recognizer knows beside its network.

    lexicon:    the words that it writes; None = any
    ngram:      the language model; None = none
    calibrator: from a word's evidence to its confidence; None = the posterior
    priors:     ln of the mean probability of each token in speech, (V,); None = unknown
    """

    lexicon: Lexicon | None = None
    ngram: StoredNgram | None = None
    calibrator: Calibrator | None = None
    priors: tuple[float, ...] | None = None

    @property
    def lm(self) -> NgramModel | None:
        """Raises DataError if it is damaged."""
        return self.ngram.model if self.ngram else None

    def with_lm(self, path: Path) -> Language:
        """Raises DataError for a file that isn't a whole n-gram model, ARPA or packed."""
        return replace(self, ngram=StoredNgram(read_lm(path).to_text()))


NO_LANGUAGE = Language()


def language_of(extras: Mapping[str, Any]) -> Language:
    """What a model file has beside the network, from its extras."""
    return Language(extras["lexicon"], extras["lm"], extras["calibrator"], extras["priors"])


def _parse_priors(text: str, where: str, tokens: TokenTable) -> tuple[float, ...]:
    remedy = "make them with 'recitative tune'"
    found = checked(tuple[float, ...], parsed_json(text, where, "priors"), where, "a list of numbers", remedy)
    if len(found) != len(tokens):
        raise DataError(where, f"has {counted(len(found), 'prior')}", f"{len(tokens)}, one for each token", remedy)
    return found


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
        "latency": f"{1000 * ahead / rate:.4g} ms (algorithmic)" if streams else "the whole recording",
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
        parts.append(f"lexicon of {counted(len(language.lexicon), 'word')}")
    if language.lm:
        parts.append(f"{language.lm.order}-gram, weight {decode.lm_weight:g}, word bonus {decode.word_bonus:g}")
    if decode.prior_weight and language.priors is not None:
        parts.append(f"prior weight {decode.prior_weight:g}")
    if language.calibrator:
        parts.append("calibrated confidences")
    return f"beam of {decode.beam}: {', '.join(parts)}" if parts else decode.kind


RECOGNIZER = ModelKind(
    name=RECOGNIZER_NAME,
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
            lambda stored: stored.text,
            lambda text, where: StoredNgram(text, where),
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
        "priors": Extra(
            "priors.json",
            lambda priors: json.dumps(priors) + "\n",
            _parse_priors,
            needs=("tokens",),
            optional=True,
        ),
    },
    int8="recitative.asr.tuning:RecognizerCheck",
    endpoint=Endpoint("/v1/audio/transcriptions", _about, stream=lambda recognizer, *, rules: recognizer.stream(rules)),
    weights="trained",
    distributed=True,
    saved_by_training=False,
)


class G2PCoreSettings(RecurrentSettings):
    """The recurrent core. The pronunciation of a letter depends on both sides."""

    direction: Literal["bidirectional"] = "bidirectional"
    layers: int = Field(2, ge=1)
    hidden: int = Field(192, ge=1)
    dropout: float = Field(0.2, ge=0, lt=1)


class G2PNetworkSettings(Section):
    embedding: int = Field(64, ge=1)  # embedding width of letters
    frames_per_letter: int = Field(3, ge=1)  # CTC frames; an upper bound for the phones of a word
    recurrent: G2PCoreSettings = G2PCoreSettings()


class G2PTrainSettings(TextTrainSettings):
    """Training settings with other defaults."""

    epochs: int = Field(8, ge=1)
    learning_rate: float = Field(2e-3, gt=0)  # peak
    warmup_steps: int = Field(300, ge=0)
    patience: int = Field(0, ge=0)
    ema: float = Field(0.999, ge=0, lt=1)


class G2PSettings(Section):
    """Settings of a letter-to-sound model."""

    kind: Literal["g2p"] = "g2p"  # identifies the kind of model
    batch_words: int = Field(128, ge=1)
    held_out: int = Field(10, ge=2)  # one of this many words is held out to score the model
    model: G2PNetworkSettings = G2PNetworkSettings()
    train: G2PTrainSettings = G2PTrainSettings()


class G2PData(TrainingData):
    train: Path  # a pronunciation dictionary, such as CMU's cmudict.dict; some of its words are held out
    lower: bool = False  # read its words in lower case
    keep_stress: bool = False  # learn the stress marks too


def _describe_g2p(metadata: ModelMetadata) -> dict[str, str]:
    letters, phones = metadata.extras["letters"], metadata.extras["phones"]
    return {
        "kind": "letter-to-sound model",
        "letters": " ".join(letters.symbols[1:]),
        "phones": " ".join(phones.symbols[1:]),
    }


def _run_g2p(stage: Stage[Array], _settings: G2PSettings, letters: TokenTable, phones: TokenTable) -> Pronouncer:
    from recitative.asr.pronunciation import Pronouncer

    return Pronouncer(stage, letters, phones)


G2P = ModelKind(
    name="g2p",
    settings=G2PSettings,
    data=G2PData,
    build="recitative.asr.g2p_task:new_g2p",
    task="recitative.asr.g2p_task:prepare",
    runner=_run_g2p,
    graphs=lambda settings, extras: token_graph(settings.model.frames_per_letter * len(extras["phones"])),
    describe=_describe_g2p,
    extras={"letters": replace(TOKENS, file="letters.txt"), "phones": TOKENS},
    writer="recitative.asr.g2p_task:write_g2p",
    int8="weights",
)
