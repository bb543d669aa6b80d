"""A model of music as events: a language model's network over the tokens of pieces; the tokens follow from settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from recitative.lm.network import build_language_model
from recitative.model.kind import AnyKind
from recitative.music.event_kind import EVENTS
from recitative.music.event_settings import EventsSettings
from recitative.music.events import EventVocabulary
from recitative.nn.stages import Chain


@dataclass(frozen=True)
class EventsModel:
    """A network with the settings that say what its tokens are."""

    kind: ClassVar[AnyKind] = EVENTS
    settings: EventsSettings
    network: Chain

    @property
    def vocabulary(self) -> EventVocabulary:
        return self.settings.events.vocabulary


def new_events_model(settings: EventsSettings) -> EventsModel:
    """A model with random weights (from torch's generator)."""
    return EventsModel(settings, build_language_model(settings.model, len(settings.events.vocabulary)))
