"""A classifier of recordings: normalization, front end, the recurrent core, pooling over time, log probabilities.

The label of a recording is that of the last frame. Every earlier frame has the label that the recording would have if
it ended there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from recitative.classification.kind import CLASSIFIER, ClassifierNetworkSettings, ClassifierSettings
from recitative.model.kind import ModelKind
from recitative.nn.normalize import normalization_stages
from recitative.nn.pooling import AttentionPooling, LastFrame, MeanPooling, RecentMean
from recitative.nn.ragged import last_frames
from recitative.nn.recurrent import RecurrentStack
from recitative.nn.stages import Chain, Dropout, LogProbs, add_front_end
from recitative.stage import Padded, run_whole


@dataclass(frozen=True)
class ClassifierModel:
    """A network with the names of its outputs."""

    kind: ClassVar[ModelKind] = CLASSIFIER
    settings: ClassifierSettings
    labels: tuple[str, ...]
    network: Chain

    def log_probs(self, features: Padded[Tensor]) -> Tensor:
        """Whole inputs (N, T, C) -> (N, K), of each label; every row must be long enough for one output frame."""
        return last_frames(run_whole(self.network, features))


def build_classifier(settings: ClassifierNetworkSettings, feature_dim: int, num_labels: int) -> Chain:
    """The network as one stage: features (N, T, feature_dim) -> log probabilities (N, T', num_labels)."""
    stages = normalization_stages(settings.cmvn, feature_dim)
    width = add_front_end(stages, settings.front_end, feature_dim)
    core = RecurrentStack(width, settings.recurrent)
    stages["core"] = core
    if settings.dropout:
        stages["dropout"] = Dropout(core.output_width, settings.dropout)
    stages["pooling"] = _pooling(settings, core.output_width)
    stages["head"] = LogProbs(core.output_width, num_labels)
    return Chain(stages)


def _pooling(settings: ClassifierNetworkSettings, width: int) -> nn.Module:
    match settings.pooling:
        case "last":
            return LastFrame(width)
        case "mean":
            return MeanPooling(width)
        case "attention":
            return AttentionPooling(width)
        case "recent":
            return RecentMean(width, settings.pooling_frames)


def new_classifier(settings: ClassifierSettings, labels: tuple[str, ...]) -> ClassifierModel:
    """A classifier with random weights (from torch's generator)."""
    return ClassifierModel(settings, labels, build_classifier(settings.model, settings.features.dim, len(labels)))
