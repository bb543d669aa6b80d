"""Settings of a model of music as events. Loaded by ``config.load_tree``; no torch."""

from __future__ import annotations

from functools import cached_property
from typing import Literal

from pydantic import BaseModel, Field, model_validator

from recitative.config import TrainSettings
from recitative.lm.settings import NetworkSettings
from recitative.music.events import EventVocabulary

OF_AUDIO = ("batch_s", "max_duration_s", "workers", "cache_mb")  # training settings that do not apply to notes


class _Section(BaseModel, frozen=True, extra="forbid"):
    pass


class EventSettings(_Section):
    """The vocabulary of events; see ``music.events``."""

    steps_per_quarter: int = Field(12, ge=1, le=48)
    voices: int = Field(1, ge=1, le=16)  # further voices of a piece are added to the last one
    lowest: int = Field(21, ge=0, le=127)  # MIDI pitches; others are an error
    highest: int = Field(108, ge=0, le=127)
    ranges: tuple[tuple[int, int], ...] = ()  # lowest and highest pitch to generate for each voice; (): any
    longest_length: int = Field(96, ge=1, le=4096)  # maximum duration in steps; longer notes are cut
    longest_shift: int = Field(48, ge=1, le=4096)  # maximum steps of one token; longer gaps need several

    @model_validator(mode="after")
    def _consistent(self) -> EventSettings:
        if self.lowest > self.highest:
            raise ValueError(f"lowest={self.lowest} must be at most highest={self.highest}")
        if self.ranges and len(self.ranges) != self.voices:
            raise ValueError(f"ranges has {len(self.ranges)} entries for {self.voices} voices")
        if any(not self.lowest <= low <= high <= self.highest for low, high in self.ranges):
            raise ValueError(f"ranges={self.ranges} must be [low, high] from {self.lowest} to {self.highest}")
        return self

    @property
    def bar(self) -> int:
        """Steps of four quarters."""
        return 4 * self.steps_per_quarter

    @cached_property
    def vocabulary(self) -> EventVocabulary:
        limits = self.longest_length, self.longest_shift, self.voices, self.lowest, self.highest
        return EventVocabulary(self.steps_per_quarter, *limits)


class EventPieceSettings(_Section):
    """Batches of pieces."""

    streams: int = Field(16, ge=1)  # batch size: streams of concatenated pieces
    bptt: int = Field(128, ge=1)  # truncated BPTT length in tokens; the state is carried over
    transpose: int = Field(6, ge=0, le=24)  # random transposition of each piece and epoch, up to this many semitones


class EventsTrainSettings(TrainSettings):
    """Training settings with other defaults."""

    epochs: int = Field(30, ge=1)
    learning_rate: float = Field(4e-3, gt=0)  # peak
    warmup_steps: int = Field(100, ge=0)
    clip_norm: float = Field(1.0, gt=0)
    keep_best: int = Field(1, ge=1)

    @model_validator(mode="after")
    def _no_audio(self) -> EventsTrainSettings:
        for name in OF_AUDIO:
            if getattr(self, name) != TrainSettings.model_fields[name].default:
                raise ValueError(f"{name} applies to audio only; see pieces.streams and pieces.bptt")
        return self


class EventsSettings(_Section):
    """Settings of a model of music as events."""

    kind: Literal["events"] = "events"  # identifies the kind of model
    events: EventSettings = EventSettings()
    pieces: EventPieceSettings = EventPieceSettings()
    model: NetworkSettings = NetworkSettings()
    train: EventsTrainSettings = EventsTrainSettings()
