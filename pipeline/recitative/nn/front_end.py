"""Stages between features and the recurrent core: normalization, and a front end that reduces the frame rate."""

from __future__ import annotations

from typing import Literal

from torch import nn

from recitative.config import FrontEndSettings
from recitative.nn.normalize import Normalize, RunningMean, UtteranceMean
from recitative.nn.stages import Project
from recitative.nn.window import CausalConv, FrameStack


def normalization_stages(cmvn: Literal["global", "utterance", "running"], feature_dim: int) -> dict[str, nn.Module]:
    """Normalization by the corpus, followed by normalization of the recording as ``cmvn`` says."""
    stages: dict[str, nn.Module] = {"normalise": Normalize(feature_dim)}
    match cmvn:
        case "utterance":
            stages["adapt"] = UtteranceMean(feature_dim)
        case "running":
            stages["adapt"] = RunningMean(feature_dim)
        case "global":
            pass
    return stages


def add_front_end(stages: dict[str, nn.Module], settings: FrontEndSettings, feature_dim: int) -> int:
    """Append the front end to ``stages``; returns its output width."""
    if settings.kind == "stack":
        stack = FrameStack(feature_dim, settings.window, settings.stride)
        stages["stack"] = stack
        width = stack.output_width
    else:
        width, planes, channels = feature_dim, 1, feature_dim
        for i, (output_planes, stride) in enumerate(zip(settings.channels, settings.conv_strides, strict=True)):
            conv = CausalConv(planes, channels, output_planes, stride, norm=settings.norm)
            stages[f"conv{i}"] = conv
            width, planes, channels = conv.output_width, output_planes, (channels + 1) // 2
    if settings.width:
        stages["project"] = Project(width, settings.width)
        width = settings.width
    return width
