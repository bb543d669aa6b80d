"""The settings of models of sound, their conditioning, and the levels that they generate. NumPy only.

Conditioning is a sequence of frames: mel frames with their neighbors, or labels. Between two frames it is
interpolated. Levels are mu-law codes: of the pre-emphasized sound, or, with linear prediction, of its excitation in
units of the gain that follows from the mel frame.

*Mu-law*: 256 levels (ITU-T G.711 without its segments).

    F(x) = sign(x) ln(1 + 255 |x|) / ln 256,    level = round(127.5 (F(x) + 1))

Before it, high frequencies are emphasized, y[t] = x[t] - a x[t-1], and after it de-emphasized: the quantization noise
then has about the spectrum of the sound (as in LPCNet, Valin & Skoglund 2019).

*Linear prediction* from log-mel frames: excitation of a signal, and synthesis from it.

    q[n] = (y[n] - sum a_i y[n-i]) / g                   whitening: the excitation, of about unit power
    y[n] = g q[n] + sum a_i y[n-i]    i = 1..order        synthesis, its inverse

The predictor a and the gain g of a frame come from its mel bands alone (LPCNet, section 3.1): the bands divided by
their widths are samples of the power spectrum, whose inverse Fourier transform is the autocorrelation, from which the
Levinson-Durbin recursion computes a. So both are known from the frames, and a model of the excitation (ExcitNet, Song
et al. 2019) need not learn the spectral envelope.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from recitative.audio.files import Samples
from recitative.config import BestEpochTrainSettings, FeatureSettings, ForwardRecurrentSettings, Section
from recitative.errors import DataError, UsageError, counted
from recitative.features.frontend import SAMPLE_SCALE, FeatureExtractor, highest_hz, mel_of
from recitative.stage import Array


class SoundSettings(Section):
    """The generated audio and its conditioning."""

    condition: Literal["none", "mel", "labels"] = "mel"  # labels: text and speaker of a recording
    preemphasis: float = Field(0.85, ge=0, lt=1)
    prediction: int = Field(16, ge=0, le=64)  # mel: order of the linear prediction computed from the frames; 0: none
    context: int = Field(2, ge=0)  # mel: further conditioning frames on each side
    step: int = Field(16, ge=1)  # samples for each step of the core; must divide the hop
    history: int = Field(32, ge=1)  # previous samples in the input


class WaveCoreSettings(ForwardRecurrentSettings):
    """The recurrent core, with one step for ``sound.step`` samples."""

    hidden: int = Field(384, ge=1)
    projection: int = Field(128, ge=0)  # of the core's output, before the layers of each sample


class WaveNetworkSettings(Section):
    condition_width: int = Field(128, ge=1)
    width: int = Field(192, ge=1)  # of the layers that generate a sample
    recurrent: WaveCoreSettings = WaveCoreSettings()


class SegmentSettings(Section):
    """Batches of recordings."""

    rows: int = Field(16, ge=1)
    segment_s: float = Field(0.5, gt=0)  # truncated BPTT length in seconds
    noise: float = Field(0.5, ge=0)  # mean error in levels, added to the input samples
    dev_s: float = Field(60.0, gt=0)  # seconds of the dev set used to score an epoch


class WaveTrainSettings(BestEpochTrainSettings):
    """Training settings with other defaults."""

    learning_rate: float = Field(1e-3, gt=0)  # peak
    warmup_steps: int = Field(200, ge=0)
    clip_norm: float = Field(1.0, gt=0)
    ema: float = Field(0.998, ge=0, lt=1)


class WaveSettings(Section):
    """Settings of a model of audio. ``features`` are the mel frames, also for the timing of labels."""

    kind: Literal["sound"] = "sound"  # identifies the kind of model
    sound: SoundSettings = SoundSettings()
    features: FeatureSettings = FeatureSettings(num_mel_bins=80)
    segments: SegmentSettings = SegmentSettings()
    model: WaveNetworkSettings = WaveNetworkSettings()
    train: WaveTrainSettings = WaveTrainSettings()

    @model_validator(mode="after")
    def _consistent(self) -> WaveSettings:
        if self.features.hop_samples % self.sound.step:
            raise ValueError(f"sound.step={self.sound.step} must divide the hop of {self.features.hop_samples} samples")
        if self.sound.history < self.sound.step:
            raise ValueError(f"sound.history={self.sound.history} must be at least sound.step={self.sound.step}")
        if self.prediction and (self.features.kind != "fbank" or self.features.delta_order):
            raise ValueError("sound.prediction needs features.kind=fbank and features.delta_order=0; or set it to 0")
        return self

    @property
    def prediction(self) -> int:
        """Order of the linear prediction; 0 without mel frames."""
        return self.sound.prediction if self.sound.condition == "mel" else 0

    @property
    def segment_steps(self) -> int:
        """Steps of the core in a segment."""
        return max(1, round(self.segments.segment_s * self.features.sample_rate / self.sound.step))


class SpectrogramCoreSettings(ForwardRecurrentSettings):
    """The recurrent core, with one step for each frame."""

    layers: int = Field(2, ge=1)
    dropout: float = Field(0.2, ge=0, lt=1)


class SpectrogramNetworkSettings(Section):
    width: int = Field(128, ge=1)  # of the projected previous frame, and of the conditioning
    past_dropout: float = Field(0.3, ge=0, lt=1)  # of the previous frame, which at inference is the model's own
    recurrent: SpectrogramCoreSettings = SpectrogramCoreSettings()
    components: int = Field(1, ge=1)  # Gaussians in the mixture density of a frame
    least_deviation: float = Field(0.05, gt=0)  # lower bound for a channel, in standard deviations of the corpus


class SpectrogramTrainSettings(BestEpochTrainSettings):
    """Training settings with other defaults."""

    epochs: int = Field(12, ge=1)
    clip_norm: float = Field(1.0, gt=0)


class SpectrogramSettings(Section):
    """Settings of a model of mel frames. ``features`` describes the generated frames."""

    kind: Literal["spectrogram"] = "spectrogram"  # identifies the kind of model
    features: FeatureSettings = FeatureSettings()
    rows: int = Field(32, ge=1)  # recordings in a batch
    model: SpectrogramNetworkSettings = SpectrogramNetworkSettings()
    train: SpectrogramTrainSettings = SpectrogramTrainSettings()

    @model_validator(mode="after")
    def _consistent(self) -> SpectrogramSettings:
        if self.features.kind != "fbank" or self.features.delta_order:
            raise ValueError("a spectrogram needs features.kind=fbank and features.delta_order=0")
        return self


LEVELS = 256
MIDDLE = 128  # the level of silence

Codes = npt.NDArray[np.uint8]


def encode(samples: npt.NDArray[np.floating]) -> Codes:
    """Samples in [-1, 1], others are clipped -> levels, any shape."""
    clipped = np.clip(samples, -1.0, 1.0)
    value = np.sign(clipped) * np.log1p(255.0 * np.abs(clipped)) / np.log(256.0)
    return np.asarray(np.floor((value + 1.0) * 127.5 + 0.5), np.uint8)


def companded() -> Samples:
    """(256,) F of each level, uniform in loudness rather than amplitude: the input of networks."""
    return (np.arange(LEVELS, dtype=np.float32) / np.float32(127.5)) - np.float32(1.0)


def decode(codes: npt.NDArray[np.integer]) -> Samples:
    """Levels -> samples in [-1, 1]."""
    value = companded()
    samples = np.sign(value) * np.expm1(np.abs(value) * np.log(256.0)) / 255.0
    return np.asarray(samples.astype(np.float32)[codes])


def emphasize(samples: Samples, factor: float) -> Samples:
    """(S,) -> (S,); the first sample is unchanged."""
    before = np.concatenate([np.zeros(1, np.float32), samples[:-1]])
    return np.asarray(samples - np.float32(factor) * before, np.float32)


class Deemphasis:
    """The inverse of ``emphasize``, block by block: x[t] = y[t] + a x[t-1], for a batch of rows."""

    def __init__(self, rows: int, factor: float) -> None:
        self._factor = factor
        self._last = np.zeros(rows)

    def __call__(self, block: npt.NDArray[np.floating]) -> Samples:
        """(N, B) -> (N, B)."""
        steps = np.arange(block.shape[1])
        powers = np.where(steps[:, None] >= steps, float(self._factor) ** np.maximum(steps[:, None] - steps, 0), 0.0)
        carried = self._last[:, None] * float(self._factor) ** (steps + 1)
        samples = block.astype(np.float64) @ powers.T + carried
        if len(steps):
            self._last = samples[:, -1]
        return samples.astype(np.float32)


FRAME_PREEMPHASIS = 0.97  # within the window of a frame, see ``FeatureExtractor``
POVEY_POWER = 0.85  # its window is a Hann window to this power (kaldi/src/feat/feature-window.cc)
NARROWEST = 0.2  # bands with less weight than this of Fourier transform points are not used
NOISE_SHARE = 1e-4  # of white noise added to the power, -40 dB: otherwise no finite filter could follow a deep valley
LAG_SLOPE = 6e-5  # the autocorrelation is reduced by this times the squared lag: harmonics are not resonances
MIN_GAIN = 0.5 / SAMPLE_SCALE  # half a step of 16 bits
BLOCK = 512  # frames whose spectra are in memory at a time


@dataclass(frozen=True)
class Predictors:
    """Predictors of T frames. taps: (T, order) a_1, a_2, ...; gains: (T,) g > 0."""

    taps: Array
    gains: Array

    def at(self, frames: npt.NDArray[np.integer]) -> Predictors:
        """The predictors of some frames, in the given order."""
        return Predictors(self.taps[frames], self.gains[frames])


def predictors(frames: Array, settings: FeatureSettings, order: int, preemphasis: float) -> Predictors:
    """Predictors of log-mel frames (T, C), for a pre-emphasized signal y[n] = x[n] - preemphasis x[n-1]."""
    starts = range(0, max(len(frames), 1), BLOCK)
    blocks = [_of_block(frames[start : start + BLOCK], settings, order, preemphasis) for start in starts]
    return Predictors(np.concatenate([taps for taps, _ in blocks]), np.concatenate([gains for _, gains in blocks]))


def whiten(signal: Array, at: Predictors) -> Array:
    """A signal (S,) and the predictor of each sample -> the excitation (S,)."""
    order = at.taps.shape[1]
    padded = np.concatenate([np.zeros(order), signal.astype(np.float64)])
    predicted = np.zeros(len(signal))
    for i in range(order):
        predicted += at.taps[:, i] * padded[order - 1 - i : len(padded) - 1 - i]
    return np.asarray((signal - predicted) / at.gains)


class SynthesisFilter:
    """Synthesizes a signal from its excitation, block by block, for a batch of rows."""

    def __init__(self, rows: int, order: int) -> None:
        self._history = np.zeros((rows, order))

    def __call__(self, block: Array, at: Predictors) -> Array:
        """Excitation (N, B), the predictor of each row in this block -> signal (N, B)."""
        order = self._history.shape[1]
        taps = at.taps[:, ::-1]
        sound = np.concatenate([self._history, at.gains[:, None] * block], axis=1)
        for n in range(order, sound.shape[1]):
            sound[:, n] += (taps * sound[:, n - order : n]).sum(axis=1)
        self._history = sound[:, sound.shape[1] - order :]
        return sound[:, order:]


def _of_block(frames: Array, settings: FeatureSettings, order: int, preemphasis: float) -> tuple[Array, Array]:
    """Taps (T, order) and gains (T,)."""
    power = _power(frames.astype(np.float64), settings, preemphasis)
    correlation = np.fft.irfft(power, axis=1)[:, : order + 1]
    correlation[:, 0] *= 1.0 + NOISE_SHARE
    taps = _levinson(correlation * (1.0 - LAG_SLOPE * np.arange(order + 1) ** 2))
    errors = np.concatenate([np.ones((len(taps), 1)), -taps], axis=1)
    left = np.abs(np.fft.rfft(errors, 2 * (power.shape[1] - 1), axis=1)) ** 2 * power
    window = np.hanning(settings.window_samples) ** POVEY_POWER
    gains = np.sqrt(np.fft.irfft(left, axis=1)[:, 0] / np.sum(window**2)) / SAMPLE_SCALE
    return taps, np.maximum(gains, MIN_GAIN)


def _power(frames: Array, settings: FeatureSettings, preemphasis: float) -> Array:
    """(T, C) -> (T, F) power at the points of the Fourier transform, interpolated between band centers in the log
    domain.
    """
    areas, middles, points = _bands(settings)
    used = areas >= NARROWEST
    density = frames[:, used] - np.log(areas[used])
    places = np.clip(np.interp(points, middles[used], np.arange(used.sum())), 0, used.sum() - 1)
    left = np.minimum(places.astype(np.int64), used.sum() - 2)
    share = places - left
    power = np.exp((1 - share) * density[:, left] + share * density[:, left + 1])
    turn = np.exp(-1j * np.pi * np.arange(len(points)) / (len(points) - 1))
    return np.asarray(power * np.abs((1 - preemphasis * turn) / (1 - FRAME_PREEMPHASIS * turn)) ** 2)


@cache
def _bands(settings: FeatureSettings) -> tuple[Array, Array, Array]:
    """Sums of the weights of each band (C,), centers in mel (C,), and Fourier transform points in mel (F,), as in
    kaldi/src/feat/mel-computations.cc."""
    size = 1 << (settings.window_samples - 1).bit_length()
    nyquist = settings.sample_rate / 2
    edges = np.linspace(mel_of(settings.low_freq_hz), mel_of(highest_hz(settings)), settings.num_mel_bins + 2)
    points = mel_of(np.linspace(0.0, nyquist, size // 2 + 1))
    rising = (points[:-1] - edges[:-2, None]) / (edges[1] - edges[0])  # Kaldi leaves the last point out
    falling = (edges[2:, None] - points[:-1]) / (edges[1] - edges[0])
    areas = np.maximum(0.0, np.minimum(rising, falling)).sum(axis=1)
    return areas, edges[1:-1], points


def _levinson(correlation: Array) -> Array:
    """(T, order + 1) autocorrelations -> (T, order) taps (Durbin 1960)."""
    order = correlation.shape[1] - 1
    taps = np.zeros((len(correlation), order))
    error = correlation[:, 0].copy()
    for i in range(order):
        predicted = (taps[:, :i] * correlation[:, i:0:-1]).sum(axis=1)
        reflection = (correlation[:, i + 1] - predicted) / error
        taps[:, :i] -= reflection[:, None] * taps[:, :i][:, ::-1]
        taps[:, i] = reflection
        error = error * (1.0 - reflection**2)
    return taps


PROGRESS = 24  # positions within a recording, in the conditioning on labels
LONGEST_S = 5.0  # durations are relative to this, in the conditioning on labels
LOUDEST = 16.0  # full scale of the excitation, in gains; a glottal pulse reaches about ten


@dataclass(frozen=True)
class Labels:
    """The texts and speakers that a model knows, each in a fixed order, and the mean duration of each text."""

    texts: tuple[str, ...] = ()
    speakers: tuple[str, ...] = ()
    seconds: tuple[float, ...] = ()

    def width(self) -> int:
        return len(self.texts) + len(self.speakers) + PROGRESS + 1


def width_of(settings: WaveSettings, labels: Labels) -> int:
    """Channels of the conditioning; 0 for none."""
    match settings.sound.condition:
        case "none":
            return 0
        case "mel":
            return (2 * settings.sound.context + 1) * settings.features.dim
        case "labels":
            return labels.width()


def mel_conditions(samples: Array, settings: WaveSettings) -> Array:
    """Mel frames with their neighbors: (S,) in [-1, 1] -> (T, C).

    Raises DataError for a recording shorter than a frame.
    """
    return with_neighbors(mel_frames(samples, FeatureExtractor(settings.features)), settings.sound.context)


def mel_frames(samples: Array, extractor: FeatureExtractor, where: str = "recording") -> Array:
    """(S,) in [-1, 1] -> (T, C). Raises DataError for a recording shorter than a frame."""
    frames = extractor.compute(samples)
    if not len(frames):
        shortest = f"{extractor.settings.frame_length_ms:g} ms or more"
        raise DataError(where, f"has {counted(len(samples), 'sample')}, less than one frame", shortest, "leave it out")
    return frames


def with_neighbors(frames: Array, context: int) -> Array:
    """Stack each frame with its neighbors: (T, C), T > 0 -> (T, (2 context + 1) C). The ends are repeated."""
    padded = np.concatenate([frames[:1]] * context + [frames] + [frames[-1:]] * context)
    return np.concatenate([padded[i : i + len(frames)] for i in range(2 * context + 1)], axis=1)


def label_conditions(text: str, speaker: str, num_samples: int, features: FeatureSettings, labels: Labels) -> Array:
    """(T, C): text, speaker, position within the recording, and duration. Raises UsageError for an unknown label."""
    for name, value, known in (("text", text, labels.texts), ("speaker", speaker, labels.speakers)):
        if value not in known:
            raise UsageError(f"{name} '{value}': the model knows {', '.join(known)}")
    steps = max(1, -(-num_samples // features.hop_samples))
    progress = (np.arange(steps) + 0.5) / steps * (PROGRESS - 1)
    frames = np.zeros((steps, labels.width()), np.float32)
    frames[:, labels.texts.index(text)] = 1.0
    frames[:, len(labels.texts) + labels.speakers.index(speaker)] = 1.0
    places = len(labels.texts) + len(labels.speakers)
    frames[:, places : places + PROGRESS] = np.maximum(0.0, 1.0 - np.abs(progress[:, None] - np.arange(PROGRESS)))
    frames[:, -1] = num_samples / features.sample_rate / LONGEST_S
    return frames


def places_of(steps: npt.NDArray[np.integer], settings: WaveSettings) -> npt.NDArray[np.float64]:
    """The positions of the core's steps among the frames: 2.25 is a quarter of the way from frame 2 to frame 3."""
    features, step = settings.features, settings.sound.step
    first = features.window_samples if settings.sound.condition == "mel" else features.hop_samples
    middle = steps * step + step / 2
    return np.asarray((middle - first / 2) / features.hop_samples)


def nearest(steps: npt.NDArray[np.integer], count: int, settings: WaveSettings) -> npt.NDArray[np.int64]:
    """The index of the frame, of ``count``, that is nearest to the middle of each of the core's steps."""
    return np.clip(np.floor(places_of(steps, settings) + 0.5), 0, count - 1).astype(np.int64)


def between(frames: npt.NDArray[np.floating], places: npt.NDArray[np.floating]) -> Array:
    """Linear interpolation of (T, C) frames at (J,) places -> (J, C). The ends are repeated."""
    inside = np.clip(places, 0.0, len(frames) - 1.0)
    left = np.floor(inside).astype(np.int64)
    right = np.minimum(left + 1, len(frames) - 1)
    share = (inside - left)[:, None].astype(np.float32)
    return np.asarray((1 - share) * frames[left] + share * frames[right], np.float32)


def levels_of(samples: Samples, frames: Samples, settings: WaveSettings) -> Codes:
    """Encode samples (S,) in [-1, 1] as levels (S,). frames: (T, C), the conditioning."""
    sound = settings.sound
    emphasized = emphasize(samples, sound.preemphasis)
    if not settings.prediction:
        return encode(emphasized)
    steps = np.arange(-(-len(samples) // sound.step))
    at = _predictors(frames, settings).at(nearest(steps, len(frames), settings))
    each = Predictors(*(np.repeat(values, sound.step, axis=0)[: len(samples)] for values in (at.taps, at.gains)))
    return encode(whiten(emphasized, each) / LOUDEST)


class LevelDecoder:
    """Decodes levels into samples, one step of the core at a time, for several rows at once."""

    def __init__(self, frames: list[Samples], rows: int, settings: WaveSettings) -> None:
        """frames: (T, C), the conditioning of each row; used with linear prediction only."""
        self._settings = settings
        self._deemphasis = Deemphasis(rows, settings.sound.preemphasis)
        self._filter = SynthesisFilter(rows, settings.prediction) if settings.prediction else None
        self._predictors = [_predictors(one, settings) for one in frames] if settings.prediction else []

    def step(self, number: int, levels: npt.NDArray[np.integer]) -> Samples:
        """(N, step) levels of one step of the core -> samples in [-1, 1]."""
        block = decode(levels)
        if self._filter:
            steps = np.array([number])
            here = [row.at(nearest(steps, len(row.gains), self._settings)) for row in self._predictors]
            joined = Predictors(np.concatenate([p.taps for p in here]), np.concatenate([p.gains for p in here]))
            block = self._filter(LOUDEST * block, joined).astype(np.float32)
        return np.clip(self._deemphasis(block), -1.0, 1.0)


def _predictors(frames: Samples, settings: WaveSettings) -> Predictors:
    """From the mel frames themselves, without their neighbors."""
    sound, dim = settings.sound, settings.features.dim
    middle = frames[:, sound.context * dim : (sound.context + 1) * dim]
    return predictors(middle, settings.features, settings.prediction, sound.preemphasis)
