"""Settings of a model of music in frames. Loaded by ``config.load_tree``; no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, model_validator

from recitative.config import RecurrentSettings, TrainingData, TrainSettings
from recitative.music.frames import FrameCode

OF_AUDIO = ("batch_s", "max_duration_s", "workers", "cache_mb")  # training settings that do not apply to notes


class _Section(BaseModel, frozen=True, extra="forbid"):
    pass


class FrameSettings(_Section):
    """Frames of music; see ``music.frames``."""

    voices: int = Field(4, ge=1, le=16)
    lowest: int = Field(36, ge=0, le=127)  # MIDI pitches
    highest: int = Field(84, ge=0, le=127)
    steps_per_quarter: int = Field(4, ge=1, le=48)
    bar: int = Field(16, ge=1)  # steps of a bar
    sets: bool = False  # a frame is a set of pitches, without voices
    ranges: tuple[tuple[int, int], ...] = ()  # lowest and highest pitch to generate for each voice; (): any
    recall: int = Field(1024, ge=0)  # frames of the past searched for repetitions, 0: none
    outer_first: bool = True  # generate the outer voices of a frame before the inner ones; not with sets

    @model_validator(mode="after")
    def _consistent(self) -> FrameSettings:
        if self.lowest > self.highest:
            raise ValueError(f"lowest={self.lowest} must be at most highest={self.highest}")
        if self.ranges and len(self.ranges) != self.voices:
            raise ValueError(f"ranges has {len(self.ranges)} entries for {self.voices} voices")
        if any(not self.lowest <= low <= high <= self.highest for low, high in self.ranges):
            raise ValueError(f"ranges={self.ranges} must be [low, high] from {self.lowest} to {self.highest}")
        return self

    @property
    def code(self) -> FrameCode:
        order = list(range(self.voices))
        if self.outer_first and not self.sets and self.voices > 2:
            order = [0, self.voices - 1, *order[1:-1]]
        return FrameCode(self.voices, self.lowest, self.highest, self.bar, tuple(order), self.sets, self.recall)


class MusicCoreSettings(RecurrentSettings):
    """The recurrent core: forward to continue music, bidirectional to fill in notes."""

    direction: Literal["forward", "bidirectional"] = "forward"
    layers: int = Field(2, ge=1)
    hidden: int = Field(256, ge=1)
    residual: bool = True


class MusicNetworkSettings(_Section):
    width: int = Field(256, ge=1)  # of the core's input
    choice_width: int = Field(256, ge=1)  # of the network that generates the voices of a frame
    dropout: float = Field(0.5, ge=0, lt=1)
    feature_dropout: float = Field(0.15, ge=0, lt=1)  # of the features of a frame, each separately
    recurrent: MusicCoreSettings = MusicCoreSettings()


class PieceSettings(_Section):
    """Batches of pieces."""

    rows: int = Field(8, ge=1)  # batch size
    bptt: int = Field(128, ge=1)  # truncated BPTT length in frames; the state is carried over
    transpose: int = Field(6, ge=0, le=12)  # random transposition of each piece and epoch, up to this many semitones
    tell_end: float = Field(0.3, ge=0, le=1)  # probability of conditioning on the distance to the end
    tell_key: float = Field(0.5, ge=0, le=1)  # probability of conditioning on the tonic
    key: int = Field(-1, ge=-1, le=11)  # tonic of all pieces, 0 is C; -1: estimated for each piece
    scheduled_sampling: float = Field(0.0, ge=0, le=1)  # share of input frames sampled from the model


class MusicTrainSettings(TrainSettings):
    """Training settings with other defaults."""

    epochs: int = Field(60, ge=1)
    learning_rate: float = Field(2e-3, gt=0)  # peak
    weight_decay: float = Field(0.05, ge=0)
    warmup_steps: int = Field(200, ge=0)
    clip_norm: float = Field(1.0, gt=0)
    keep_best: int = Field(1, ge=1)
    ema: float = Field(0.998, ge=0, lt=1)

    @model_validator(mode="after")
    def _no_audio(self) -> MusicTrainSettings:
        for name in OF_AUDIO:
            if getattr(self, name) != TrainSettings.model_fields[name].default:
                raise ValueError(f"{name} applies to audio only; see pieces.rows and pieces.bptt")
        return self


class MusicSettings(_Section):
    """Settings of a model of music in frames."""

    kind: Literal["music"] = "music"  # identifies the kind of model
    frames: FrameSettings = FrameSettings()
    pieces: PieceSettings = PieceSettings()
    model: MusicNetworkSettings = MusicNetworkSettings()
    train: MusicTrainSettings = MusicTrainSettings()


class MusicData(TrainingData):
    train: Path  # a folder of MIDI or ABC files
    dev: Path  # a folder of pieces that choose the best epoch
    skip_bad: bool = False  # leave out files that cannot be used, and name them on stderr
