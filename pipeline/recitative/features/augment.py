"""Augmentation of audio and of log-mel features, and the augmented features of utterances for training.

All randomness comes from a ``numpy.random.Generator`` argument. Uses NumPy and soxr, not torchaudio, so that the
processes that prepare batches start without importing torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recitative.audio.files import SUFFIXES, AudioInfo, Samples, inspect, read_audio, resample
from recitative.config import SILENCE, AudioTaskSettings, AugmentSettings, FeatureSettings, SpecAugmentSettings
from recitative.data.tables import Utterance
from recitative.errors import DataError, Problem, UsageError, raise_all
from recitative.features.extraction import read_utterance
from recitative.features.frontend import FeatureExtractor, highest_hz, mel_of
from recitative.stage import Array


class Augmenter:
    """Speed, reverberation, noise and volume, in this order; all but the speed are sampled for every call.

    Samples are float and never clipped or rescaled: after a positive gain or with strong noise they may exceed 1.0,
    which log-power features accept, and the sampled volume applies.
    """

    def __init__(self, settings: AugmentSettings, sample_rate: int) -> None:
        """Reads the headers of all recordings in the folders.

        Raises DataError if a folder is missing, has no recordings, or has one that cannot be read or is not mono.
        """
        self.settings = settings
        self.sample_rate = sample_rate
        self._noises = scan_folder(settings.noise_dir) if settings.noise_dir else ()
        self._impulses = scan_folder(settings.reverb_dir) if settings.reverb_dir else ()

    def perturb(self, samples: Samples, speed: float, rng: np.random.Generator) -> Samples:
        """(S,) float32 -> (S / speed,) float32, a new array.

        The caller draws the speed, to know the length beforehand.
        """
        samples = change_speed(samples, speed, self.sample_rate)
        if self._impulses and rng.random() < self.settings.reverb_probability:
            samples = reverberate(samples, self._random_impulse(rng))
        if self._noises and rng.random() < self.settings.noise_probability:
            noise = self._random_noise(len(samples), rng)
            samples = add_noise(samples, noise, snr_db=rng.uniform(*self.settings.noise_snr_db))
        return change_volume(samples, rng.uniform(*self.settings.volume_db))

    def _random_impulse(self, rng: np.random.Generator) -> Samples:
        impulse = self._impulses[rng.integers(len(self._impulses))]
        samples, rate = read_audio(impulse.path)
        if not samples.any():
            raise DataError(str(impulse.path), "is silent", "an impulse response", "remove it from the folder")
        return resample(samples, rate, self.sample_rate)

    def _random_noise(self, length: int, rng: np.random.Generator) -> Samples:
        """``length`` samples from a random position of a random recording, repeated if it is shorter."""
        noise = self._noises[rng.integers(len(self._noises))]
        rate, available = noise.info.sample_rate, noise.info.num_samples
        wanted = min(int(np.ceil(length * rate / self.sample_rate)) + 1, available)
        start = int(rng.integers(available - wanted + 1))
        samples, _ = read_audio(noise.path, start_s=start / rate, end_s=(start + wanted) / rate)
        samples = resample(samples, rate, self.sample_rate)
        shift = 0 if len(samples) >= length else int(rng.integers(len(samples)))
        return np.resize(np.roll(samples, -shift), length)


def change_speed(samples: Samples, speed: float, sample_rate: int) -> Samples:
    """Play faster (> 1) or slower (< 1): duration / speed, pitch and formants * speed, as ``sox speed`` does."""
    return samples if speed == 1.0 else resample(samples, sample_rate * speed, sample_rate)


def change_volume(samples: Samples, gain_db: float) -> Samples:
    """Multiply by 10^(gain / 20); the samples may exceed 1.0."""
    return samples if gain_db == 0.0 else samples * np.float32(10 ** (gain_db / 20))


def add_noise(samples: Samples, noise: Samples, *, snr_db: float) -> Samples:
    """Both (S,). Scales the noise so that 10 log10(speech power / noise power) = ``snr_db`` over all samples.

    If either is digital silence, there is no such ratio, and the samples are returned unchanged.
    """
    speech_power, noise_power = _power(samples), _power(noise)
    if speech_power == 0.0 or noise_power == 0.0:
        return samples
    gain = np.sqrt(speech_power / noise_power * 10 ** (-snr_db / 10))
    return samples + noise * np.float32(gain)


def reverberate(samples: Samples, impulse: Samples) -> Samples:
    """Convolve (S,) with an impulse response (L,) and cut to (S,) so that the direct path has no delay.

    The direct path is the largest sample of the response: word times do not change, and the tail beyond the end is cut.
    The power of the result equals that of the input, as in Kaldi's ``wav-reverberate --normalize-output``.
    """
    size = 1 << (len(samples) + len(impulse) - 2).bit_length()
    spectrum = np.fft.rfft(samples.astype(np.float64), size) * np.fft.rfft(impulse.astype(np.float64), size)
    delay = int(np.argmax(np.abs(impulse)))
    wet = np.fft.irfft(spectrum, size)[delay : delay + len(samples)]
    wet_power = _power(wet)
    gain = np.sqrt(_power(samples) / wet_power) if wet_power > 0.0 else 0.0
    return np.asarray(wet * gain, np.float32)


def spec_augment(
    features: Array, settings: SpecAugmentSettings, rng: np.random.Generator, fill: float | Array
) -> Array:
    """SpecAugment (Park et al. 2019, without warping): mask channels and frames, (T, C) -> a new (T, C).

    fill: the value of masked elements, one number or one per channel (C,): the CMVN mean, so that it is 0 after
    normalization. Widths are uniform from 0 to the maximum, inclusive; the maximum of time masks is ``time_width`` or
    ``time_fraction`` of T, whichever is less. Positions are uniform. Masks may overlap.
    """
    masked = np.array(features, np.float32)
    frames, channels = masked.shape
    fill = np.broadcast_to(np.asarray(fill, np.float32), (channels,))
    for _ in range(settings.freq_masks):
        band = random_mask(channels, min(settings.freq_width, channels), rng)
        masked[:, band] = fill[band]
    for _ in range(settings.time_masks):
        widest = min(settings.time_width, int(settings.time_fraction * frames))
        masked[random_mask(frames, widest, rng)] = fill
    return masked


def random_mask(length: int, widest: int, rng: np.random.Generator) -> slice:
    """A range within ``length`` items: its width is uniform in 0..widest, then its start is uniform."""
    width = int(rng.integers(widest + 1))
    start = int(rng.integers(length - width + 1))
    return slice(start, start + width)


@dataclass(frozen=True)
class FolderRecording:
    path: Path
    info: AudioInfo


def scan_folder(folder: Path) -> tuple[FolderRecording, ...]:
    """All recordings under a folder, sorted by path; see SUFFIXES. Raises one DataError for all faults."""
    if not folder.is_dir():
        raise DataError(str(folder), "is not a folder", "a folder of recordings", "correct the path")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise DataError(str(folder), "has no recordings", ", ".join(sorted(SUFFIXES)), "add some or leave it unset")
    recordings: list[FolderRecording] = []
    problems: list[Problem] = []
    for path in paths:
        try:
            info = inspect(path)
            if info.channels != 1:
                raise DataError(str(path), f"has {info.channels} channels", "one", "write each channel to its own file")
            recordings.append(FolderRecording(path, info))
        except DataError as error:
            problems += error.problems
    raise_all(problems)
    return tuple(recordings)


def _power(samples: Array) -> float:
    """Mean square; 0 for no samples."""
    return float(np.mean(np.square(samples, dtype=np.float64))) if len(samples) else 0.0


WARP_LIMIT_HZ = 4800.0  # the warp is linear up to here, then a line to the end of the band; formants are below


class VocalTractWarp:
    """Vocal tract length perturbation (Jaitly & Hinton 2013): moves formants of fbank features, unchanged in time.

    Works on log-mel features, by linear interpolation between neighboring channels, where the paper warps the filter
    bank itself: half a channel of blur, but no second pass over the spectrum.
    """

    def __init__(self, settings: FeatureSettings) -> None:
        """settings: of kind fbank."""
        self._high_hz = highest_hz(settings)
        mel_edges = np.linspace(mel_of(settings.low_freq_hz), mel_of(self._high_hz), settings.num_mel_bins + 2)
        self._mel = mel_edges[1:-1]
        self.hz = 700.0 * np.expm1(self._mel / 1127.0)  # (C,): center frequencies of the channels

    def warp(self, features: Array, factor: float) -> Array:
        """(T, C) -> a new (T, C) with frequency f moved to ``factor`` * f.

        With deltas, each block of channels is warped equally.
        """
        if factor == 1.0:
            return np.array(features, np.float32)
        place = np.interp(mel_of(self._source(factor)), self._mel, np.arange(len(self._mel)))
        below = np.minimum(place.astype(np.int64), len(place) - 2)
        part = (place - below).astype(np.float32)
        blocks = features.reshape(len(features), features.shape[1] // len(place), len(place))
        warped: Array = blocks[..., below] * (1 - part) + blocks[..., below + 1] * part
        return warped.reshape(features.shape)

    def _source(self, factor: float) -> Array:
        """The source frequency of each channel in Hz: the paper's equation with the inverse factor."""
        inverse = 1.0 / factor
        turn = min(WARP_LIMIT_HZ, 0.8 * self._high_hz) * min(inverse, 1.0) / inverse
        slope = (self._high_hz - turn * inverse) / (self._high_hz - turn)
        beyond = self._high_hz - slope * (self._high_hz - self.hz)
        source: Array = np.where(self.hz <= turn, self.hz * inverse, beyond)
        return source


POINTS = 5  # of the piecewise linear curves over channels
NOISE_FLOOR_DB = 10.0  # maximal deviation of the noise floor of a channel from its average
FREEDOM = 4.0  # half the degrees of freedom of a channel's power: the steadiness of the noise
NEPERS = np.log(10) / 10  # natural logarithm of a power per decibel


SILENCE_QUANTILE = 0.05  # of the frames of a recording, in each channel: the level of silence around it,
MAX_DEEPER = 3.0  # which is lowered by up to this (natural logarithm of a power)
SILENCE_STD = 0.5  # standard deviation of the silence
ONSET_FRAMES, ONSET = 11, 5.0  # maximal duration and depth of the fade-in of a recording


def trim_silence(features: Array, below_db: float) -> Array:
    """Trim log-mel features (T, C), T >= 1, to the range of frames at most ``below_db`` below the loudest -> a view.

    Recordings that are all cut closely teach that a quiet beginning is a consonant; drawn thresholds avoid that.
    """
    powers = np.logaddexp.reduce(features, axis=1)
    loud = np.flatnonzero(powers >= powers.max() - NEPERS * below_db)
    return features[loud[0] : loud[-1] + 1]


def pad_silence(features: Array, max_frames: int, rng: np.random.Generator) -> Array:
    """Pad log-mel features (T, C), T >= 1, with up to ``max_frames`` frames of silence on each side, with a fade-in
    -> (before + T + after, C)."""
    quiet = np.quantile(features, SILENCE_QUANTILE, axis=0) - rng.uniform(0, MAX_DEEPER)
    before, after = (quiet + rng.normal(0, SILENCE_STD, (rng.integers(max_frames + 1), len(quiet))) for _ in range(2))
    onset = np.linspace(rng.uniform(0, ONSET), 0, rng.integers(ONSET_FRAMES + 1))[: len(features)]
    gradual = np.concatenate([features[: len(onset)] - onset[:, None], features[len(onset) :]])
    return np.concatenate([before, gradual, after]).astype(np.float32)


def equalize(features: Array, max_db: float, rng: np.random.Generator) -> Array:
    """Add a random smooth curve within +- max_db, the same for all frames, to log-mel features (T, C) -> (T, C).

    Microphones and rooms differ mostly in such a spectral shape; networks trained with many of them ignore it.
    """
    equalized: Array = features + np.float32(NEPERS) * _curve(features.shape[1], max_db, rng)
    return equalized


def add_noise_floor(features: Array, snr_db: float, rng: np.random.Generator) -> Array:
    """Add the power of stationary noise to log-mel features (T, C) -> (T, C).

        y[t, c] = ln(exp x[t, c] + P 10^(-snr / 10) n[c] g[t, c])

    with P the mean power of all frames and channels, n a curve of mean 1 within +- NOISE_FLOOR_DB, and g from the Gamma
    distribution of mean 1, the distribution of the power of Gaussian noise in a channel (Wilson & Hilferty 1931: about
    the cube of a normal variable, which is drawn in a third of the time).
    """
    curve = np.exp(NEPERS * _curve(features.shape[1], NOISE_FLOOR_DB, rng))
    power = np.exp(features.astype(np.float32, copy=False))  # single precision: a fifth of the time
    level = power.mean(dtype=np.float64) * 10 ** (-snr_db / 10)
    normal = rng.standard_normal(features.shape, dtype=np.float32)
    root = np.maximum(normal * np.float32(1 / (3 * FREEDOM**0.5)) + np.float32(1 - 1 / (9 * FREEDOM)), 0)
    noisy: Array = np.log(power + root * root * root * (level * curve / curve.mean()).astype(np.float32))
    return noisy


def add_reverberation_tail(features: Array, rt60_s: float, drr_db: float, frame_s: float) -> Array:
    """Add late reverberation to log-mel features (T, C) -> (T, C): powers that decay by 60 dB in
    ``rt60_s`` seconds.

        y[t] = ln(exp x[t] + 10^(-drr / 10) (1 - d) / d sum_(k >= 1) d^k exp x[t - k]),    d = 10^(-6 frame_s / rt60)

    so that for a steady sound the tail is ``drr_db`` decibels below the direct sound.
    """
    decay = 10 ** (-6 * frame_s / rt60_s)
    power = np.exp(features.astype(np.float64))
    total, reach = power.copy(), 1
    while reach < len(power) and decay**reach > 1e-6:  # each pass doubles the length of the sum
        total[reach:] += decay**reach * total[:-reach]
        reach *= 2
    tail = 10 ** (-drr_db / 10) * (1 - decay) / decay * (total - power)
    wet: Array = np.log(power + tail).astype(np.float32)
    return wet


def add_babble(features: Array, others: Sequence[Array], snr_db: float, rng: np.random.Generator) -> Array:
    """Add the powers of other utterances to log-mel features (T, C) -> (T, C), in total ``snr_db`` below.

    Each of ``others`` (T', C), T' >= 1, begins at a random frame and is repeated.
    """
    power = np.zeros(features.shape)
    for other in others:
        rolled = np.roll(other, -int(rng.integers(len(other))), axis=0)
        power += np.exp(np.resize(rolled, features.shape).astype(np.float64))
    level = np.exp(features.astype(np.float64)).mean() / power.mean() * 10 ** (-snr_db / 10)
    noisy: Array = np.logaddexp(features, np.log(level * power)).astype(np.float32)
    return noisy


LOWEST_HZ, HIGHEST_HZ = (150.0, 350.0), (3000.0, 3900.0)  # the edges of the telephone band
OUTSIDE_DB, SLOPE_DB = (20.0, 120.0), 200.0  # attenuation outside, and its slope per octave


def limit_to_telephone_band(features: Array, hz: Array, floor: float, rng: np.random.Generator) -> Array:
    """Attenuate log-mel features (T, C) outside the telephone band -> (T, C).

    hz (C,): center frequencies of the channels; floor: minimum of the result.
    """
    octaves = np.maximum(np.log2(rng.uniform(*LOWEST_HZ) / hz), np.log2(hz / rng.uniform(*HIGHEST_HZ)))
    loss = np.minimum(np.maximum(octaves, 0.0) * SLOPE_DB, rng.uniform(*OUTSIDE_DB))
    narrow: Array = np.maximum(features - np.float32(NEPERS) * loss.astype(np.float32), np.float32(floor))
    return narrow


def time_stretch(features: Array, frames: int) -> Array:
    """(T, C), T > 0 -> (frames, C): change the tempo by linear interpolation between frames."""
    if frames == len(features):
        return features
    place = np.linspace(0, len(features) - 1, frames)
    below = np.minimum(place.astype(np.int64), max(len(features) - 2, 0))
    part = (place - below).astype(np.float32)[:, None]
    above = np.minimum(below + 1, len(features) - 1)
    stretched: Array = features[below] * (1 - part) + features[above] * part
    return stretched


def _curve(channels: int, max_db: float, rng: np.random.Generator) -> Array:
    """A random curve over channels (C,) float32, in decibels."""
    points = rng.uniform(-max_db, max_db, POINTS)
    return np.interp(np.linspace(0, POINTS - 1, channels), np.arange(POINTS), points).astype(np.float32)


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
        self._cache = FeatureCache(utterances, settings) if settings.train.cache_features else None
        bytes_in_all = float(seconds.sum()) * settings.features.sample_rate * np.dtype(np.float32).itemsize
        fits = bytes_in_all <= settings.train.cache_mb * 1e6 and not self._cache
        self._samples: list[Samples] | None = [read_utterance(u) for u in utterances] if fits else None

    def sample(self, number: int, speed: float, rng: np.random.Generator, least_frames: int = 0) -> tuple[Array, Array]:
        """One utterance at a speed: features (T, C) without SpecAugment's masks, and with them.

        All other randomness comes from ``rng``: equal generators give equal features. What trimming would make shorter
        than ``least_frames``, such as speech after a loud click, is not trimmed.
        """
        return self._with_channel(self._utterance(number, speed, rng, least_frames), rng)

    def sample_after(
        self, number: int, speed: float, others: Iterator[tuple[int, float]], frames: int, rng: np.random.Generator
    ) -> Array:
        """One utterance in a stream, with SpecAugment's masks: (frames + T, C).

        It is preceded by the last ``frames`` frames of as many ``others`` (utterances and their speeds) as needed, with
        the same channel augmentation. Each must have a frame.
        """
        parts, missing = [self._utterance(number, speed, rng)], frames
        while missing > 0:
            before = self._utterance(*next(others), rng)[-missing:]
            parts.insert(0, before)
            missing -= len(before)
        return self._with_channel(np.concatenate(parts), rng)[1]

    def _utterance(self, number: int, speed: float, rng: np.random.Generator, least_frames: int = 0) -> Array:
        """One utterance, trimmed and padded with silence."""
        features = self._at_speed(number, speed, rng)
        if self._vocal_tract:
            features = self._vocal_tract.warp(features, rng.uniform(*self._settings.augment.vtlp))
        if self._settings.augment.trim_db:
            trimmed = trim_silence(features, rng.uniform(*self._settings.augment.trim_db))
            features = trimmed if len(trimmed) >= least_frames else features
        if pad_silence_s := self._settings.augment.pad_silence_s:
            features = pad_silence(features, round(pad_silence_s * 1000 / self._settings.features.frame_shift_ms), rng)
        return features

    def _at_speed(self, number: int, speed: float, rng: np.random.Generator) -> Array:
        of_samples = 1.0 if self._settings.augment.speed_kind == "frames" else speed
        if self._cache:
            features = self._cache.sample(number, of_samples, rng)
        else:
            samples = self._samples[number] if self._samples else read_utterance(self._utterances[number])
            features = self._extractor.compute(self._augmenter.perturb(samples, of_samples, rng))
        if of_samples == speed or not len(features):
            return features
        length = int(self._seconds[number] / speed * self._settings.features.sample_rate)
        return time_stretch(features, max(self._settings.features.num_frames(length), 1))

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
        if augment.eq_db:
            features = equalize(features, augment.eq_db, rng)
        if augment.noise_floor_snr_db:
            features = add_noise_floor(features, rng.uniform(*augment.noise_floor_snr_db), rng)
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
        self._features: dict[tuple[int, float], Array] = {}

    def sample(self, number: int, speed: float, rng: np.random.Generator) -> Array:
        """(T, C) float32 of one utterance at a speed, at a volume from ``rng``."""
        if (number, speed) not in self._features:
            samples = read_utterance(self._utterances[number])
            sped = change_speed(samples, speed, self._extractor.settings.sample_rate)
            self._features[number, speed] = self._extractor.compute(sped)
        gain = np.float32(rng.uniform(*self._volume_db) * np.log(10) / 10)
        louder: Array = np.maximum(self._features[number, speed] + gain, self._floor)
        return louder
