"""A CTC recogniser: normalisation, front end, the recurrent core, look-ahead, log probabilities over tokens.

An attention decoder may be trained beside it; both hear the encoder, which is every stage but the last.
"""

from __future__ import annotations

from typing import cast

from recitative.asr.attention_decoder import AttentionDecoder
from recitative.config import ModelSettings
from recitative.nn.front_end import add_front_end, normalisation
from recitative.nn.recurrent import RecurrentStack
from recitative.nn.stages import Chain, Dropout, LogProbs
from recitative.nn.window import RowConv


def build_recogniser(settings: ModelSettings, feature_dim: int, num_tokens: int) -> Chain:
    """The network as one stage: features (N, T, feature_dim) -> log probabilities (N, T', num_tokens)."""
    stages = normalisation(settings.cmvn, feature_dim)
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
