"""What every source of recordings is read into."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from recitative.errors import Problem


@dataclass(frozen=True)
class Entry:
    """One utterance as its source tells it; nothing of it has been looked at yet."""

    where: str  # its place in the source: 'metadata.csv:17'
    audio: Path
    text: str
    speaker: str | None  # None: the source knows no speakers
    name: str  # what tells it from the speaker's other utterances
    start_s: float = 0.0
    end_s: float | None = None  # None: to the end of the recording
    channel: int | None = None  # from 0; None: all, averaged


@dataclass(frozen=True)
class Source:
    """Everything that a source holds."""

    root: Path  # what the user named
    entries: tuple[Entry, ...]
    bad: tuple[Problem, ...] = ()  # one for every row that is no entry
    notes: tuple[str, ...] = ()  # what was decided without being asked, for the user to see
