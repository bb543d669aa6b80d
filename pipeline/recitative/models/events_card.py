"""What the file of a model of events says about itself, beside its graph. No torch: the runtime reads it.

As with a language model's (``models.language_card``), the file is one ONNX file, the graph is the network's ``step``,
and the card is in the metadata as text.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from recitative.config import validate_tree
from recitative.model.file import InitialState
from recitative.models.card import card_of, states_of
from recitative.models.events_settings import EventsSettings

KIND = "events"
FORMAT = "1"
REMEDY = "make one with 'recitative music export'"


@dataclass(frozen=True)
class EventsCard:
    """Everything but the arithmetic. ``notes`` is free text: licence, corpus, likelihoods."""

    settings: EventsSettings
    state: dict[str, InitialState]
    parameters: int
    notes: str = ""

    def to_metadata(self) -> dict[str, str]:
        """Keys and values for the metadata of an ONNX file."""
        facts = {
            "format": FORMAT,
            "settings": self.settings.model_dump(mode="json"),
            "state": {name: asdict(initial) for name, initial in self.state.items()},
            "parameters": self.parameters,
            "notes": self.notes,
        }
        return {"recitative.kind": KIND, "recitative.card": json.dumps(facts)}

    @classmethod
    def from_metadata(cls, metadata: dict[str, str], where: str) -> EventsCard:
        """Raises DataError that names the file for one that is no model of events."""

        def build(facts: dict[str, Any]) -> EventsCard:
            settings = validate_tree(EventsSettings, facts.pop("settings"), where=where)
            state = states_of(facts.pop("state"))
            return cls(settings=settings, state=state, **facts)

        return card_of(
            metadata,
            where,
            KIND,
            FORMAT,
            ("the file of a model of events", "the whole file of a model of events"),
            REMEDY,
            build,
        )
