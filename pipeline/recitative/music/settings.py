"""The kinds 'music', written music as frames of voices, and 'events', written music as a sequence of events: their
settings and those of training data, what they are; and requests to their models: constraints, given notes, and the
places where notes are to be generated. No torch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

import numpy as np
from pydantic import BaseModel, Field, model_validator

from recitative.config import RecurrentSettings, Section, TokenTrainSettings, TrainingData
from recitative.errors import DataError, UsageError, counted
from recitative.lm.recurrent import NetworkSettings
from recitative.model.kind import LENGTHS, Endpoint, Entries, ModelKind, ModelMetadata, Signature, token_graph
from recitative.music.frames import EventVocabulary, FrameCode, as_sets
from recitative.music.piece import (
    HIGHEST,
    LOWEST,
    NATURALS,
    SILENT,
    VOICES,
    Key,
    Piece,
    Pitches,
    key_name,
    likeliest_keys,
    pitch_name,
    separated,
    to_grid,
)
from recitative.stage import Mask

if TYPE_CHECKING:
    from recitative.music.composer import EventScorer, MusicScorer

PitchSettings = TypeVar("PitchSettings", "FrameSettings", "EventSettings")


def _check_pitches(settings: PitchSettings) -> PitchSettings:
    """Raises ValueError if the ranges of the voices are not within that of all."""
    lowest, highest, ranges = settings.lowest, settings.highest, settings.ranges
    if lowest > highest:
        raise ValueError(f"lowest={lowest} must be at most highest={highest}")
    if ranges and len(ranges) != settings.voices:
        raise ValueError(
            f"ranges has {counted(len(ranges), 'entry', 'entries')} for {counted(settings.voices, 'voice')}"
        )
    if any(not lowest <= low <= high <= highest for low, high in ranges):
        raise ValueError(f"ranges={ranges} must be [low, high] from {lowest} to {highest}")
    return settings


def voice_ranges(settings: FrameSettings | EventSettings) -> tuple[tuple[int, int], ...]:
    """The lowest and highest pitch to generate for each voice."""
    return settings.ranges or ((settings.lowest, settings.highest),) * settings.voices


MIN_CADENCE_VOICES = 3  # of a model that can end with a cadence


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
    def has_cadences(self) -> bool:
        return not self.sets and self.voices >= MIN_CADENCE_VOICES

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
    """The vocabulary of events; see ``music.frames.EventVocabulary``."""

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


Ending = Literal["free", "cadence"]


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
    ending: Ending = Field("free", description="cadence: the piece ends with an authentic cadence, V-I.")
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
        "endings": ["free", "cadence"] if frames.has_cadences else ["free"],
        "voices": frames.voices,
        "lowest": frames.lowest,
        "highest": frames.highest,
    }


def _about_events(scorer: EventScorer) -> dict[str, Any]:
    events = scorer.events
    pitches = {"lowest": events.lowest, "highest": events.highest}
    return {"streams": False, "modes": ["continue"], "endings": ["free"], "voices": events.voices} | pitches


def _suits(scorer: MusicScorer | EventScorer, request: MusicRequest) -> bool:
    from recitative.music.composition import suits

    return suits(scorer, request)


def _answer(scorer: MusicScorer | EventScorer, request: MusicRequest, check: Callable[[], None]) -> dict[str, Any]:
    from recitative.music.composition import answer

    return answer(scorer, request, lambda done, total: check())


MUSIC = ModelKind(
    name="music",
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
        "notes": f"{counted(events.voices, 'voice')}, {events.lowest} to {events.highest}, {grid}",
    }


EVENTS = ModelKind(
    name="events",
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


# Requests


TICKS_PER_STEP = 12
QUARTERS_PER_MINUTE = 100.0  # of new pieces
MAX_BARS = 1000
NEW_BARS = 12
ACCIDENTALS = {"#": 1, "♯": 1, "b": -1, "♭": -1, "": 0}


@dataclass(frozen=True)
class Constraints:
    """Constraints on new notes. key: only notes of its scale; rests: voices may be silent; cadence: the piece ends with
    an authentic cadence."""

    key: Key | None = None
    rests: bool = False
    cadence: bool = False


@dataclass(frozen=True)
class EventConstraints:
    """Constraints on new notes. key: only notes of its scale; lowest, highest: MIDI pitches, in addition to the range
    of each voice."""

    key: Key | None = None
    lowest: int = LOWEST
    highest: int = HIGHEST


def parse_key(text: str, name: str = "--key") -> Key | None:
    """Parse a key such as G, Bb, F#m or 'e minor'; None for ''. Raises UsageError for anything else."""
    if not text:
        return None
    found = re.fullmatch(r"([A-Ga-g])([#b♯♭]?)\s*(m|min|minor|maj|major|)", text.strip())
    if not found:
        raise UsageError(f"{name} {text}: not a key; use one such as C, Bb, F#m or 'e minor'")
    return Key((NATURALS[found[1].upper()] + ACCIDENTALS[found[2]]) % 12, found[3] in ("m", "min", "minor"))


MIN_IN_KEY = 0.7  # fraction of the given notes, by their lengths


def require_key(piece: Piece, key: Key | None, text: str, name: str = "--key") -> None:
    """Raises UsageError if the given notes contradict the key."""
    if not key or not piece.notes:
        return
    inside = sum(note.length for note in piece.notes if note.pitch % 12 in key.pitch_classes)
    share = inside / sum(note.length for note in piece.notes)
    if share < MIN_IN_KEY:
        found = key_name(*likeliest_keys(to_grid(piece, piece.voices).pitches)[0])
        raise UsageError(
            f"{name} {text}: contradicts {piece.name}, of which {share:.0%} is in that key; "
            f"it seems to be in {found}; give that key or none"
        )


# Requests of a model of frames


@dataclass(frozen=True)
class GenerationRequest:
    """given: notes that are kept, in ticks; free: (T, V), true where notes are generated; context: (T, V), the pitches
    of the given notes on the model's grid."""

    given: Piece
    free: Mask
    context: Pitches


def blank_events(settings: EventSettings | FrameSettings, name: str, quarters_per_minute: float) -> Piece:
    """A piece without notes, in ticks."""
    return Piece((), 0, settings.steps_per_quarter * TICKS_PER_STEP, quarters_per_minute, name)


def blank(settings: FrameSettings, steps: int, name: str, quarters_per_minute: float) -> GenerationRequest:
    """A new piece."""
    return to_continue(blank_events(settings, name, quarters_per_minute), settings, steps)


def to_continue(piece: Piece, settings: FrameSettings, steps: int) -> GenerationRequest:
    """Continue a piece (in ticks) by ``steps``. Raises DataError for notes that the model does not know."""
    context = _given_on_grid(piece, settings)
    free = np.zeros((len(context) + steps, settings.voices), bool)
    free[len(context) :] = True
    silent = np.full((steps, settings.voices), SILENT, np.int16)
    longer = replace(piece, length=len(free) * TICKS_PER_STEP)
    return GenerationRequest(longer, free, np.concatenate([context, silent]))


def to_rewrite(
    piece: Piece, settings: FrameSettings, voices: Sequence[int], first: int = 0, last: int = -1
) -> GenerationRequest:
    """Regenerate ``voices`` of a piece (in ticks), from step ``first`` to before ``last``; -1: to the end.

    Notes that start outside of these steps are kept, also where they reach into them.
    Raises UsageError for steps and voices that do not exist, DataError for notes that the model does not know.
    """
    if settings.sets or not all(0 <= voice < settings.voices for voice in voices):
        has = "sets of notes without voices" if settings.sets else f"voices 1 to {settings.voices}"
        named = ", ".join(str(voice + 1) for voice in voices)
        raise UsageError(f"{piece.name}: voices {named} cannot be rewritten; the model has {has}")
    steps = -(-piece.length // TICKS_PER_STEP)
    if not steps:
        raise DataError(piece.name, "has no notes", "a piece to rewrite", "leave it out")
    last = steps if last < 0 else last
    if not 0 <= first < last <= steps:
        raise UsageError(f"{piece.name}: has no steps {first} to {last}; it has {steps}")
    rewritten = range(first * TICKS_PER_STEP, last * TICKS_PER_STEP)
    kept = tuple(note for note in piece.notes if note.voice not in voices or note.start not in rewritten)
    given = replace(piece, notes=kept, length=steps * TICKS_PER_STEP)
    context = _given_on_grid(given, settings)
    free = np.zeros(context.shape, bool)
    free[first:last, list(voices)] = True
    return GenerationRequest(given, free & (context == SILENT), context)


def to_complete(piece: Piece, settings: FrameSettings) -> GenerationRequest:
    """Generate notes where voices of a piece (in ticks) are silent."""
    given = replace(piece, length=-(-piece.length // TICKS_PER_STEP) * TICKS_PER_STEP)
    context = on_grid(given, settings)
    return GenerationRequest(given, context == SILENT, context)


def on_grid(piece: Piece, settings: FrameSettings) -> Pitches:
    """(T, V) on the model's grid: in each step the pitch that sounds at its start, otherwise the first that starts in
    it.

    Raises ValueError for a piece that is not in ticks, DataError for one that does not fit the model.
    """
    if piece.steps_per_quarter != settings.steps_per_quarter * TICKS_PER_STEP:
        raise ValueError(f"{piece.name}: {counted(piece.steps_per_quarter, 'step')} per quarter, not in ticks")
    if piece.voices > settings.voices and not settings.sets:
        allowed = f"at most {settings.voices}"
        raise DataError(piece.name, f"has {counted(piece.voices, 'voice')}", allowed, "leave some out")
    voices = max(piece.voices, settings.voices)
    whole = replace(piece, length=-(-piece.length // TICKS_PER_STEP) * TICKS_PER_STEP)
    by_step = to_grid(whole, voices).pitches.reshape(-1, TICKS_PER_STEP, voices)
    first_sounding = np.argmax(by_step != SILENT, axis=1)  # (T, V), 0 where all is silent
    pitches: Pitches = np.take_along_axis(by_step, first_sounding[:, None], axis=1)[:, 0]
    if settings.sets:
        try:
            pitches = as_sets(pitches, settings.voices)
        except ValueError as error:
            allowed = f"at most {counted(settings.voices, 'note')} at a time"
            raise DataError(piece.name, str(error), allowed, "leave some out") from None
    sounding = pitches[pitches != SILENT]
    outside = sounding[(sounding < settings.lowest) | (sounding > settings.highest)]
    if len(outside):
        named = [f"{pitch} ({pitch_name(pitch)})" for pitch in (int(outside[0]), settings.lowest, settings.highest)]
        allowed = f"pitches from {named[1]} to {named[2]}"
        raise DataError(piece.name, f"has pitch {named[0]}", allowed, "transpose it, or leave that voice out")
    return pitches


def _given_on_grid(piece: Piece, settings: FrameSettings) -> Pitches:
    """``on_grid``. Raises DataError also for a piece that is too long."""
    pitches = on_grid(piece, settings)
    if len(pitches) > MAX_BARS * settings.bar:
        raise DataError(
            piece.name, f"has {counted(len(pitches) // settings.bar, 'bar')}", f"at most {MAX_BARS}", "shorten it"
        )
    return pitches


# Requests from options: voices and bars by name


@dataclass(frozen=True)
class EditOptions:
    """harmonize: the given voice; rewrite: voices to regenerate, in the bars ``rewrite_bars``; bars: of a continuation
    or a new piece, None: NEW_BARS; voice: that of a file to harmonize.

    Raises UsageError for options that exclude each other.
    """

    harmonize: str
    rewrite: str
    rewrite_bars: str
    bars: int | None = None
    voice: str = ""
    bars_name: str = "--rewrite-bars"  # in errors

    def __post_init__(self) -> None:
        if self.harmonize and self.rewrite:
            raise UsageError("--harmonize and --rewrite: give only one of them")
        if self.rewrite_bars and not self.rewrite:
            raise UsageError("--rewrite-bars: requires --rewrite with the voices")
        if self.voice and not self.harmonize:
            raise UsageError("--voice: requires --harmonize")
        if self.bars and self.option:
            remedy = "; --rewrite-bars FIRST-LAST chooses bars to regenerate" if self.rewrite else ""
            raise UsageError(f"--bars: only for continuations and new pieces, not with {self.option}{remedy}")

    @property
    def option(self) -> str:
        """The option that requires a model that fills in notes; '' for none."""
        return "--harmonize" if self.harmonize else "--rewrite" if self.rewrite else ""

    @property
    def new_bars(self) -> int:
        return self.bars or NEW_BARS


def request_of(
    piece: Piece, edit: EditOptions, frames: FrameSettings, log: Callable[[str], None] = lambda line: None
) -> GenerationRequest:
    """The request for a piece (in ticks). log: called with messages on how the piece is read.

    Raises UsageError for voices and bars that do not exist, DataError for notes that the model does not know.
    """
    if edit.harmonize:
        voice = voice_number(edit.harmonize, frames.voices)
        melody = _melody(piece, edit.voice, voice, frames, log)
        return to_rewrite(melody, frames, [v for v in range(frames.voices) if v != voice])
    if piece.voices != frames.voices:
        piece = _in_voices(piece, frames, log)
    bar = round(piece.notation.bar_quarters * frames.steps_per_quarter) if piece.notation.meter else frames.bar
    if not edit.rewrite:
        return to_continue(piece, frames, edit.new_bars * bar)
    voices = list(range(frames.voices))
    if edit.rewrite != "all":
        voices = [voice_number(name, frames.voices) for name in edit.rewrite.split(",")]
    if not edit.rewrite_bars:
        return to_rewrite(piece, frames, voices)
    steps = -(-piece.length // TICKS_PER_STEP)
    bars = -(-steps // bar)
    found = re.fullmatch(r"(\d+)-(\d+)", edit.rewrite_bars)
    if not found or not 1 <= int(found[1]) <= int(found[2]) <= bars:
        allowed = f"FIRST-LAST, from 1 to {bars}, such as 1-{min(4, bars)}"
        raise UsageError(f"{edit.bars_name} {edit.rewrite_bars}: {allowed}")
    return to_rewrite(piece, frames, voices, (int(found[1]) - 1) * bar, min(int(found[2]) * bar, steps))


def _in_voices(piece: Piece, frames: FrameSettings, log: Callable[[str], None]) -> Piece:
    """A piece of another number of voices as one of the model's. Fewer voices without chords become those of the model
    that have their pitches; all other notes are dealt out anew."""
    numbers = sorted({note.voice for note in piece.notes})
    if numbers and len(numbers) < frames.voices and not frames.sets and not _has_chords(piece):
        means = [float(np.mean([note.pitch for note in piece.notes if note.voice == number])) for number in numbers]
        middles = [(low + high) / 2 for low, high in voice_ranges(frames)]
        seats = min(
            combinations(range(frames.voices), len(numbers)),
            key=lambda chosen: sum(abs(middles[seat] - mean) for seat, mean in zip(chosen, means, strict=True)),
        )
        seat_of = dict(zip(numbers, seats, strict=True))
        notes = tuple(sorted(replace(note, voice=seat_of[note.voice]) for note in piece.notes))
        parts = [""] * frames.voices
        for number, seat in seat_of.items():
            parts[seat] = piece.notation.part(number)
        return replace(piece, notes=notes, notation=replace(piece.notation, parts=tuple(parts) if any(parts) else ()))
    if piece.voices > frames.voices and not frames.sets:
        log(f"{piece.name}: its {piece.voices} voices are read as {frames.voices}")
    piece = separated(piece, frames.voices)
    return replace(piece, notation=replace(piece.notation, parts=()))


def _has_chords(piece: Piece) -> bool:
    """Whether a voice has several notes at once."""
    voices = [[note for note in piece.notes if note.voice == number] for number in range(piece.voices)]
    return any(after.start < note.end for notes in voices for note, after in pairwise(notes))


def _melody(piece: Piece, chosen: str, voice: int, frames: FrameSettings, log: Callable[[str], None]) -> Piece:
    """The voice ``chosen`` of a piece, by number or name, as voice ``voice``. Raises UsageError unless it exists."""
    numbers = sorted({note.voice for note in piece.notes})
    named = [f"{number + 1} {piece.notation.part(number)}".strip() for number in numbers]
    order = "" if any(piece.notation.parts) else ", from the highest"
    listed = f"{piece.name} has {len(numbers)} voice{'s' * (len(numbers) > 1)} ({', '.join(named)}{order})"
    if not chosen and len(numbers) > 1:
        raise UsageError(f"{listed}; choose the one to harmonize, such as --voice {named[0].split(maxsplit=1)[-1]}")
    name = chosen.strip().lower()
    matching = [n for n in numbers if not name or name in (str(n + 1), piece.notation.part(n).lower())]
    if not matching and len(numbers) == len(VOICES) and name in VOICES:
        matching = [VOICES.index(name)]
    if not matching:
        raise UsageError(f"--voice {chosen}: {listed}; give its number or name")
    number = matching[0]
    notes = tuple(replace(note, voice=voice) for note in piece.notes if note.voice == number)
    low, high = min(note.pitch for note in notes), max(note.pitch for note in notes)
    source = f"voice {number + 1} of {len(numbers)}" if len(numbers) > 1 else "its only voice"
    name = piece.notation.part(number)
    source += f" ('{name}')" if name else ""
    role = VOICES[voice] if frames.voices == len(VOICES) else f"voice {voice + 1}"
    span = f"{len(notes)} note{'s' * (len(notes) > 1)} from {pitch_name(low)} to {pitch_name(high)}"
    log(f"{piece.name}: {source} is the {role}: {span}")
    lowest, highest = voice_ranges(frames)[voice]
    if frames.ranges and not lowest <= low <= high <= highest:
        allowed = f"{pitch_name(lowest)} to {pitch_name(highest)}"
        octaves = (12 * n for n in (1, -1, 2, -2, 3, -3, 4, -4))
        fits = next((shift for shift in octaves if lowest <= low + shift and high + shift <= highest), None)
        remedy = f"; --transpose {fits} brings it there" if fits else ""
        log(f"{piece.name}: beyond the range of a {role}, {allowed}; the voices may cross{remedy}")
    parts = ("",) * voice + (name,) if name else ()
    return replace(piece, notes=notes, notation=replace(piece.notation, parts=parts))


def voice_number(name: str, voices: int) -> int:
    """The index of a voice, from its name or its number from 1. Raises UsageError for others."""
    name = name.strip().lower()
    if voices == len(VOICES) and name in VOICES:
        return VOICES.index(name)
    if name.isdigit() and 1 <= int(name) <= voices:
        return int(name) - 1
    named = f"{', '.join(VOICES)}, or " if voices == len(VOICES) else ""
    raise UsageError(f"'{name}': not a voice; use {named}1 to {voices}")
