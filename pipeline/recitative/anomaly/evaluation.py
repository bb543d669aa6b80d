"""Evaluation of an anomaly detector: a score for each recording, baselines, the figure of a recording. No PyTorch.

The baselines ignore the order of time. Both are fitted to the recordings that the model was trained on:

    gaussian   mean over the frames of -ln N(x; mean, covariance) / C, one Gaussian for all frames
    mean       the squared distance of a recording's mean frame from the mean of theirs, in standard deviations
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from recitative.anomaly.detector import Alarm, AnomalyDetector, AnomalySettings, DetectedBlock, Score, WindowScore
from recitative.data.tables import Utterance
from recitative.errors import DataError, Problem
from recitative.features.extraction import audio_durations_s, read_utterance
from recitative.features.frontend import FeatureExtractor
from recitative.report.charts import anomaly_figure
from recitative.report.figure import save_figure
from recitative.stage import Array, Padded

Scores = dict[str, list[float]]

WINDOW_SCORES: tuple[Score, ...] = ("ratio", "surprise")
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
    if problems:
        raise DataError.collect(problems)
    return seconds


def recording_scores(detector: AnomalyDetector, utterances: Sequence[Utterance], where: Path) -> Scores:
    """Of each recording the mean score of its windows, 'ratio' and 'surprise' (``anomaly.detector``), and 'nats', the
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
