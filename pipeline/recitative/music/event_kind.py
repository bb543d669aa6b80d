"""The kind 'events': written music as a sequence of events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recitative.model.file import ModelMetadata
from recitative.model.kind import ModelKind
from recitative.music.event_settings import EventsSettings
from recitative.music.settings import MusicData

if TYPE_CHECKING:
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
)
