"""Augmentation of training audio and features. Every draw comes from a ``numpy.random.Generator`` argument.

NumPy and soxr rather than torchaudio: the processes that prepare batches then start without importing torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from recitative.audio.files import SUFFIXES, AudioInfo, Samples, inspect, read_audio
from recitative.audio.resample import resample
from recitative.config import AugmentSettings, SpecAugmentSettings
from recitative.errors import DataError, Problem

Array = npt.NDArray[Any]


class Augmenter:
    """Speed, reverberation, noise and volume, in this order; all but the speed are drawn anew for every call.

    Samples are float and nothing is clipped or scaled back: after a positive gain or in strong noise they may pass
    1.0, which the features (logarithms of power) take as any other value, and a volume that was drawn stays.
    """

    def __init__(self, settings: AugmentSettings, sample_rate: int) -> None:
        """Reads the header of every recording in the folders once.

        Raises DataError if a folder is missing, has no recordings, or has one that cannot be read or is not mono.
        """
        self.settings = settings
        self.sample_rate = sample_rate
        self._noises = scan_folder(settings.noise_dir) if settings.noise_dir else ()
        self._impulses = scan_folder(settings.reverb_dir) if settings.reverb_dir else ()

    def perturb(self, samples: Samples, speed: float, rng: np.random.Generator) -> Samples:
        """(S,) float32 -> (S / speed,) float32; the argument is left as it is.

        The speed is the caller's to draw, who wants to know the length before.
        """
        samples = change_speed(samples, speed, self.sample_rate)
        if self._impulses and rng.random() < self.settings.reverb_probability:
            samples = reverberate(samples, self._draw_impulse(rng))
        if self._noises and rng.random() < self.settings.noise_probability:
            noise = self._draw_noise(len(samples), rng)
            samples = add_noise(samples, noise, snr_db=rng.uniform(*self.settings.noise_snr_db))
        return change_volume(samples, rng.uniform(*self.settings.volume_db))

    def _draw_impulse(self, rng: np.random.Generator) -> Samples:
        impulse = self._impulses[rng.integers(len(self._impulses))]
        samples, rate = read_audio(impulse.path)
        if not samples.any():
            raise DataError(str(impulse.path), "is silent", "an impulse response", "remove it from the folder")
        return resample(samples, rate, self.sample_rate)

    def _draw_noise(self, length: int, rng: np.random.Generator) -> Samples:
        """``length`` samples from a random place of a random recording, repeated if it is shorter."""
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
    """Multiply by 10^(gain / 20); the samples may pass 1.0."""
    return samples if gain_db == 0.0 else samples * np.float32(10 ** (gain_db / 20))


def add_noise(samples: Samples, noise: Samples, *, snr_db: float) -> Samples:
    """Both (S,). Scales the noise so that 10 log10(speech power / noise power) = ``snr_db`` over the whole of it.

    Where one of the two is digital silence there is no such ratio, and the samples are returned as they are.
    """
    speech_power, noise_power = _power(samples), _power(noise)
    if speech_power == 0.0 or noise_power == 0.0:
        return samples
    gain = np.sqrt(speech_power / noise_power * 10 ** (-snr_db / 10))
    return samples + noise * np.float32(gain)


def reverberate(samples: Samples, impulse: Samples) -> Samples:
    """Convolve (S,) with an impulse response (L,) and cut to (S,) so that the direct path has no delay.

    The direct path is the response's largest sample: words stay where they were, the tail beyond the end is cut. The
    power of the result is that of the input, as in Kaldi's ``wav-reverberate --normalize-output``.
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
    """Mask bands of channels and stretches of frames: (T, C) -> a new (T, C). Park et al. 2019, without warping.

    ``fill`` is what a masked value becomes, one number or one for each channel (C,): the CMVN mean, so that it is 0
    after normalisation. Widths are drawn evenly from 0 to the widest, both included; a time mask's widest is
    ``time_width`` or ``time_fraction`` of T, whichever is less; then the place is drawn evenly. Masks may overlap.
    """
    masked = np.array(features, np.float32)
    frames, channels = masked.shape
    fill = np.broadcast_to(np.asarray(fill, np.float32), (channels,))
    for _ in range(settings.freq_masks):
        band = draw_mask(channels, min(settings.freq_width, channels), rng)
        masked[:, band] = fill[band]
    for _ in range(settings.time_masks):
        widest = min(settings.time_width, int(settings.time_fraction * frames))
        masked[draw_mask(frames, widest, rng)] = fill
    return masked


def draw_mask(length: int, widest: int, rng: np.random.Generator) -> slice:
    """A stretch of ``length`` items: its width even in 0..widest, its start even where it fits."""
    width = int(rng.integers(widest + 1))
    start = int(rng.integers(length - width + 1))
    return slice(start, start + width)


@dataclass(frozen=True)
class FolderRecording:
    path: Path
    info: AudioInfo


def scan_folder(folder: Path) -> tuple[FolderRecording, ...]:
    """Every recording under a folder, in the order of the paths; see SUFFIXES. Raises one DataError for all faults."""
    if not folder.is_dir():
        raise DataError(str(folder), "is not a folder", "a folder of recordings", "correct the path")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise DataError(str(folder), "has no recordings", ", ".join(sorted(SUFFIXES)), "add some or leave it unset")
    recordings: list[FolderRecording] = []
    problems: list[Problem] = []
    for path in paths:
        try:
            recordings.append(_inspect_mono(path))
        except DataError as error:
            problems += error.problems
    if problems:
        raise DataError.collect(problems)
    return tuple(recordings)


def _inspect_mono(path: Path) -> FolderRecording:
    info = inspect(path)
    if info.channels != 1:
        raise DataError(str(path), f"has {info.channels} channels", "one", "write each channel to its own file")
    return FolderRecording(path, info)


def _power(samples: Array) -> float:
    """Mean square, 0 for no samples."""
    return float(np.mean(np.square(samples, dtype=np.float64))) if len(samples) else 0.0
