"""Watching recordings of any length, rate and number of channels: what is unusual in them, and when. No PyTorch.

Memory does not grow with a recording's duration, and what is found does not depend on the pieces it is heard in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr

from recitative.anomaly.detector import Watcher
from recitative.anomaly.threshold import Threshold
from recitative.audio.files import AudioInfo, open_blocks
from recitative.errors import DataError
from recitative.stage import Array, Padded

BLOCK_S = 10.0  # a recording is heard in pieces of this length


@dataclass(frozen=True)
class Heard:
    """A piece of a recording: samples (S,) at the model's rate, and the strangeness (T,) that it settled."""

    samples: Array
    strangeness: Array


@dataclass(frozen=True)
class Alarm:
    """A stretch of sound that is unusual, and the greatest strangeness in it."""

    start_s: float
    end_s: float
    strangeness: float


class Watch:
    """One recording with one watcher: its pieces, once."""

    def __init__(self, watcher: Watcher, path: str | Path, block_s: float = BLOCK_S, *, partial: bool = False) -> None:
        """partial: of what is cut off or damaged take what there is."""
        self.watcher, self.path, self._block_s, self._partial = watcher, path, block_s, partial
        self.duration_s = 0.0  # of what was heard
        self.total_s = 0.0  # by the header, once it is open

    def pieces(self) -> Iterator[Heard]:
        """Raises DataError for what cannot be read, and for less than one window."""
        watcher, state = self.watcher, self.watcher.initial_state(1)
        with open_blocks(self.path, self._block_s, partial=self._partial) as (info, blocks):
            self._require_a_window(info)
            self.total_s = info.duration_s
            for samples, last in _resampled(blocks, info, watcher.sample_rate):
                y, state = watcher.step(Padded(samples[None], np.array([len(samples)])), state, last=last)
                self.duration_s += len(samples) / watcher.sample_rate
                yield Heard(samples, y.data[0, :, 0])

    def _require_a_window(self, info: AudioInfo) -> None:
        least_s = self.watcher.settings.watch_samples / self.watcher.sample_rate
        if info.duration_s < least_s:
            allowed = f"at least {least_s:.4g} s, which the model judges together"
            raise DataError(str(self.path), f"lasts {info.duration_s:.4g} s", allowed, "give a longer recording")


def _resampled(blocks: Iterable[Array], info: AudioInfo, rate: int) -> Iterator[tuple[Array, bool]]:
    """Blocks at another rate; the last one, which may be empty, is marked."""
    resampler = soxr.ResampleStream(info.sample_rate, rate, 1, dtype="float32", quality="VHQ")
    for block in blocks:
        yield (block if info.sample_rate == rate else resampler.resample_chunk(block)), False
    nothing = np.zeros(0, np.float32)
    yield (nothing if info.sample_rate == rate else resampler.resample_chunk(nothing, last=True)), True


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
