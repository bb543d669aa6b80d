"""What a spectrogram model's file says about itself, beside its graph. No torch: the runtime reads it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from recitative.config import validate_tree
from recitative.model.file import InitialState
from recitative.models.card import card_of, states_of
from recitative.models.conditions import Labels
from recitative.models.spectrogram_settings import SpectrogramSettings

KIND = "spectrogram"
FORMAT = "1"
REMEDY = "make one with 'recitative sound export'"


@dataclass(frozen=True)
class SpectrogramCard:
    """Everything but the arithmetic. ``notes`` is free text: licence, corpus, likelihoods."""

    settings: SpectrogramSettings
    labels: Labels
    state: dict[str, InitialState]
    parameters: int
    notes: str = ""

    def to_metadata(self) -> dict[str, str]:
        """Keys and values for the metadata of an ONNX file."""
        facts = {
            "format": FORMAT,
            "settings": self.settings.model_dump(mode="json"),
            "labels": asdict(self.labels),
            "state": {name: asdict(initial) for name, initial in self.state.items()},
            "parameters": self.parameters,
            "notes": self.notes,
        }
        return {"recitative.kind": KIND, "recitative.card": json.dumps(facts)}

    @classmethod
    def from_metadata(cls, metadata: dict[str, str], where: str) -> SpectrogramCard:
        """Raises DataError that names the file for one that is no spectrogram model."""

        def build(facts: dict[str, Any]) -> SpectrogramCard:
            settings = validate_tree(SpectrogramSettings, facts.pop("settings"), where=where)
            labels = {name: tuple(values) for name, values in facts.pop("labels").items()}
            state = states_of(facts.pop("state"))
            return cls(settings=settings, labels=Labels(**labels), state=state, **facts)

        return card_of(
            metadata,
            where,
            KIND,
            FORMAT,
            ("a spectrogram model's file", "a whole spectrogram model's file"),
            REMEDY,
            build,
        )
