"""A classifier of recordings: normalisation, front end, the recurrent core, pooling over time, log probabilities.

The label of a recording is what the last frame says; every earlier frame says what it would be if the recording ended
there. Its folder:

weights.safetensors   every parameter and buffer by name, normalisation included
settings.yaml         the resolved settings of the run, features included
labels.json           the labels in the order of the outputs

Nothing is unpickled.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from recitative.config import dump_settings
from recitative.errors import DataError
from recitative.models.classifier_settings import ClassifierNetworkSettings, ClassifierSettings
from recitative.models.front_end import add_front_end, normalisation
from recitative.models.weights import (
    SETTINGS,
    WEIGHTS,
    load_kind,
    load_weights,
    require_files,
    save_weights,
    writing_model,
)
from recitative.nn.chain import Chain
from recitative.nn.framewise import Dropout, LogProbs
from recitative.nn.pooling import AttentionPooling, LastFrame, MeanPooling, RecentMean
from recitative.nn.ragged import last_frames
from recitative.nn.recurrent import RecurrentStack
from recitative.reading import read_json
from recitative.stage import Padded

REMEDY = "make one with 'recitative classifier train'"
LABELS = "labels.json"


@dataclass(frozen=True)
class Classifier:
    """A network with the names of its outputs."""

    settings: ClassifierSettings
    labels: tuple[str, ...]
    network: Chain

    def log_probs(self, features: Padded[Tensor]) -> Tensor:
        """Whole inputs (N, T, C) -> (N, K), of each label; every row must be long enough for one output frame."""
        state = self.network.initial_state(len(features.lengths))
        return last_frames(self.network.step(features, state, last=True)[0])


def build_classifier(settings: ClassifierNetworkSettings, feature_dim: int, num_labels: int) -> Chain:
    """The network as one stage: features (N, T, feature_dim) -> log probabilities (N, T', num_labels)."""
    stages = normalisation(settings.cmvn, feature_dim)
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


def new_classifier(settings: ClassifierSettings, labels: tuple[str, ...]) -> Classifier:
    """A classifier with random weights (from torch's generator)."""
    return Classifier(settings, labels, build_classifier(settings.model, settings.features.dim, len(labels)))


def save_classifier(classifier: Classifier, folder: Path) -> None:
    """Write the folder; atomic: an older model stays whole until the new one is."""
    with writing_model(folder) as partial:
        save_weights(classifier.network, partial)
        (partial / SETTINGS).write_text(dump_settings(classifier.settings), encoding="utf-8")
        (partial / LABELS).write_text(
            json.dumps(classifier.labels, ensure_ascii=False, indent=1) + "\n", encoding="utf-8"
        )


def load_classifier(folder: Path) -> Classifier:
    """Read a model folder, in evaluation mode. Raises DataError for anything but a whole classifier."""
    require_files(folder, "a classifier's folder", REMEDY, (WEIGHTS, SETTINGS, LABELS))
    settings = load_kind(ClassifierSettings, folder / SETTINGS, "is not a classifier's", REMEDY)
    classifier = new_classifier(settings, _load_labels(folder / LABELS))
    load_weights(classifier.network, folder, REMEDY)
    return classifier


def _load_labels(path: Path) -> tuple[str, ...]:
    labels = read_json(path, "a list of two or more names", REMEDY)
    if not (isinstance(labels, list) and len(labels) > 1 and all(isinstance(label, str) for label in labels)):
        raise DataError(str(path), "holds no labels", "a list of two or more names", REMEDY)
    return tuple(labels)
