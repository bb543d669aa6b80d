"""An utterance: one stretch of speech by one speaker."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Utterance:
    """One stretch of speech by one speaker."""

    utt_id: str
    speaker: str
    recording_path: str  # of a file, or a location inside one (``audio.slices``)
    start_s: float = 0.0
    end_s: float | None = None  # None: the whole recording is the utterance
    text: str | None = None  # words with single spaces; None: not transcribed
    recording_id: str = ""  # the key in wav.scp; empty: the utterance's own id
