"""What a spectrogram model's file says about itself, beside its graph. No torch: the runtime reads it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from recitative.config import validate_tree
from recitative.errors import DataError
from recitative.models.card import InitialState, states_of
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
        if metadata.get("recitative.kind") != KIND:
            found = "is another model" if metadata.keys() & {"recitative.format", "recitative.kind"} else "is no model"
            raise DataError(where, found, "a spectrogram model's file", REMEDY)
        try:
            facts = json.loads(metadata["recitative.card"])
            if (made := facts.pop("format")) != FORMAT:
                raise DataError(where, f"has format {made}", f"format {FORMAT}", "export it again with this version")
            settings = validate_tree(SpectrogramSettings, facts.pop("settings"), where=where)
            labels = {name: tuple(values) for name, values in facts.pop("labels").items()}
            state = states_of(facts.pop("state"))
            return cls(settings=settings, labels=Labels(**labels), state=state, **facts)
        except (KeyError, TypeError, ValueError, AttributeError):
            found = "is damaged: its card cannot be read"
            raise DataError(where, found, "a whole spectrogram model's file", "export it again") from None
