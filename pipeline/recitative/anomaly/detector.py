"""Anomaly models, of the kind 'forecaster', and detection in streams and recordings of any length, rate and number of
channels; and their evaluation. No PyTorch.

    stream = detector.stream()
    for alarm in stream.accept(samples, 48000):     # in pieces of any length
        print(alarm.start_s, alarm.end_s, alarm.score)
    stream.finish()                                 # the last alarms

The network predicts the density of each feature frame of normal sound from the frames before it. Memory does not grow
with the duration, and alarms do not depend on the pieces. The anomaly score of a window is

    nll         the negative log-likelihood (NLL): mean over its frames of -ln p(x[t] | past) / C, by the model
    ratio       the log likelihood ratio: the same, less the NLL under an autoregression fitted to the window itself

Likelihood alone misleads: noise and busy sounds are improbable under every model, silence and even tones under none
(Nalisnick et al. 2019; Serra et al. 2020 subtract a complexity for that reason, Ren et al. 2019 the likelihood of a
background). Here the background is the window's own: each channel a first-order autoregression
x[t] = a x[t - 1] + b + noise, with a, b and the deviation s fitted by least squares. Its NLL is

    (1 / C) sum over channels of ln s + ln(2 pi e) / 2        nats per dimension

where ``MIN_DEVIATION``^2 is added to s^2, since a constant channel has none. A high ratio means that the window has an
order of its own, which the model does not know.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import soxr
from numpy.lib.stride_tricks import sliding_window_view
from pydantic import Field, field_validator, model_validator

from recitative.audio.files import AudioInput, open_audio
from recitative.config import (
    AugmentSettings,
    BestEpochTrainSettings,
    FeatureSettings,
    ForwardRecurrentSettings,
    RecordingsData,
    Section,
)
from recitative.data.tables import Utterance
from recitative.errors import DataError, Problem, UsageError, counted, raise_all
from recitative.features.extraction import audio_durations_s, read_utterance
from recitative.features.frontend import FeatureExtractor, pad_rows
from recitative.model.kind import LENGTHS, Endpoint, Entries, Extra, ModelKind, ModelMetadata, Signature
from recitative.model.stream import NetworkInput, NetworkStream, Work
from recitative.reading import checked, parsed_json
from recitative.stage import Array, Padded, Stage, State, entries_of, named

if TYPE_CHECKING:
    from recitative.audio.files import AudioInput

LEAST_WINDOW = 4  # frames: an autoregression fits fewer frames too well


class AnomalyCoreSettings(ForwardRecurrentSettings):
    """The recurrent core, forward only, with another default."""

    hidden: int = Field(192, ge=1)


class AnomalyNetworkSettings(Section):
    cmvn: Literal["global", "running"] = "global"  # running: running mean normalization after the global one
    horizon: int = Field(1, ge=1)  # frames from the last known one to the predicted one
    width: int = Field(0, ge=0)  # width of a linear projection before the core; 0 = none
    recurrent: AnomalyCoreSettings = AnomalyCoreSettings()
    dropout: float = Field(0.0, ge=0, lt=1)  # of the core's output
    components: int = Field(4, ge=1)  # Gaussians in the mixture density of a frame
    least_deviation: float = Field(0.1, gt=0)  # lower bound for a channel, in standard deviations of the corpus


class DetectionSettings(Section):
    """Anomaly score; its threshold is set on the dev recordings at the end of training."""

    score: Literal["ratio", "nll"] = "ratio"  # see ``anomaly.detector``
    window_s: float = Field(2.0, gt=0)  # length of the scored window
    false_alarms: float = Field(0.01, ge=0, lt=1)  # share of normal windows allowed above the threshold

    @field_validator("score", mode="before")
    @classmethod
    def _older(cls, value: object) -> object:
        return "nll" if value == "surprise" else value  # the name in models of before


class AnomalySettings(Section):
    """Settings of an anomaly model."""

    kind: Literal["forecaster"] = "forecaster"  # identifies the kind of model
    features: FeatureSettings = FeatureSettings()
    augment: AugmentSettings = AugmentSettings()
    segment_s: float = Field(10.0, gt=0)  # longer recordings are split into segments of this length for training
    model: AnomalyNetworkSettings = AnomalyNetworkSettings()
    detection: DetectionSettings = DetectionSettings()
    train: BestEpochTrainSettings = BestEpochTrainSettings()

    @model_validator(mode="after")
    def _consistent(self) -> AnomalySettings:
        if self.features.delta_order:
            raise ValueError(
                f"features.delta_order={self.features.delta_order} must be 0, because deltas contain future frames"
            )
        self.augment.require_fit(self.features)
        if self.scored_frames < LEAST_WINDOW:
            least_s = LEAST_WINDOW * self.features.frame_shift_ms / 1000
            found = f"detection.window_s={self.detection.window_s:g}"
            raise ValueError(f"{found} must be at least {least_s:g}, {LEAST_WINDOW} frames")
        return self

    @property
    def scored_frames(self) -> int:
        """Frames of a scored window."""
        return round(self.detection.window_s * 1000 / self.features.frame_shift_ms)

    @property
    def scored_samples(self) -> int:
        """Samples of the shortest recording that can be scored."""
        return self.features.window_samples + (self.scored_frames - 1) * self.features.hop_samples


@dataclass(frozen=True)
class Threshold:
    """A window with an anomaly score above ``limit``, nats per dimension, is anomalous.

    usual:        the median score of the normal windows that it was set on
    false_alarms: the share of these ``windows`` that may be above it
    """

    limit: float
    usual: float
    false_alarms: float
    windows: int

    @classmethod
    def learn(cls, rows: Sequence[Array], false_alarms: float) -> Threshold:
        """From the scores (T,) of normal recordings, of which at least one has a window.

        The limit is the lowest value with at most this share above it: 0 gives the highest score.
        """
        values = np.sort(np.concatenate(rows))
        limit = values[-1 - int(false_alarms * len(values))]
        return cls(float(limit), float(np.median(values)), false_alarms, len(values))

    def __str__(self) -> str:
        """One line for the user."""
        return (
            f"unusual above {self.limit:.3f}, usually {self.usual:.3f} nats per dimension "
            f"({counted(self.windows, 'window')}, {self.false_alarms:.2%} of them may be above)"
        )

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, text: str, where: str) -> Threshold:
        """The inverse of ``to_json``. Raises DataError for any other text."""
        wanted = "what 'recitative anomaly threshold' wrote"
        remedy = "learn it again with 'recitative anomaly threshold'"
        return checked(cls, parsed_json(text, where, wanted), where, wanted, remedy)


def describe(metadata: ModelMetadata) -> dict[str, str]:
    features, learned = metadata.settings.features, metadata.extras["threshold"]
    ahead_ms = metadata.settings.model.horizon * features.frame_shift_ms
    channels = f"{features.num_mel_bins} {features.kind} channels"
    return {
        "kind": "anomaly model",
        "input": f"{features.sample_rate} Hz, {channels}, forecast {ahead_ms:g} ms ahead",
        "unusual": f"above {learned.limit:.3f}, usually {learned.usual:.3f}" if learned else "not learned",
    }


def _graphs(settings: AnomalySettings, _extras: Mapping[str, Any]) -> Mapping[str, Signature]:
    features: Entries = {"features": ("float32", (None, None, settings.features.dim)), **LENGTHS}
    return {"": Signature(features, {"surprise": ("float32", (None, None, 1))})}


def _about(detector: AnomalyDetector) -> dict[str, Any]:
    rate, threshold = detector.sample_rate, detector.required_threshold
    about = {"sample_rate": rate, "latency_ms": 1000 * detector.lookahead / rate, "threshold": threshold.limit}
    return {"streams": True} | about


def _answer(detector: AnomalyDetector, audio: AudioInput, _check: Callable[[], None]) -> dict[str, Any]:

    summary = Summary()
    for block in detector.detect_file(audio, threshold=detector.required_threshold):
        summary.add(block)
    return summary.to_dict(detector.required_threshold)


FORECASTER = ModelKind(
    name="forecaster",
    settings=AnomalySettings,
    data=RecordingsData,
    build="recitative.anomaly.task:new_anomaly_model",
    task="recitative.anomaly.task:prepare",
    runner="recitative.anomaly.detector:AnomalyDetector",
    graphs=_graphs,
    describe=describe,
    extras={
        "threshold": Extra(
            "threshold.json", lambda threshold: threshold.to_json() + "\n", Threshold.parse, optional=True
        )
    },
    writer="recitative.anomaly.task:write_forecaster",
    endpoint=Endpoint("/v1/audio/anomalies", _about, _answer, stream=lambda detector, *, rules: detector.stream()),
)


Score = Literal["ratio", "nll"]

MIN_DEVIATION = 0.5  # of log energies, in nats: about that of a channel of steady noise
HOPS = 10  # scores in the time of a window
BLOCK_S = 10.0  # a recording is read in blocks of this length
NO_ALARMS = Threshold(math.inf, math.inf, 0.0, 0)


class WindowScore:
    """Stage: NLL and features, (N, T, 1 + C) -> anomaly score of windows (N, T', 1) float32.

    Output j scores frames j H to j H + W - 1, for a hop H of a tenth of the window W; T' = floor((T - W) / H) + 1.
    State: ``pending`` (N, P, 1 + C) and ``pending_lengths`` (N,), the frames that later windows need.
    """

    def __init__(self, channels: int, window: int, score: Score) -> None:
        """window: frames, at least 3."""
        self.channels, self.window, self.score = channels, window, score
        self.stride = max(1, window // HOPS)

    @property
    def lookahead(self) -> int:
        return self.window - 1

    def output_lengths(self, lengths: Array) -> Array:
        whole: Array = np.maximum((np.asarray(lengths) - self.window) // self.stride + 1, 0)
        return whole

    def initial_state(self, n: int) -> State:
        zeros = np.zeros((n, 0, 1 + self.channels), np.float32)
        return {"pending": zeros, "pending_lengths": np.zeros(n, np.int64)}

    def step(self, x: Padded[Array], state: State, *, last: bool) -> tuple[Padded[Array], State]:
        scores: list[Array] = []
        rest: list[Array] = []
        for row, length in enumerate(x.lengths):
            pending = state["pending"][row, : state["pending_lengths"][row]]
            frames = np.concatenate([pending, x.data[row, :length]])
            scores.append(self._scores(frames))
            rest.append(frames[len(scores[-1]) * self.stride :])
        y = pad_rows(scores, 1)
        if last:
            return y, self.initial_state(len(x.lengths))
        later = pad_rows(rest, 1 + self.channels)
        return y, {"pending": later.data, "pending_lengths": later.lengths}

    def _scores(self, frames: Array) -> Array:
        """(T, 1 + C) -> (T', 1)."""
        if len(frames) < self.window:
            return np.zeros((0, 1))
        windows = sliding_window_view(frames.astype(np.float64), self.window, axis=0)[:: self.stride]  # (T', 1 + C, W)
        nll: Array = windows[:, :1].mean(axis=2)
        return nll - autoregression_nll(windows[:, 1:])[:, None] if self.score == "ratio" else nll


def autoregression_nll(windows: Array) -> Array:
    """(M, C, W) -> (M,): NLL of each window, in nats per dimension, under the autoregression fitted to it."""
    before, after = windows[..., :-1], windows[..., 1:]
    before = before - before.mean(axis=-1, keepdims=True)
    after = after - after.mean(axis=-1, keepdims=True)
    power, both = np.square(before).sum(axis=-1), (before * after).sum(axis=-1)
    explained = np.divide(both**2, power, out=np.zeros_like(both), where=power > 0)
    variance = np.maximum(np.square(after).sum(axis=-1) - explained, 0.0) / before.shape[-1]
    deviations = np.sqrt(variance + MIN_DEVIATION**2)
    nll: Array = np.log(deviations).mean(axis=-1) + 0.5 * math.log(2 * math.pi * math.e)
    return nll


class AnomalyDetector:
    """Stage: samples (N, S) float32 in [-1, 1] -> anomaly scores (N, T, 1) float32, of windows of ``window_s`` seconds.

    The network may be PyTorch's (``model.folder``) or ONNX Runtime's (``model.onnx_stage``): both are stages.
    State: the entries of its parts as ``features.*``, ``network.*`` and ``window.*``. Threads may share a detector; a
    stream belongs to one at a time.
    """

    def __init__(self, network: Stage[Array], settings: AnomalySettings, threshold: Threshold | None = None) -> None:
        """network: features (N, T, C) -> NLL of each frame (N, T, 1), on NumPy arrays; threshold: the model's own."""
        self.network, self.settings, self.threshold = network, settings, threshold
        self.extractor = FeatureExtractor(settings.features)
        self.window = WindowScore(settings.features.dim, settings.scored_frames, settings.detection.score)
        self._parts: dict[str, Stage[Any]] = {"features": self.extractor, "network": network, "window": self.window}

    @property
    def sample_rate(self) -> int:
        """In Hz."""
        return self.settings.features.sample_rate

    @property
    def stride(self) -> int:
        """In samples."""
        return self.extractor.stride * self.window.stride

    @property
    def lookahead(self) -> int:
        """In samples."""
        return self.extractor.lookahead + self.window.lookahead * self.extractor.stride

    @property
    def required_threshold(self) -> Threshold:
        """The model's own. Raises UsageError if it has none."""
        if self.threshold is None:
            raise UsageError("this model has no threshold; give one, or run 'recitative anomaly threshold'")
        return self.threshold

    def stream(self, threshold: Threshold | None = None) -> AnomalyStream:
        """A new stream of alarms. threshold: None = the model's own. Raises UsageError if there is none."""
        return AnomalyStream(self, threshold or self.required_threshold)

    def detect_file(
        self,
        audio: AudioInput,
        block_s: float = BLOCK_S,
        *,
        threshold: Threshold = NO_ALARMS,
        partial: bool = False,
    ) -> Iterator[DetectedBlock]:
        """Process one recording block by block.

        partial: accept a truncated or damaged recording. Raises DataError for one that cannot be read, or is shorter
        than a window.
        """
        stream = AnomalyStream(self, threshold)
        duration_s = 0.0
        with open_audio(audio, self.sample_rate, block_s, None, partial) as (rate, total, blocks):
            least_s = self.settings.scored_samples / self.sample_rate
            if total / rate < least_s:
                where = str(audio) if isinstance(audio, str | Path) else "the audio"
                allowed = f"at least {least_s:.4g} s, which the model judges together"
                raise DataError(where, f"lasts {total / rate:.4g} s", allowed, "give a longer recording")
            for block in blocks:
                stream.accept(block, rate)
                duration_s = stream.duration_s
                yield replace(stream.block, duration_s=duration_s, total_s=total / rate)
            stream.finish()
            yield replace(stream.block, duration_s=duration_s, total_s=total / rate)

    def scores(self, samples: Array) -> Array:
        """One recording (S,), at the model's rate -> its anomaly scores (T,)."""
        size = round(BLOCK_S * self.sample_rate)
        state, found = self.initial_state(1), []
        for start in range(0, max(len(samples), 1), size):
            piece = samples[start : start + size]
            x = Padded(piece[None], np.array([len(piece)]))
            y, state = self.step(x, state, last=start + size >= len(samples))
            found.append(y.data[0, :, 0])
        return np.concatenate(found)

    def output_lengths(self, lengths: Array) -> Array:
        return self.window.output_lengths(self.extractor.output_lengths(lengths))

    def initial_state(self, n: int) -> State:
        state: State = {}
        for name, part in self._parts.items():
            state |= named(name, part.initial_state(n))
        return state

    def step(self, x: Padded[Array], state: State, *, last: bool) -> tuple[Padded[Array], State]:
        features, first = self.extractor.step(x, entries_of("features", state), last=last)
        nll, second = self.network.step(features, entries_of("network", state), last=last)
        both = Padded(np.concatenate([nll.data, features.data], axis=2), features.lengths)
        y, third = self.window.step(both, entries_of("window", state), last=last)
        return y, named("features", first) | named("network", second) | named("window", third)


@dataclass(frozen=True)
class Alarm:
    """An anomalous segment: its times in seconds, and its highest anomaly score."""

    start_s: float
    end_s: float
    score: float

    def to_dict(self) -> dict[str, Any]:
        """type, start, end (s), score."""
        times = {"start": round(self.start_s, 3), "end": round(self.end_s, 3)}
        return {"type": "alarm", **times, "score": round(self.score, 4)}


@dataclass(frozen=True)
class DetectedBlock:
    """The results of one block of audio.

    samples (S,) at the model's rate; scores (T,) of the windows that it completed; alarms that ended in it; seconds of
    the recording so far, and in all according to its header
    """

    samples: Array
    scores: Array
    alarms: tuple[Alarm, ...] = ()
    duration_s: float = 0.0
    total_s: float = 0.0


class AnomalyStream(NetworkStream[Alarm]):
    """One stream of audio, whose events are alarms, each as it ends. Made by ``AnomalyDetector.stream``."""

    network: AnomalyDetector

    def __init__(self, detector: AnomalyDetector, threshold: Threshold) -> None:
        self._threshold = threshold
        self.block = DetectedBlock(np.zeros(0, np.float32), np.zeros(0, np.float32))  # of the last call
        super().__init__(detector)

    def _begin(self) -> None:
        super()._begin()
        self._state = self.network.initial_state(1)
        self._finder = AlarmFinder(self.network, self._threshold)
        self._resampler: soxr.ResampleStream | None = None

    def _take(self, samples: Array) -> Work[None]:
        yield from self._advance(samples, last=False)

    def _take_end(self) -> Work[None]:
        yield from self._advance(np.zeros(0, np.float32), last=True)

    def _advance(self, samples: Array, *, last: bool) -> Work[None]:
        rate = self.network.sample_rate
        if self._rate not in (0, rate):
            self._resampler = self._resampler or soxr.ResampleStream(
                self._rate, rate, 1, dtype="float32", quality="VHQ"
            )
            samples = self._resampler.resample_chunk(samples, last=last)
        y, self._state = yield NetworkInput(samples, self._state, last)
        scores = y[:, 0]
        alarms = [*self._finder.accept(scores), *(self._finder.finish(self.duration_s) if last else ())]
        self.block = DetectedBlock(samples, scores, tuple(alarms))
        self._events += alarms


class AlarmFinder:
    """Anomaly scores in pieces -> alarms as they end: runs of windows above the threshold.

    Each window stands for the time around its middle, the first and the last also for the time before and after.
    """

    def __init__(self, detector: AnomalyDetector, threshold: Threshold) -> None:
        self._limit = threshold.limit
        self._hop_s = detector.stride / detector.sample_rate
        self._middle_s = detector.settings.scored_samples / detector.sample_rate / 2
        self._count = 0  # of windows
        self._first: int | None = None  # window of the current alarm
        self._peak = 0.0

    def accept(self, scores: Array) -> Iterator[Alarm]:
        """The alarms that end within the next windows (T,)."""
        for value in scores.tolist():
            if value > self._limit:
                self._peak = value if self._first is None else max(self._peak, value)
                self._first = self._count if self._first is None else self._first
            elif self._first is not None:
                yield self._alarm(self._first, self._start_s(self._count))
            self._count += 1

    def finish(self, duration_s: float) -> Iterator[Alarm]:
        """The alarm that has not ended by the end of a recording."""
        if self._first is not None:
            yield self._alarm(self._first, duration_s)

    def _alarm(self, first: int, end_s: float) -> Alarm:
        self._first = None
        return Alarm(self._start_s(first) if first else 0.0, end_s, self._peak)

    def _start_s(self, window: int) -> float:
        """The start of the time that a window stands for."""
        return self._middle_s + (window - 0.5) * self._hop_s


@dataclass
class Summary:
    """The results of a recording so far. score: the highest."""

    duration_s: float = 0.0
    score: float = float("-inf")
    alarms: list[Alarm] = field(default_factory=list)

    def add(self, block: DetectedBlock) -> None:
        self.duration_s = block.duration_s
        self.score = max(self.score, float(block.scores.max(initial=float("-inf"))))
        self.alarms += block.alarms

    def to_dict(self, threshold: Threshold) -> dict[str, Any]:
        return {
            "duration": round(self.duration_s, 3),
            "threshold": threshold.limit,
            "score": round(self.score, 4),
            "alarms": [alarm.to_dict() for alarm in self.alarms],
        }


# Evaluation: a score for each recording, baselines, the figure of a recording. The baselines ignore the order of time.
# Both are fitted to the recordings that the model was trained on:
#
#     gaussian   mean over the frames of -ln N(x; mean, covariance) / C, one Gaussian for all frames
#     mean       the squared distance of a recording's mean frame from the mean of theirs, in standard deviations


Scores = dict[str, list[float]]

WINDOW_SCORES: tuple[Score, ...] = ("ratio", "nll")
MIN_VARIANCE = 1e-2  # added to that of each channel, in nats squared: some channels of some recordings are constant

MAX_COLUMNS = 800  # of the figure
RANGE_NATS = 14.0  # levels further below the loudest point are black: 60 dB


def require_usable(
    utterances: Sequence[Utterance], settings: AnomalySettings, where: Path, *, speed: float = 1.0
) -> Array:
    """The duration of each utterance in seconds, (N,).

    speed: the fastest at which they are played. Raises one DataError for all recordings of a wrong sample rate, and one
    for all in which no frame can be predicted from another.
    """
    seconds = audio_durations_s(utterances, settings.features.sample_rate)
    least = settings.features.window_samples + settings.model.horizon * settings.features.hop_samples
    least_s = least / settings.features.sample_rate * speed
    problems = [
        Problem(f"{where}: utterance '{utterance.utt_id}'", f"lasts {duration_s:.4g} s", f"at least {least_s:.4g} s",
                "remove it")
        for utterance, duration_s in zip(utterances, seconds.tolist(), strict=True)
        if duration_s < least_s
    ]  # fmt: skip
    raise_all(problems)
    return seconds


def recording_scores(detector: AnomalyDetector, utterances: Sequence[Utterance], where: Path) -> Scores:
    """Of each recording the mean score of its windows, 'ratio' and 'nll' (``anomaly.detector``), and 'nats', the
    mean NLL of its frames. A recording shorter than a window is one window.

    Raises DataError as ``require_usable``.
    """
    scores: Scores = {**{score: [] for score in WINDOW_SCORES}, "nats": []}
    for features in features_of(detector, utterances, where):
        lengths = np.array([len(features)])
        nll, _ = detector.network.step(Padded(features[None], lengths), detector.network.initial_state(1), last=True)
        both = Padded(np.concatenate([nll.data, features[None]], axis=2), lengths)
        for score in WINDOW_SCORES:
            stage = WindowScore(features.shape[1], min(detector.settings.scored_frames, len(features)), score)
            y, _ = stage.step(both, stage.initial_state(1), last=True)
            scores[score].append(float(y.data.mean()))
        scores["nats"].append(float(nll.data[0].mean()))
    return scores


def features_of(detector: AnomalyDetector, utterances: Sequence[Utterance], where: Path) -> list[Array]:
    """The features (T, C) of each recording. Raises DataError as ``require_usable``."""
    require_usable(utterances, detector.settings, where)
    return [detector.extractor.compute(read_utterance(utterance)) for utterance in utterances]


class BaselineScores:
    """Both baselines, fitted to normal recordings; see the module."""

    def __init__(self, recordings: Sequence[Array]) -> None:
        """recordings: features (T, C) of each, at least two."""
        frames = np.concatenate(recordings).astype(np.float64)
        self._mean = frames.mean(axis=0)
        covariance = np.cov(frames.T) + MIN_VARIANCE * np.eye(frames.shape[1])
        self._precision = np.linalg.inv(covariance)
        self._log_determinant = float(np.linalg.slogdet(covariance)[1])
        means = np.array([row.mean(axis=0, dtype=np.float64) for row in recordings])
        self._center, self._spread = means.mean(axis=0), np.sqrt(means.var(axis=0) + MIN_VARIANCE)

    def gaussian(self, frames: Array) -> float:
        """(T, C) -> nats per dimension."""
        away = frames - self._mean
        squares = float(np.einsum("tc,cd,td->t", away, self._precision, away).mean())
        channels = frames.shape[1]
        return float(0.5 * (squares + self._log_determinant + channels * math.log(2 * math.pi)) / channels)

    def mean(self, frames: Array) -> float:
        """(T, C) -> squared standard deviations per dimension."""
        away = (frames.mean(axis=0, dtype=np.float64) - self._center) / self._spread
        return float(np.square(away).mean())

    def of(self, recordings: Sequence[Array]) -> Scores:
        return {"gaussian": [self.gaussian(row) for row in recordings], "mean": [self.mean(row) for row in recordings]}


# The figure


class Columns:
    """Rows (C,) in pieces -> at most ``most`` columns, each the maximum over equally many successive rows.

    When there are more, two neighbors become one, so that no anomaly is lost.
    """

    def __init__(self, channels: int, most: int = MAX_COLUMNS) -> None:
        """most: an even number."""
        self.rows_each = 1
        self._most = most
        self._full = np.zeros((0, channels))
        self._rest = np.zeros((0, channels))  # less than a column

    def accept(self, rows: Array) -> None:
        """(T, C)."""
        self._rest = np.concatenate([self._rest, rows])
        while len(self._rest) >= self.rows_each:
            taken = min(len(self._rest) // self.rows_each, self._most - len(self._full))
            split = taken * self.rows_each
            columns = self._rest[:split].reshape(taken, self.rows_each, -1).max(axis=1)
            self._full, self._rest = np.concatenate([self._full, columns]), self._rest[split:]
            if len(self._full) == self._most:
                self._full = self._full.reshape(self._most // 2, 2, -1).max(axis=1)
                self.rows_each *= 2

    @property
    def columns(self) -> Array:
        """(columns, C); the last may stand for fewer rows than the others."""
        last = [self._rest.max(axis=0, keepdims=True)] if len(self._rest) else []
        return np.concatenate([self._full, *last])


class Overview:
    """The figure of a recording that is processed block by block: anomaly scores over time, and a spectrogram."""

    def __init__(self, detector: AnomalyDetector) -> None:
        self._detector = detector
        self._spectrogram, self._scores = Columns(detector.settings.features.dim), Columns(1)
        self._extractor = FeatureExtractor(detector.settings.features)
        self._state = self._extractor.initial_state(1)

    def accept(self, block: DetectedBlock) -> None:
        x = Padded(block.samples[None], np.array([len(block.samples)]))
        features, self._state = self._extractor.step(x, self._state, last=False)
        self._spectrogram.accept(features.data[0])
        self._scores.accept(block.scores[:, None])

    def write(self, path: Path, title: str, threshold: float, alarms: Sequence[Alarm], duration_s: float) -> None:
        """A ``.svg`` or ``.png``; atomic. Raises UsageError for another suffix."""
        from recitative.report.charts import anomaly_figure
        from recitative.report.figure import save_figure

        segments = [(alarm.start_s, alarm.end_s, alarm.score) for alarm in alarms]
        points, levels, onsets = self._points(), self._levels(), self._onsets()
        save_figure(anomaly_figure(title, points, threshold, segments, levels, duration_s, onsets), path)

    def _points(self) -> Array:
        """(P, 2): seconds, at the middle of windows, and anomaly score."""
        detector, values = self._detector, self._scores.columns[:, 0]
        first_s = detector.settings.scored_samples / detector.sample_rate / 2
        column_s = self._scores.rows_each * detector.stride / detector.sample_rate
        places = first_s + (np.arange(len(values)) + 0.5) * column_s - detector.stride / detector.sample_rate / 2
        return np.stack([places, values], axis=1)

    def _levels(self) -> npt.NDArray[np.uint8]:
        """(C, columns), the highest channel first, 255 = the loudest point."""
        energies = self._spectrogram.columns.T[::-1]
        relative = np.clip(1 + (energies - energies.max()) / RANGE_NATS, 0, 1)
        return np.asarray(np.round(255 * relative), np.uint8)

    def _onsets(self) -> Array | None:
        """(columns,) in dB: the mean rise of the channels (Boeck & Widmer 2013); None without librosa."""
        try:
            from librosa.onset import onset_strength
        except ImportError:
            return None
        level_db = 10 * math.log10(math.e) * self._spectrogram.columns.T
        return np.asarray(onset_strength(S=level_db, center=False), np.float64)
