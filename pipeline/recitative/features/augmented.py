"""Utterances as training hears them: audio, speed, reverberation, noise, volume, features, vocal tract, masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from recitative.audio.files import Samples
from recitative.config import AudioTaskSettings
from recitative.data.utterance import Utterance
from recitative.features.augment import Augmenter, spec_augment
from recitative.features.frontend import FeatureExtractor
from recitative.features.utterances import read_utterance
from recitative.features.vtlp import VocalTractWarp

Array = npt.NDArray[Any]


class AugmentedFeatures:
    """Features of utterances by their numbers, each time in another dress.

    Audio is decoded once, before worker processes start, if all of it fits in ``train.cache_mb``: they share it.
    """

    def __init__(
        self, utterances: Sequence[Utterance], seconds: Array, settings: AudioTaskSettings, mean: Array
    ) -> None:
        """seconds (N,): of each utterance; mean (C,): what SpecAugment masks with, each channel's mean."""
        self._utterances = utterances
        self._settings = settings
        self._mean = mean
        self._augmenter = Augmenter(settings.augment, settings.features.sample_rate)
        self._vocal_tract = VocalTractWarp(settings.features) if settings.augment.vtlp != (1.0, 1.0) else None
        bytes_in_all = float(seconds.sum()) * settings.features.sample_rate * np.dtype(np.float32).itemsize
        fits = bytes_in_all <= settings.train.cache_mb * 1e6
        self._samples: list[Samples] | None = [read_utterance(u) for u in utterances] if fits else None

    def draw(self, number: int, speed: float, rng: np.random.Generator) -> tuple[Array, Array]:
        """One utterance at a speed: features (T, C) without SpecAugment's masks, and with them.

        Everything else that is random comes from ``rng``: the same generator, the same features.
        """
        samples = self._samples[number] if self._samples else read_utterance(self._utterances[number])
        features = FeatureExtractor(self._settings.features).compute(self._augmenter.perturb(samples, speed, rng))
        if self._vocal_tract:
            features = self._vocal_tract.warp(features, rng.uniform(*self._settings.augment.vtlp))
        return features, spec_augment(features, self._settings.augment.spec_augment, rng, self._mean)
