"""The labels of recordings of any rate and number of channels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from recitative.audio.blocks import open_blocks
from recitative.audio.files import Samples
from recitative.audio.resample import resample
from recitative.classification.examples import least_samples
from recitative.errors import DataError
from recitative.features.frontend import FeatureExtractor
from recitative.models.classifier import Classifier
from recitative.nn.ragged import pad_features

BLOCK_S = 30.0


@dataclass(frozen=True)
class Guess:
    """A label and how probable the model finds it."""

    label: str
    probability: float


def label_file(classifier: Classifier, path: str | Path) -> list[Guess]:
    """All labels for one recording, likeliest first. Raises DataError for one that is bad or too short."""
    settings = classifier.settings
    samples = _read(path, settings.features.sample_rate)
    least = least_samples(settings, classifier.network)
    if len(samples) < least:
        rate = settings.features.sample_rate
        allowed = f"at least {least / rate:.4g} s, one frame of the network"
        raise DataError(str(path), f"lasts {len(samples) / rate:.4g} s", allowed, "give a longer recording")
    return label_samples(classifier, samples)


@torch.no_grad()
def label_samples(classifier: Classifier, samples: Samples) -> list[Guess]:
    """The same for samples (S,) at the model's rate, long enough for a frame; ``classifier`` in evaluation mode."""
    features = FeatureExtractor(classifier.settings.features).compute(samples)
    probabilities = classifier.log_probs(pad_features([features], features.shape[1]))[0].exp().tolist()
    guesses = [Guess(label, p) for label, p in zip(classifier.labels, probabilities, strict=True)]
    return sorted(guesses, key=lambda guess: -guess.probability)


def _read(path: str | Path, sample_rate: int) -> Samples:
    """The average of all channels at a rate."""
    with open_blocks(path, BLOCK_S) as (info, blocks):
        samples = np.concatenate(list(blocks))
    return resample(samples, info.sample_rate, sample_rate)
