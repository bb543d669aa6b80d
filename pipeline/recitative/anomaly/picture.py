"""What the figure of an anomaly model shows of a recording: scores over time, and a spectrogram.

A recording of any length is kept as at most ``MOST_COLUMNS`` columns: when there are more, two neighbors become one
with the greater of their values, so that no anomaly is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from recitative.anomaly.detector import Watcher
from recitative.anomaly.watch import Alarm, Heard
from recitative.features.frontend import FeatureExtractor
from recitative.report.charts import anomaly_figure
from recitative.report.figure import save_figure
from recitative.stage import Array, Padded

MOST_COLUMNS = 800
RANGE_NATS = 14.0  # levels further below the loudest point are black: 60 dB


class Columns:
    """Rows (C,) as they come -> at most ``most`` columns, each the greatest values of as many rows in turn."""

    def __init__(self, channels: int, most: int = MOST_COLUMNS) -> None:
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
    """What the figure shows of a recording that is heard piece by piece."""

    def __init__(self, watcher: Watcher) -> None:
        self.watcher = watcher
        self.spectrogram, self.strangeness = Columns(watcher.settings.features.dim), Columns(1)
        self._extractor = FeatureExtractor(watcher.settings.features)
        self._state = self._extractor.initial_state(1)

    def accept(self, heard: Heard) -> None:
        x = Padded(heard.samples[None], np.array([len(heard.samples)]))
        features, self._state = self._extractor.step(x, self._state, last=False)
        self.spectrogram.accept(features.data[0])
        self.strangeness.accept(heard.strangeness[:, None])

    @property
    def points(self) -> Array:
        """(P, 2): seconds, at the middle of windows, and anomaly score."""
        watcher, values = self.watcher, self.strangeness.columns[:, 0]
        first_s = watcher.settings.watch_samples / watcher.sample_rate / 2
        column_s = self.strangeness.rows_each * watcher.stride / watcher.sample_rate
        places = first_s + (np.arange(len(values)) + 0.5) * column_s - watcher.stride / watcher.sample_rate / 2
        return np.stack([places, values], axis=1)

    @property
    def levels(self) -> npt.NDArray[np.uint8]:
        """(C, columns), the highest channel first, 255 = the loudest point."""
        energies = self.spectrogram.columns.T[::-1]
        relative = np.clip(1 + (energies - energies.max()) / RANGE_NATS, 0, 1)
        return np.asarray(np.round(255 * relative), np.uint8)

    def write(self, path: Path, title: str, threshold: float, alarms: Sequence[Alarm], duration_s: float) -> None:
        """A ``.svg`` or ``.png``; atomic. Raises UsageError for another suffix."""
        segments = [(alarm.start_s, alarm.end_s, alarm.score) for alarm in alarms]
        save_figure(anomaly_figure(title, self.points, threshold, segments, self.levels, duration_s), path)
