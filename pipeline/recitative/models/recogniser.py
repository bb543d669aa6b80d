"""A CTC recogniser: normalisation, front end, the recurrent core, look-ahead, log probabilities over tokens.

An attention decoder may be trained beside it; both hear the encoder, which is every stage but the last.
"""

from __future__ import annotations

from typing import cast

from torch import nn

from recitative.config import FrontEndSettings, ModelSettings
from recitative.models.attention_decoder import AttentionDecoder
from recitative.nn.chain import Chain
from recitative.nn.framewise import Dropout, LogProbs, Project
from recitative.nn.normalise import Normalise, RunningMean, UtteranceMean
from recitative.nn.recurrent import RecurrentStack
from recitative.nn.window import CausalConv, FrameStack, RowConv


def build_recogniser(settings: ModelSettings, feature_dim: int, num_tokens: int) -> Chain:
    """The network as one stage: features (N, T, feature_dim) -> log probabilities (N, T', num_tokens)."""
    stages: dict[str, nn.Module] = {"normalise": Normalise(feature_dim)}
    match settings.cmvn:
        case "utterance":
            stages["adapt"] = UtteranceMean(feature_dim)
        case "running":
            stages["adapt"] = RunningMean(feature_dim)
        case "global":
            pass
    width = _add_front_end(stages, settings.front_end, feature_dim)
    if settings.input_dropout:
        stages["dropout"] = Dropout(width, settings.input_dropout)
    core = RecurrentStack(width, settings.recurrent)
    stages["core"] = core
    if settings.lookahead_frames:
        stages["ahead"] = RowConv(core.output_width, settings.lookahead_frames)
    stages["head"] = LogProbs(core.output_width, num_tokens)
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


def front_end_stride(settings: FrontEndSettings) -> int:
    """Feature frames per output frame."""
    return settings.stride if settings.kind == "stack" else int(2 ** len(settings.channels))


def _add_front_end(stages: dict[str, nn.Module], settings: FrontEndSettings, feature_dim: int) -> int:
    if settings.kind == "stack":
        stack = FrameStack(feature_dim, settings.window, settings.stride)
        stages["stack"] = stack
        width = stack.output_width
    else:
        width, planes, channels = feature_dim, 1, feature_dim
        for i, output_planes in enumerate(settings.channels):
            conv = CausalConv(planes, channels, output_planes)
            stages[f"conv{i}"] = conv
            width, planes, channels = conv.output_width, output_planes, (channels + 1) // 2
    if settings.width:
        stages["project"] = Project(width, settings.width)
        width = settings.width
    return width
