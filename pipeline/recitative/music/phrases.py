"""Phrases in live audio: what is sung or played between two pauses, by its loudness. NumPy only."""

from __future__ import annotations

from collections import deque

import numpy as np

from recitative.audio.files import Samples

LONGEST_S = 30.0
_FRAME_S = 0.01
_QUIETEST_DB = -50.0  # below full scale: what is quieter is silence in any room
_ABOVE_NOISE_DB = 8.0
_BELOW_PEAK_DB = 12.0  # a level that stays within this range of the loudest is a held note, not noise
_NOISE_S, _SMOOTH = 10.0, 30  # the noise is the quietest mean of so many frames in so many seconds
_BEGIN = 3  # loud frames that begin a phrase; a click has fewer
_BEFORE_S, _AFTER_S = 0.1, 0.2  # kept around a phrase
_SHORTEST_S = 0.3


class PhraseDetector:
    """Cuts live audio into phrases. Memory is bounded by ``longest_s``.

    A phrase ends with ``silence_s`` of silence, or after ``longest_s``. Silence is at most 8 dB above the noise, which
    is measured all the time, and 12 dB below the loudest frame of the phrase. A hum that goes on for ``longest_s`` is
    noise. How the samples are chunked does not matter. sample_rate: Hz
    """

    def __init__(self, sample_rate: int, silence_s: float = 0.8, longest_s: float = LONGEST_S) -> None:
        self._hop = max(1, round(_FRAME_S * sample_rate))
        self._silence, self._longest = round(silence_s / _FRAME_S), round(longest_s / _FRAME_S)
        self._rest: Samples = np.zeros(0, np.float32)  # less than a frame
        self._levels: deque[float] = deque(maxlen=round(_NOISE_S / _FRAME_S))  # of the noise, in dB
        self._recent: deque[float] = deque(maxlen=_SMOOTH)  # mean squares of frames
        self._knows_noise = False  # until a pause was heard, or so much that there must have been one
        self.reset()

    def reset(self) -> None:
        """Forget the phrase that has begun, such as when an answer was heard."""
        self._frames: list[Samples] = []
        self._loud = self._quiet = 0  # frames since the phrase began, and since the last loud one
        self._peak_db = -np.inf

    def accept(self, samples: Samples) -> list[Samples]:
        """The phrases (S,) that end in these samples (S,)."""
        found = []
        samples = np.concatenate([self._rest, samples])
        whole = len(samples) // self._hop * self._hop
        self._rest = samples[whole:]
        for frame in samples[:whole].reshape(-1, self._hop):
            phrase = self._step(frame)
            if phrase is not None:
                found.append(phrase)
        return found

    def finish(self) -> list[Samples]:
        """The phrase that has begun, if any; the audio has ended."""
        phrase = self._ended()
        return [] if phrase is None else [phrase]

    def _step(self, frame: Samples) -> Samples | None:
        self._recent.append(float(np.mean(np.square(frame, dtype=np.float64))))
        level_db = 10 * np.log10(self._recent[-1] + 1e-12)
        if len(self._recent) == _SMOOTH:
            self._levels.append(10 * np.log10(np.mean(self._recent) + 1e-12))
        self._knows_noise |= len(self._levels) == self._levels.maxlen
        noise_db = min(self._levels, default=-np.inf)
        begun = self._loud >= _BEGIN
        if begun:
            self._peak_db = max(self._peak_db, level_db)
            threshold = min(noise_db + _ABOVE_NOISE_DB, self._peak_db - _BELOW_PEAK_DB)
        else:
            threshold = noise_db + _ABOVE_NOISE_DB if self._knows_noise else -np.inf
        loud = level_db > max(_QUIETEST_DB, threshold)
        self._frames.append(frame)
        self._quiet = 0 if loud else self._quiet + 1
        if not begun:
            self._loud = self._loud + 1 if loud else 0
            del self._frames[: -round(_BEFORE_S / _FRAME_S) - self._loud]
        elif self._quiet >= self._silence:
            self._knows_noise = True
            return self._ended()
        elif len(self._frames) >= self._longest:
            if self._peak_db - noise_db < _BELOW_PEAK_DB:
                self.reset()
            return self._ended()
        return None

    def _ended(self) -> Samples | None:
        """The phrase without the silence at its end; None if it is too short."""
        end = len(self._frames) - max(0, self._quiet - round(_AFTER_S / _FRAME_S))
        frames = self._frames[:end] if self._loud >= _BEGIN else []
        self.reset()
        return np.concatenate(frames) if len(frames) * _FRAME_S >= _SHORTEST_S else None
