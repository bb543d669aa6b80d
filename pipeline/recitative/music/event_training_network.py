"""A model of events in memory, run by PyTorch, as what writes music."""

from __future__ import annotations

from recitative.model.torch_stage import TorchStage
from recitative.music.event_network import EventsModel
from recitative.music.event_settings import EventSettings, EventsSettings


class TorchEvents:
    """``models.event_composer.EventScorer``: the model as it stands; in evaluation mode it has no dropout."""

    def __init__(self, model: EventsModel) -> None:
        self._model = model
        self.network = TorchStage(model.network)

    @property
    def settings(self) -> EventsSettings:
        """Of the run that made it."""
        return self._model.settings

    @property
    def events(self) -> EventSettings:
        return self.settings.events
