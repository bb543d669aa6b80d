"""A model of music as events: a language model's network over the tokens of pieces; and its folder.

weights.safetensors   every parameter by name
settings.yaml         the resolved settings of the run; the tokens follow from them

Nothing is unpickled.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from recitative.config import dump_settings
from recitative.models.events_settings import EventsSettings
from recitative.models.language_model import build_language_model
from recitative.models.weights import (
    SETTINGS,
    WEIGHTS,
    load_kind,
    load_weights,
    require_files,
    save_weights,
    writing_model,
)
from recitative.music.events import EventVocabulary
from recitative.nn.chain import Chain

REMEDY = "make one with 'recitative music train'"


@dataclass(frozen=True)
class EventsModel:
    """A network with the settings that say what its tokens are."""

    settings: EventsSettings
    network: Chain

    @property
    def vocabulary(self) -> EventVocabulary:
        return self.settings.events.vocabulary


def new_events_model(settings: EventsSettings) -> EventsModel:
    """A model with random weights (from torch's generator)."""
    return EventsModel(settings, build_language_model(settings.model, len(settings.events.vocabulary)))


def save_events_model(model: EventsModel, folder: Path) -> None:
    """Write the folder; atomic: an older model stays whole until the new one is."""
    with writing_model(folder) as partial:
        save_weights(model.network, partial)
        (partial / SETTINGS).write_text(dump_settings(model.settings), encoding="utf-8")


def load_events_model(folder: Path) -> EventsModel:
    """Read a model folder, in evaluation mode. Raises DataError for anything but a whole model of events."""
    require_files(folder, "a music model's folder", REMEDY, (WEIGHTS, SETTINGS))
    model = new_events_model(load_kind(EventsSettings, folder / SETTINGS, "is not that of a model of events", REMEDY))
    load_weights(model.network, folder, REMEDY)
    return model
