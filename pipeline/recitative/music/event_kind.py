"""The kind 'events': written music as a sequence of events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from recitative.model.file import ModelMetadata
from recitative.model.kind import ModelKind, token_graph
from recitative.music.event_settings import EventsSettings
from recitative.music.settings import MusicData
from recitative.stage import Array, Stage

if TYPE_CHECKING:
    from recitative.music.event_composer import EventScorer
    from recitative.music.event_network import EventsModel


def build(settings: EventsSettings) -> EventsModel:
    from recitative.music.event_network import new_events_model

    return new_events_model(settings)


def describe(metadata: ModelMetadata[EventsSettings]) -> dict[str, str]:
    events = metadata.settings.events
    grid = f"{events.steps_per_quarter} steps a quarter note"
    return {
        "kind": "music, as events",
        "notes": f"{events.voices} voices, {events.lowest} to {events.highest}, {grid}",
    }


def _run(stage: Stage[Array], settings: EventsSettings, _extras: Mapping[str, Any]) -> EventScorer:
    from recitative.music.event_composer import EventScorer

    return EventScorer(stage, settings)


EVENTS: ModelKind[EventsSettings, EventsModel] = ModelKind(
    name="events",
    title="music event model",
    settings=EventsSettings,
    build=build,
    train="recitative train",
    export="recitative export",
    describe=describe,
    task="recitative.music.event_task",
    data=MusicData,
    graphs=lambda settings, extras: token_graph(len(settings.events.vocabulary)),
    runner=_run,
)
