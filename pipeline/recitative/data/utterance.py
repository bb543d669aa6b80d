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
    end_s: float | None = None  # None: to the end of the recording
    text: str | None = None  # words with single spaces; None: not transcribed
    recording_id: str = ""  # the key in wav.scp; empty: the utterance's own id

    @property
    def is_segment(self) -> bool:
        """Whether the table segments names it; else its recording is the utterance."""
        return self.end_s is not None or bool(self.recording_id)
