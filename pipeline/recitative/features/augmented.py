"""Utterances as training hears them: audio, speed, reverberation, noise, volume, features, vocal tract, masks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from recitative.audio.files import Samples
from recitative.config import SILENCE, AudioTaskSettings
from recitative.data.frames import num_frames
from recitative.data.utterance import Utterance
from recitative.errors import UsageError
from recitative.features.augment import Augmenter, change_speed, spec_augment
from recitative.features.frontend import FeatureExtractor
from recitative.features.microphone import babble, colour, cut_close, hiss, room, stretch, surround, telephone
from recitative.features.utterances import read_utterance
from recitative.features.vtlp import VocalTractWarp

Array = npt.NDArray[Any]


class AugmentedFeatures:
    """Features of utterances by their numbers, each time in another dress.

    Audio is decoded once, before worker processes start, if all of it fits in ``train.cache_mb``: they share it. With
    ``train.cache_features`` it is features that are kept, of each speed; see ``KeptFeatures``.
    """

    def __init__(
        self, utterances: Sequence[Utterance], seconds: Array, settings: AudioTaskSettings, mean: Array
    ) -> None:
        """seconds (N,): of each utterance; mean (C,): what SpecAugment masks with, each channel's mean.

        Raises UsageError for features that cannot be kept.
        """
        self._utterances = utterances
        self._settings = settings
        self._mean = mean
        self._augmenter = Augmenter(settings.augment, settings.features.sample_rate)
        self._seconds = seconds
        self._vocal_tract = VocalTractWarp(settings.features) if settings.augment.vtlp != (1.0, 1.0) else None
        self._hz = VocalTractWarp(settings.features).hz if settings.augment.telephone_probability else None
        self._kept = KeptFeatures(utterances, settings) if settings.train.cache_features else None
        bytes_in_all = float(seconds.sum()) * settings.features.sample_rate * np.dtype(np.float32).itemsize
        fits = bytes_in_all <= settings.train.cache_mb * 1e6 and not self._kept
        self._samples: list[Samples] | None = [read_utterance(u) for u in utterances] if fits else None

    def draw(self, number: int, speed: float, rng: np.random.Generator) -> tuple[Array, Array]:
        """One utterance at a speed: features (T, C) without SpecAugment's masks, and with them.

        Everything else that is random comes from ``rng``: the same generator, the same features.
        """
        return self._recorded_elsewhere(self._said(number, speed, rng), rng)

    def draw_after(
        self, number: int, speed: float, others: Iterator[tuple[int, float]], frames: int, rng: np.random.Generator
    ) -> Array:
        """One utterance as it comes in a stream, with SpecAugment's masks: (frames + T, C).

        Before it are the last ``frames`` frames of as many ``others``, utterances with their speeds, as that takes, all
        heard by the same microphone. Each must have a frame.
        """
        parts, missing = [self._said(number, speed, rng)], frames
        while missing > 0:
            before = self._said(*next(others), rng)[-missing:]
            parts.insert(0, before)
            missing -= len(before)
        return self._recorded_elsewhere(np.concatenate(parts), rng)[1]

    def _said(self, number: int, speed: float, rng: np.random.Generator) -> Array:
        """One utterance as it was cut, and the quiet around it."""
        features = self._at_speed(number, speed, rng)
        if self._vocal_tract:
            features = self._vocal_tract.warp(features, rng.uniform(*self._settings.augment.vtlp))
        if self._settings.augment.cut_db:
            features = cut_close(features, rng.uniform(*self._settings.augment.cut_db))
        if quiet_s := self._settings.augment.quiet_s:
            features = surround(features, round(quiet_s * 1000 / self._settings.features.frame_shift_ms), rng)
        return features

    def _at_speed(self, number: int, speed: float, rng: np.random.Generator) -> Array:
        of_samples = 1.0 if self._settings.augment.speed_kind == "frames" else speed
        features = self._kept.draw(number, of_samples, rng) if self._kept else self._perturbed(number, of_samples, rng)
        if of_samples == speed or not len(features):
            return features
        samples = int(self._seconds[number] / speed * self._settings.features.sample_rate)
        return stretch(features, max(num_frames(samples, self._settings.features), 1))

    def _recorded_elsewhere(self, features: Array, rng: np.random.Generator) -> tuple[Array, Array]:
        """Without and with SpecAugment's masks."""
        augment = self._settings.augment
        if augment.room_probability and rng.random() < augment.room_probability:
            rt60_s, drr_db = rng.uniform(*augment.room_rt60_s), rng.uniform(*augment.room_drr_db)
            features = room(features, rt60_s, drr_db, self._settings.features.frame_shift_ms / 1000)
        if augment.babble_probability and rng.random() < augment.babble_probability:
            numbers = rng.integers(len(self._utterances), size=rng.integers(1, 4)).tolist()
            others = [other for n in numbers if len(other := self._at_speed(n, 1.0, rng))]
            if others:
                features = babble(features, others, rng.uniform(*augment.babble_snr_db), rng)
        if augment.colour_db:
            features = colour(features, augment.colour_db, rng)
        if augment.hiss_snr_db:
            features = hiss(features, rng.uniform(*augment.hiss_snr_db), rng)
        if self._hz is not None and rng.random() < augment.telephone_probability:
            features = telephone(features, self._hz, self._settings.features.log_floor, rng)
        return features, spec_augment(features, augment.spec_augment, rng, self._mean)

    def _perturbed(self, number: int, speed: float, rng: np.random.Generator) -> Array:
        samples = self._samples[number] if self._samples else read_utterance(self._utterances[number])
        return FeatureExtractor(self._settings.features).compute(self._augmenter.perturb(samples, speed, rng))


class KeptFeatures:
    """Log-mel features that are worked out once for each recording and speed; the volume changes in them.

    A gain g of the samples adds 2 ln g to every logarithm of a power: the same as of the louder samples, but for
    rounding. It pays where extraction takes longer than the network, as for seconds of 44.1 kHz and a small one.
    """

    def __init__(self, utterances: Sequence[Utterance], settings: AudioTaskSettings) -> None:
        """Raises UsageError for settings under which features at another volume are no sum."""
        features, augment = settings.features, settings.augment
        if features.kind != "fbank" or features.delta_order or augment.noise_dir or augment.reverb_dir:
            raise UsageError(
                "train.cache_features=true needs features.kind=fbank without deltas, and no augment.noise_dir or "
                "augment.reverb_dir, which are drawn anew each time; set it to false"
            )
        self._utterances = utterances
        self._volume_db = augment.volume_db
        self._floor = np.float32(features.log_floor)
        self._extractor = FeatureExtractor(features.model_copy(update={"log_floor": SILENCE}))
        self._kept: dict[tuple[int, float], Array] = {}

    def draw(self, number: int, speed: float, rng: np.random.Generator) -> Array:
        """(T, C) float32 of one utterance at a speed, at a volume from ``rng``."""
        if (number, speed) not in self._kept:
            samples = read_utterance(self._utterances[number])
            sped = change_speed(samples, speed, self._extractor.settings.sample_rate)
            self._kept[number, speed] = self._extractor.compute(sped)
        gain = np.float32(rng.uniform(*self._volume_db) * np.log(10) / 10)
        louder: Array = np.maximum(self._kept[number, speed] + gain, self._floor)
        return louder
