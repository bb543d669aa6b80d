"""Anomalies in streams, and in recordings of any length, rate and number of channels. No PyTorch.

    stream = watcher.stream()
    for alarm in stream.accept(samples, 48000):     # as they come, in pieces of any length
        print(alarm.start_s, alarm.end_s, alarm.score)
    stream.finish()                                 # the last ones

Memory does not grow with the duration, and what is found does not depend on the pieces.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soxr

from recitative.anomaly.detector import Watcher
from recitative.anomaly.threshold import Threshold
from recitative.audio.files import AudioInput, open_audio
from recitative.errors import DataError
from recitative.model.stream import NetworkInput, NetworkStream, Work
from recitative.stage import Array

BLOCK_S = 10.0  # a recording is heard in pieces of this length


@dataclass(frozen=True)
class Alarm:
    """A stretch of sound that is unusual: its times in seconds, and the greatest anomaly score in it."""

    start_s: float
    end_s: float
    score: float

    def to_dict(self) -> dict[str, Any]:
        """type, start, end (s), score."""
        times = {"start": round(self.start_s, 3), "end": round(self.end_s, 3)}
        return {"type": "alarm", **times, "score": round(self.score, 4)}


@dataclass(frozen=True)
class Heard:
    """A piece of a recording: samples (S,) at the model's rate, the scores (T,) that it settled, alarms that ended."""

    samples: Array
    strangeness: Array
    alarms: tuple[Alarm, ...] = ()


NOTHING = Heard(np.zeros(0, np.float32), np.zeros(0, np.float32))


class AlarmStream(NetworkStream[Alarm]):
    """One stream of audio, whose events are alarms, each as it ends. Made by ``Watcher.stream``."""

    network: Watcher

    def __init__(self, watcher: Watcher, threshold: Threshold) -> None:
        self._threshold = threshold
        self.heard = NOTHING  # in the last call
        super().__init__(watcher)

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
        self.heard = Heard(samples, scores, tuple(alarms))
        self._events += alarms


class Watch:
    """One recording with one watcher: its pieces, once."""

    def __init__(
        self,
        watcher: Watcher,
        audio: AudioInput,
        block_s: float = BLOCK_S,
        *,
        threshold: Threshold | None = None,
        partial: bool = False,
    ) -> None:
        """threshold: None = no alarms; partial: of what is cut off or damaged take what there is."""
        self.watcher, self._audio, self._block_s, self._partial = watcher, audio, block_s, partial
        self._threshold = threshold or Threshold(math.inf, math.inf, 0.0, 0)
        self.duration_s = 0.0  # of what was heard
        self.total_s = 0.0  # by the header, once it is open

    def pieces(self) -> Iterator[Heard]:
        """Raises DataError for what cannot be read, and for less than one window."""
        stream = AlarmStream(self.watcher, self._threshold)
        own_rate = self.watcher.sample_rate
        with open_audio(self._audio, own_rate, self._block_s, None, self._partial) as (rate, total, blocks):
            self.total_s = total / rate
            self._require_a_window()
            for block in blocks:
                stream.accept(block, rate)
                self.duration_s = stream.duration_s
                yield stream.heard
            stream.finish()
            yield stream.heard

    def _require_a_window(self) -> None:
        least_s = self.watcher.settings.watch_samples / self.watcher.sample_rate
        if self.total_s < least_s:
            where = str(self._audio) if isinstance(self._audio, str | Path) else "the audio"
            allowed = f"at least {least_s:.4g} s, which the model judges together"
            raise DataError(where, f"lasts {self.total_s:.4g} s", allowed, "give a longer recording")


@dataclass
class Summary:
    """What was found in a recording so far. score: the greatest."""

    duration_s: float = 0.0
    score: float = float("-inf")
    alarms: list[Alarm] = field(default_factory=list)

    def add(self, heard: Heard) -> None:
        self.score = max(self.score, float(heard.strangeness.max(initial=float("-inf"))))
        self.alarms += heard.alarms

    def to_dict(self, threshold: Threshold) -> dict[str, Any]:
        return {
            "duration": round(self.duration_s, 3),
            "threshold": threshold.limit,
            "score": round(self.score, 4),
            "alarms": [alarm.to_dict() for alarm in self.alarms],
        }


class AlarmFinder:
    """Strangeness as it comes -> alarms as they end: the windows in a row that are above the limit.

    Each window speaks for the time around its middle, the first and the last also for what lies before and behind.
    """

    def __init__(self, watcher: Watcher, threshold: Threshold) -> None:
        self._limit = threshold.limit
        self._hop_s = watcher.stride / watcher.sample_rate
        self._middle_s = watcher.settings.watch_samples / watcher.sample_rate / 2
        self._count = 0  # of windows
        self._first: int | None = None  # window of the alarm that is going on
        self._peak = 0.0

    def accept(self, strangeness: Array) -> Iterator[Alarm]:
        """Those that end within the next windows (T,)."""
        for value in strangeness.tolist():
            if value > self._limit:
                self._peak = value if self._first is None else max(self._peak, value)
                self._first = self._count if self._first is None else self._first
            elif self._first is not None:
                yield self._alarm(self._place_s(self._count))
            self._count += 1

    def finish(self, duration_s: float) -> Iterator[Alarm]:
        """The one that has not ended by the end of a recording."""
        if self._first is not None:
            yield self._alarm(duration_s)

    def _alarm(self, end_s: float) -> Alarm:
        assert self._first is not None
        start_s = self._place_s(self._first) if self._first else 0.0
        self._first = None
        return Alarm(start_s, end_s, self._peak)

    def _place_s(self, window: int) -> float:
        """Where what a window speaks for begins."""
        return self._middle_s + (window - 0.5) * self._hop_s
