"""What the file of a model of events says about itself, beside its graph. No torch: the runtime reads it.

As with a language model's (``models.language_card``), the file is one ONNX file, the graph is the network's ``step``,
and the card is in the metadata as text.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from recitative.config import validate_tree
from recitative.errors import DataError
from recitative.models.card import InitialState, states_of
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
        if metadata.get("recitative.kind") != KIND:
            found = "is another model" if metadata.keys() & {"recitative.format", "recitative.kind"} else "is no model"
            raise DataError(where, found, "the file of a model of events", REMEDY)
        try:
            facts = json.loads(metadata["recitative.card"])
            if (made := facts.pop("format")) != FORMAT:
                raise DataError(where, f"has format {made}", f"format {FORMAT}", "export it again with this version")
            settings = validate_tree(EventsSettings, facts.pop("settings"), where=where)
            state = states_of(facts.pop("state"))
            return cls(settings=settings, state=state, **facts)
        except (KeyError, TypeError, ValueError, AttributeError):
            found = "is damaged: its card cannot be read"
            raise DataError(where, found, "the whole file of a model of events", "export it again") from None
