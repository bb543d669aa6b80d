"""What a forecaster's file says about itself, beside its graph. No torch: the runtime reads it.

As with a recogniser's (``models.card``), the file is one ONNX file, the graph is the network's ``step``, and the card
is in the metadata as text; ``recitative.kind`` tells the two apart.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from recitative.config import validate_tree
from recitative.models.card import InitialState, card_of, states_of
from recitative.models.forecaster_settings import ForecasterSettings
from recitative.models.threshold import Threshold

KIND = "forecaster"
FORMAT = "1"
REMEDY = "make one with 'recitative forecaster export'"


@dataclass(frozen=True)
class ForecasterCard:
    """Everything but the arithmetic. ``notes`` is free text: licence, corpus, likelihoods."""

    settings: ForecasterSettings
    threshold: Threshold | None
    state: dict[str, InitialState]
    parameters: int
    notes: str = ""

    def to_metadata(self) -> dict[str, str]:
        """Keys and values for the metadata of an ONNX file."""
        facts = {
            "format": FORMAT,
            "settings": self.settings.model_dump(mode="json"),
            "threshold": asdict(self.threshold) if self.threshold else None,
            "state": {name: asdict(initial) for name, initial in self.state.items()},
            "parameters": self.parameters,
            "notes": self.notes,
        }
        return {"recitative.kind": KIND, "recitative.card": json.dumps(facts)}

    @classmethod
    def from_metadata(cls, metadata: dict[str, str], where: str) -> ForecasterCard:
        """Raises DataError that names the file for one that is no forecaster of this format."""

        def build(facts: dict[str, Any]) -> ForecasterCard:
            settings = validate_tree(ForecasterSettings, facts.pop("settings"), where=where)
            learned = facts.pop("threshold")
            threshold = Threshold(**learned) if learned else None
            return cls(settings=settings, threshold=threshold, state=states_of(facts.pop("state")), **facts)

        return card_of(
            metadata, where, KIND, FORMAT, ("a forecaster's file", "a whole forecaster's file"), REMEDY, build
        )
