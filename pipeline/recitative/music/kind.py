"""The kinds 'music', written music as frames of voices, and 'events', written music as a sequence of events."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from recitative.model.file import ModelMetadata
from recitative.model.kind import LENGTHS, Endpoint, Entries, ModelKind, Signature, token_graph
from recitative.music.settings import EventsSettings, MusicData, MusicRequest, MusicSettings

if TYPE_CHECKING:
    from recitative.music.composer import EventScorer, MusicScorer


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
    build="recitative.music.network:new_music_model",
    task="recitative.music.task:prepare",
    runner="recitative.music.composer:MusicScorer",
    graphs=_graphs,
    describe=describe,
    writer="recitative.music.network:write_music",
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
    build="recitative.music.network:new_events_model",
    task="recitative.music.task:prepare",
    runner="recitative.music.composer:EventScorer",
    graphs=lambda settings, extras: token_graph(len(settings.events.vocabulary)),
    describe=describe_events,
    int8="weights",
    endpoint=Endpoint("/v1/music", _about_events, _answer, MusicRequest, _suits),
)
