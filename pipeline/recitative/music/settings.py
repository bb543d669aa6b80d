"""The kinds 'music', written music as frames of voices, and 'events', written music as a sequence of events: their
settings, those of requests and of training data, and what they are. No torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, Field, model_validator

from recitative.config import RecurrentSettings, Section, TokenTrainSettings, TrainingData
from recitative.lm.recurrent import NetworkSettings
from recitative.model.kind import LENGTHS, Endpoint, Entries, ModelKind, ModelMetadata, Signature, token_graph
from recitative.music.events import EventVocabulary
from recitative.music.frames import FrameCode

if TYPE_CHECKING:
    from recitative.music.composer import EventScorer, MusicScorer


PitchSettings = TypeVar("PitchSettings", "FrameSettings", "EventSettings")


def _check_pitches(settings: PitchSettings) -> PitchSettings:
    """Raises ValueError if the ranges of the voices are not within that of all."""
    lowest, highest, ranges = settings.lowest, settings.highest, settings.ranges
    if lowest > highest:
        raise ValueError(f"lowest={lowest} must be at most highest={highest}")
    if ranges and len(ranges) != settings.voices:
        raise ValueError(f"ranges has {len(ranges)} entries for {settings.voices} voices")
    if any(not lowest <= low <= high <= highest for low, high in ranges):
        raise ValueError(f"ranges={ranges} must be [low, high] from {lowest} to {highest}")
    return settings


def voice_ranges(settings: FrameSettings | EventSettings) -> tuple[tuple[int, int], ...]:
    """The lowest and highest pitch to generate for each voice."""
    return settings.ranges or ((settings.lowest, settings.highest),) * settings.voices


class FrameSettings(Section):
    """Frames of music; see ``music.frames``."""

    voices: int = Field(4, ge=1, le=16)
    lowest: int = Field(36, ge=0, le=127)  # MIDI pitches
    highest: int = Field(84, ge=0, le=127)
    steps_per_quarter: int = Field(4, ge=1, le=48)
    bar: int = Field(16, ge=1)  # steps of a bar
    sets: bool = False  # a frame is a set of pitches, without voices
    ranges: tuple[tuple[int, int], ...] = ()  # lowest and highest pitch to generate for each voice; (): any
    recall: int = Field(1024, ge=0)  # frames of the past searched by the look-back features, 0: none
    outer_first: bool = True  # generate the outer voices of a frame before the inner ones; not with sets

    _consistent = model_validator(mode="after")(_check_pitches)

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


class MusicNetworkSettings(Section):
    width: int = Field(256, ge=1)  # of the core's input
    choice_width: int = Field(256, ge=1)  # of the network that generates the voices of a frame
    dropout: float = Field(0.5, ge=0, lt=1)
    feature_dropout: float = Field(0.15, ge=0, lt=1)  # of the features of a frame, each separately
    recurrent: MusicCoreSettings = MusicCoreSettings()


class PieceSettings(Section):
    """Batches of pieces."""

    rows: int = Field(8, ge=1)  # batch size
    bptt: int = Field(128, ge=1)  # truncated BPTT length in frames; the state is carried over
    transpose: int = Field(6, ge=0, le=12)  # random transposition of each piece and epoch, up to this many semitones
    tell_end: float = Field(0.3, ge=0, le=1)  # probability of conditioning on the distance to the end
    tell_key: float = Field(0.5, ge=0, le=1)  # probability of conditioning on the tonic
    key: int = Field(-1, ge=-1, le=11)  # tonic of all pieces, 0 is C; -1: estimated for each piece
    scheduled_sampling: float = Field(0.0, ge=0, le=1)  # share of input frames sampled from the model


class MusicTrainSettings(TokenTrainSettings):
    """Training settings with other defaults."""

    batch_settings: ClassVar[str] = "pieces.rows and pieces.bptt"
    epochs: int = Field(60, ge=1)
    learning_rate: float = Field(2e-3, gt=0)  # peak
    weight_decay: float = Field(0.05, ge=0)
    warmup_steps: int = Field(200, ge=0)
    ema: float = Field(0.998, ge=0, lt=1)


class MusicSettings(Section):
    """Settings of a model of music in frames."""

    kind: Literal["music"] = "music"  # identifies the kind of model
    frames: FrameSettings = FrameSettings()
    pieces: PieceSettings = PieceSettings()
    model: MusicNetworkSettings = MusicNetworkSettings()
    train: MusicTrainSettings = MusicTrainSettings()


class EventSettings(Section):
    """The vocabulary of events; see ``music.events``."""

    steps_per_quarter: int = Field(12, ge=1, le=48)
    voices: int = Field(1, ge=1, le=16)  # further voices of a piece are added to the last one
    lowest: int = Field(21, ge=0, le=127)  # MIDI pitches; others are an error
    highest: int = Field(108, ge=0, le=127)
    ranges: tuple[tuple[int, int], ...] = ()  # lowest and highest pitch to generate for each voice; (): any
    longest_length: int = Field(96, ge=1, le=4096)  # maximum duration in steps; longer notes are cut
    longest_shift: int = Field(48, ge=1, le=4096)  # maximum steps of one token; longer gaps need several

    _consistent = model_validator(mode="after")(_check_pitches)

    @property
    def bar(self) -> int:
        """Steps of four quarters."""
        return 4 * self.steps_per_quarter

    @cached_property
    def vocabulary(self) -> EventVocabulary:
        limits = self.longest_length, self.longest_shift, self.voices, self.lowest, self.highest
        return EventVocabulary(self.steps_per_quarter, *limits)


class EventPieceSettings(Section):
    """Batches of pieces."""

    streams: int = Field(16, ge=1)  # batch size: streams of concatenated pieces
    bptt: int = Field(128, ge=1)  # truncated BPTT length in tokens; the state is carried over
    transpose: int = Field(6, ge=0, le=24)  # random transposition of each piece and epoch, up to this many semitones


class EventsTrainSettings(TokenTrainSettings):
    """Training settings with other defaults."""

    batch_settings: ClassVar[str] = "pieces.streams and pieces.bptt"
    epochs: int = Field(30, ge=1)
    learning_rate: float = Field(4e-3, gt=0)  # peak


class EventsSettings(Section):
    """Settings of a model of music as events."""

    kind: Literal["events"] = "events"  # identifies the kind of model
    events: EventSettings = EventSettings()
    pieces: EventPieceSettings = EventPieceSettings()
    model: NetworkSettings = NetworkSettings()
    train: EventsTrainSettings = EventsTrainSettings()


MAX_REQUESTED_BARS = 64  # of a piece that a server generates


class KeptNote(BaseModel, extra="forbid"):
    """In seconds; voice: 0 is the highest."""

    start: float = Field(ge=0, le=3600)
    end: float = Field(gt=0, le=3600)
    pitch: int = Field(ge=0, le=127)
    voice: int = Field(0, ge=0, le=15)


class MusicRequest(BaseModel, extra="forbid"):
    """A request to a server. The options of ``recitative generate music``, all optional."""

    model: str = Field("", description="A name from /v1/models; default: the first with this mode.")
    mode: Literal["continue", "harmonize", "fill"] = Field("continue", description="Without midi, a new piece.")
    midi: str = Field("", max_length=1_000_000, description="A MIDI file in base64, whose notes are kept.")
    bars: int = Field(12, ge=1, le=MAX_REQUESTED_BARS, description="Of a new piece, or of the continuation.")
    seed: int | None = Field(None, ge=0, le=2**63 - 1, description="Equal seeds give equal answers. Default: random.")
    temperature: float | None = Field(None, gt=0, le=100, description="Default: 1, of harmonize and fill 0.7.")
    top_p: float = Field(0.98, gt=0, le=1, description="Nucleus (top-p) sampling threshold.")
    tempo: float = Field(0, description="Quarter notes per minute. 0: that of the midi, of a new piece 100.")
    key: str = Field("", max_length=16, description="Use only notes of this key, such as G, Bb or F#m.")
    rests: bool = Field(False, description="New notes may leave rests.")
    voice: str = Field("1", max_length=16, description="harmonize: the voice that the midi has, such as soprano.")
    voices: str = Field(
        "",
        max_length=80,
        description="fill: voices to write anew, such as 'alto,tenor' or 'all'. Default: where voices are silent.",
    )
    fill_bars: str = Field("", max_length=16, description="fill: write only these bars of the voices anew: '5-8'.")
    notes: list[KeptNote] = Field([], max_length=4096, description="Notes that the new part must have.")

    @model_validator(mode="after")
    def _consistent(self) -> MusicRequest:
        if self.tempo and not 10 <= self.tempo <= 400:
            raise ValueError(f"tempo={self.tempo} must be from 10 to 400, or 0")
        if self.fill_bars and not (self.voices and self.mode == "fill"):
            raise ValueError("fill_bars needs mode 'fill' and voices")
        return self


class MusicData(TrainingData):
    train: Path  # a folder of MIDI or ABC files
    dev: Path  # a folder of pieces that choose the best epoch
    skip_bad: bool = False  # leave out files that cannot be used, and name them on stderr


def describe(metadata: ModelMetadata) -> dict[str, str]:
    frames = metadata.settings.frames
    does = "continues" if metadata.settings.model.recurrent.direction == "forward" else "fills in"
    what = "pitches" if frames.sets else "voices"
    grid = f"{frames.steps_per_quarter} steps a quarter note"
    return {"kind": f"music, {does}", "frames": f"{frames.voices} {what}, {frames.lowest} to {frames.highest}, {grid}"}


def _graphs(_settings: MusicSettings, _extras: Mapping[str, Any]) -> Mapping[str, Signature]:
    ids: Entries = {"ids": ("int64", (None, None, None)), **LENGTHS}
    choice: Entries = {
        "hidden": ("float32", (None, None)),
        "ids": ("int64", (None, None)),
        "beside": ("int64", (None, None)),
    }
    return {
        "": Signature(ids, {"hidden": ("float32", (None, None, None))}),
        "choice": Signature(choice, {"scores": ("float32", (None, None))}),
    }


def _about(scorer: MusicScorer) -> dict[str, Any]:
    frames = scorer.frames
    modes = ["harmonize", "fill"] if scorer.fills else ["continue"]
    return {
        "streams": False,
        "modes": modes,
        "voices": frames.voices,
        "lowest": frames.lowest,
        "highest": frames.highest,
    }


def _about_events(scorer: EventScorer) -> dict[str, Any]:
    events = scorer.events
    pitches = {"lowest": events.lowest, "highest": events.highest}
    return {"streams": False, "modes": ["continue"], "voices": events.voices} | pitches


def _suits(scorer: MusicScorer | EventScorer, request: MusicRequest) -> bool:
    from recitative.music.composition import suits

    return suits(scorer, request)


def _answer(scorer: MusicScorer | EventScorer, request: MusicRequest, check: Callable[[], None]) -> dict[str, Any]:
    from recitative.music.composition import answer

    return answer(scorer, request, lambda done, total: check())


MUSIC = ModelKind(
    name="music",
    title="music model",
    settings=MusicSettings,
    data=MusicData,
    build="recitative.music.task:new_music_model",
    task="recitative.music.task:prepare",
    runner="recitative.music.composer:MusicScorer",
    graphs=_graphs,
    describe=describe,
    writer="recitative.music.task:write_music",
    int8="weights",
    endpoint=Endpoint("/v1/music", _about, _answer, MusicRequest, _suits),
)


def describe_events(metadata: ModelMetadata) -> dict[str, str]:
    events = metadata.settings.events
    grid = f"{events.steps_per_quarter} steps a quarter note"
    return {
        "kind": "music, as events",
        "notes": f"{events.voices} voices, {events.lowest} to {events.highest}, {grid}",
    }


EVENTS = ModelKind(
    name="events",
    title="music event model",
    settings=EventsSettings,
    data=MusicData,
    build="recitative.music.task:new_events_model",
    task="recitative.music.task:prepare",
    runner="recitative.music.composer:EventScorer",
    graphs=lambda settings, extras: token_graph(len(settings.events.vocabulary)),
    describe=describe_events,
    int8="weights",
    endpoint=Endpoint("/v1/music", _about_events, _answer, MusicRequest, _suits),
)
