"""The file of a model of events, run by ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

from recitative.lm.onnx import OnnxTokenNetwork
from recitative.model.session import open_model
from recitative.music.event_kind import EVENTS
from recitative.music.event_settings import EventSettings, EventsSettings


class OnnxEvents:
    """``models.event_composer.EventScorer``: a model of events that needs no PyTorch."""

    def __init__(self, content: Path | bytes, *, threads: int = 1) -> None:
        """``content`` is a file from 'recitative export', or what is in one. Raises DataError for another."""
        session, self.metadata = open_model(content, EVENTS, threads=threads)
        self.network = OnnxTokenNetwork(session, self.metadata.state, len(self.events.vocabulary))

    @property
    def settings(self) -> EventsSettings:
        """Of the run that made it."""
        return self.metadata.settings

    @property
    def events(self) -> EventSettings:
        return self.settings.events
