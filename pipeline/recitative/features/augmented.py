"""Features of utterances for training, with all augmentation of samples and of features."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from recitative.audio.files import Samples
from recitative.config import SILENCE, AudioTaskSettings
from recitative.data.frames import num_frames
from recitative.data.tables import Utterance
from recitative.errors import UsageError
from recitative.features.augment import (
    Augmenter,
    VocalTractWarp,
    add_babble,
    add_noise_floor,
    add_reverberation_tail,
    change_speed,
    equalize,
    limit_to_telephone_band,
    pad_silence,
    spec_augment,
    time_stretch,
    trim_silence,
)
from recitative.features.extraction import read_utterance
from recitative.features.frontend import FeatureExtractor
from recitative.stage import Array


class AugmentedFeatures:
    """Augmented features of utterances, by number.

    Audio is decoded once, before worker processes start, if all of it fits into ``train.cache_mb``: they share it. With
    ``train.cache_features``, features of each speed are cached instead; see ``FeatureCache``.
    """

    def __init__(
        self, utterances: Sequence[Utterance], seconds: Array, settings: AudioTaskSettings, mean: Array
    ) -> None:
        """seconds (N,): of each utterance; mean (C,): the value of SpecAugment's masks.

        Raises UsageError for features that cannot be cached.
        """
        self._utterances = utterances
        self._settings = settings
        self._mean = mean
        self._augmenter = Augmenter(settings.augment, settings.features.sample_rate)
        self._extractor = FeatureExtractor(settings.features)
        self._seconds = seconds
        self._vocal_tract = VocalTractWarp(settings.features) if settings.augment.vtlp != (1.0, 1.0) else None
        self._hz = VocalTractWarp(settings.features).hz if settings.augment.telephone_probability else None
        self._kept = FeatureCache(utterances, settings) if settings.train.cache_features else None
        bytes_in_all = float(seconds.sum()) * settings.features.sample_rate * np.dtype(np.float32).itemsize
        fits = bytes_in_all <= settings.train.cache_mb * 1e6 and not self._kept
        self._samples: list[Samples] | None = [read_utterance(u) for u in utterances] if fits else None

    def draw(self, number: int, speed: float, rng: np.random.Generator) -> tuple[Array, Array]:
        """One utterance at a speed: features (T, C) without SpecAugment's masks, and with them.

        All other randomness comes from ``rng``: equal generators give equal features.
        """
        return self._with_channel(self._spoken(number, speed, rng), rng)

    def draw_after(
        self, number: int, speed: float, others: Iterator[tuple[int, float]], frames: int, rng: np.random.Generator
    ) -> Array:
        """One utterance in a stream, with SpecAugment's masks: (frames + T, C).

        It is preceded by the last ``frames`` frames of as many ``others`` (utterances and their speeds) as needed, with
        the same channel augmentation. Each must have a frame.
        """
        parts, missing = [self._spoken(number, speed, rng)], frames
        while missing > 0:
            before = self._spoken(*next(others), rng)[-missing:]
            parts.insert(0, before)
            missing -= len(before)
        return self._with_channel(np.concatenate(parts), rng)[1]

    def _spoken(self, number: int, speed: float, rng: np.random.Generator) -> Array:
        """One utterance, trimmed and padded with silence."""
        features = self._at_speed(number, speed, rng)
        if self._vocal_tract:
            features = self._vocal_tract.warp(features, rng.uniform(*self._settings.augment.vtlp))
        if self._settings.augment.cut_db:
            features = trim_silence(features, rng.uniform(*self._settings.augment.cut_db))
        if quiet_s := self._settings.augment.quiet_s:
            features = pad_silence(features, round(quiet_s * 1000 / self._settings.features.frame_shift_ms), rng)
        return features

    def _at_speed(self, number: int, speed: float, rng: np.random.Generator) -> Array:
        of_samples = 1.0 if self._settings.augment.speed_kind == "frames" else speed
        if self._kept:
            features = self._kept.draw(number, of_samples, rng)
        else:
            samples = self._samples[number] if self._samples else read_utterance(self._utterances[number])
            features = self._extractor.compute(self._augmenter.perturb(samples, of_samples, rng))
        if of_samples == speed or not len(features):
            return features
        length = int(self._seconds[number] / speed * self._settings.features.sample_rate)
        return time_stretch(features, max(num_frames(length, self._settings.features), 1))

    def _with_channel(self, features: Array, rng: np.random.Generator) -> tuple[Array, Array]:
        """Augment the recording channel; without and with SpecAugment's masks."""
        augment = self._settings.augment
        if augment.room_probability and rng.random() < augment.room_probability:
            rt60_s, drr_db = rng.uniform(*augment.room_rt60_s), rng.uniform(*augment.room_drr_db)
            features = add_reverberation_tail(features, rt60_s, drr_db, self._settings.features.frame_shift_ms / 1000)
        if augment.babble_probability and rng.random() < augment.babble_probability:
            numbers = rng.integers(len(self._utterances), size=rng.integers(1, 4)).tolist()
            others = [other for n in numbers if len(other := self._at_speed(n, 1.0, rng))]
            if others:
                features = add_babble(features, others, rng.uniform(*augment.babble_snr_db), rng)
        if augment.colour_db:
            features = equalize(features, augment.colour_db, rng)
        if augment.hiss_snr_db:
            features = add_noise_floor(features, rng.uniform(*augment.hiss_snr_db), rng)
        if self._hz is not None and rng.random() < augment.telephone_probability:
            features = limit_to_telephone_band(features, self._hz, self._settings.features.log_floor, rng)
        return features, spec_augment(features, augment.spec_augment, rng, self._mean)


class FeatureCache:
    """Log-mel features, computed once per recording and speed, to which the volume is applied.

    A gain g of the samples adds 2 ln g to every log power: equal to features of the louder samples but for rounding. It
    pays if extraction takes longer than the network, such as for 44.1 kHz audio and a small network.
    """

    def __init__(self, utterances: Sequence[Utterance], settings: AudioTaskSettings) -> None:
        """Raises UsageError for settings where the volume is not a constant added to the features."""
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
