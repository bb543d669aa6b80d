"""A CTC recognizer: normalization, front end, the recurrent core, look-ahead, log probabilities over tokens.

An attention decoder (``nn.attention``) may be trained together with it. Both read the encoder, which is every stage but
the last.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, cast

from torch import Tensor, nn

from recitative.asr.decoding import NO_OPTIONS, DecodingOptions
from recitative.asr.kind import NO_LANGUAGE, RECOGNIZER, Language, language_of
from recitative.asr.stream import Transcriber
from recitative.config import ModelSettings, Settings
from recitative.model.folder import TorchStage
from recitative.model.kind import ModelKind
from recitative.nn.attention import AttentionDecoder
from recitative.nn.recurrent import RecurrentStack
from recitative.nn.stages import Chain, Dropout, LogProbs, RowConv, add_front_end, normalization_stages
from recitative.score.calibration import Calibrator
from recitative.stage import Padded, run_whole
from recitative.text.lexicon import Lexicon, Spelling, spelling_of
from recitative.text.tokens import TokenTable


@dataclass(frozen=True)
class RecognizerModel:
    """A network with its tokens and language; ``decoder`` is for training and rescoring."""

    kind: ClassVar[ModelKind] = RECOGNIZER
    settings: Settings
    tokens: TokenTable
    network: Chain
    decoder: AttentionDecoder | None = None
    language: Language = NO_LANGUAGE

    @property
    def lexicon(self) -> Lexicon | None:
        return self.language.lexicon

    @property
    def lm(self) -> str:
        """The language model as text."""
        return self.language.ngram

    @property
    def calibrator(self) -> Calibrator | None:
        return self.language.calibrator

    @property
    def priors(self) -> tuple[float, ...] | None:
        return self.language.priors

    @property
    def spelling(self) -> Spelling:
        """The spelling of transcripts in labels."""
        return spelling_of(self.tokens, self.language.lexicon)

    @property
    def trained(self) -> nn.Module:
        """The weights of network and decoder as one module, which is trained, averaged and saved."""
        if self.decoder is None:
            return self.network
        return nn.ModuleDict({"stages": self.network.stages, "decoder": self.decoder})

    @property
    def core(self) -> RecurrentStack:
        """The network's recurrent core."""
        return cast(RecurrentStack, self.network.stages["core"])

    def encode(self, features: Padded[Tensor]) -> Padded[Tensor]:
        """Whole inputs (N, T, C) -> the encoder's output (N, T', H), which output layer and decoder read."""
        return run_whole(encoder(self.network), features)

    def log_probs(self, encoded: Padded[Tensor]) -> Padded[Tensor]:
        """Encoder's output (N, T', H) -> log probabilities (N, T', V) of the whole input."""
        return run_whole(output_layer(self.network), encoded)


def build_recognizer(settings: ModelSettings, feature_dim: int, num_tokens: int) -> Chain:
    """The network as one stage: features (N, T, feature_dim) -> log probabilities (N, T', num_tokens)."""
    stages = normalization_stages(settings.cmvn, feature_dim)
    width = add_front_end(stages, settings.front_end, feature_dim)
    if settings.input_dropout:
        stages["dropout"] = Dropout(width, settings.input_dropout)
    core = RecurrentStack(width, settings.recurrent)
    stages["core"] = core
    if settings.lookahead_frames:
        stages["ahead"] = RowConv(core.output_width, settings.lookahead_frames)
    stages["head"] = LogProbs(core.output_width, num_tokens, settings.front_end.outputs_per_step)
    return Chain(stages)


def build_decoder(settings: ModelSettings, network: Chain) -> AttentionDecoder | None:
    """The attention decoder on this network's encoder; None where ``attention.weight`` is 0."""
    if not settings.attention.weight:
        return None
    output = output_layer(network).linear
    return AttentionDecoder(output.in_features, output.out_features, settings.attention)


def encoder(network: Chain) -> Chain:
    """The stages before the output layer, the network's own: (N, T, feature_dim) -> (N, T', C)."""
    return Chain({name: stage for name, stage in network.stages.items() if name != "head"})


def output_layer(network: Chain) -> LogProbs:
    return cast(LogProbs, network.stages["head"])


def new_recognizer(settings: Settings, tokens: TokenTable, language: Language | None = None) -> RecognizerModel:
    """A recognizer with random weights (from torch's generator)."""
    network = build_recognizer(settings.model, settings.features.dim, len(tokens))
    return RecognizerModel(settings, tokens, network, build_decoder(settings.model, network), language or NO_LANGUAGE)


def build(settings: Settings, tokens: TokenTable, **language: Any) -> RecognizerModel:
    """The same with the extras of ``RECOGNIZER``."""
    return new_recognizer(settings, tokens, language_of(language))


def new_transcriber(recognizer: RecognizerModel, options: DecodingOptions = NO_OPTIONS) -> Transcriber:
    """All steps from samples to words with a recognizer in memory, run by PyTorch."""
    network = TorchStage(recognizer.network)
    return Transcriber(network, recognizer.settings, recognizer.tokens, recognizer.language, options)
