"""The file of a model of events, run by ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

from recitative.models.events_card import REMEDY, EventsCard
from recitative.models.events_settings import EventSettings, EventsSettings
from recitative.runtime.language_model import OnnxTokenNetwork
from recitative.runtime.session import open_session


class OnnxEvents:
    """``models.event_composer.EventScorer``: a model of events that needs no PyTorch."""

    def __init__(self, content: Path | bytes, *, threads: int = 1) -> None:
        """``content`` is a file from 'recitative music export', or what is in one. Raises DataError for another."""
        where = str(content) if isinstance(content, Path) else "the music model"
        session = open_session(content, where, "music model's file", REMEDY, threads)
        self.card = EventsCard.from_metadata(session.metadata, where)
        self.network = OnnxTokenNetwork(session, self.card.state, len(self.events.vocabulary))

    @property
    def settings(self) -> EventsSettings:
        """Of the run that made it."""
        return self.card.settings

    @property
    def events(self) -> EventSettings:
        return self.settings.events
