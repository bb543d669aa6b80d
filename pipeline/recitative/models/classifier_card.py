"""What a classifier's file says about itself, beside its graph. No torch: the runtime reads it.

As with a recogniser's (``models.card``), the file is one ONNX file, its graph is the network's ``step``, and the card
is in its metadata as text.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from recitative.config import validate_tree
from recitative.models.card import InitialState, card_of, states_of
from recitative.models.classifier_settings import ClassifierSettings

KIND = "classifier"
FORMAT = "1"
REMEDY = "make one with 'recitative export' from a folder of 'recitative classifier train'"


@dataclass(frozen=True)
class ClassifierCard:
    """Everything but the arithmetic; labels in the order of the outputs, the rest as in ``models.card.ModelCard``."""

    settings: ClassifierSettings
    labels: tuple[str, ...]
    stride: int
    lookahead: int | None
    state: dict[str, InitialState]
    parameters: int
    weights: str
    piece_frames: int = 0
    notes: str = ""

    def to_metadata(self) -> dict[str, str]:
        """Keys and values for the metadata of an ONNX file."""
        facts = {
            "format": FORMAT,
            "settings": self.settings.model_dump(mode="json"),
            "labels": self.labels,
            "stride": self.stride,
            "lookahead": self.lookahead,
            "state": {name: asdict(initial) for name, initial in self.state.items()},
            "parameters": self.parameters,
            "weights": self.weights,
            "piece_frames": self.piece_frames,
            "notes": self.notes,
        }
        return {"recitative.kind": KIND, "recitative.card": json.dumps(facts)}

    @classmethod
    def from_metadata(cls, metadata: dict[str, str], where: str) -> ClassifierCard:
        """Raises DataError that names the file for one that is no classifier."""

        def build(facts: dict[str, Any]) -> ClassifierCard:
            settings = validate_tree(ClassifierSettings, facts.pop("settings"), where=where)
            labels, state = tuple(facts.pop("labels")), states_of(facts.pop("state"))
            return cls(settings=settings, labels=labels, state=state, **facts)

        return card_of(
            metadata, where, KIND, FORMAT, ("a classifier's file", "a whole classifier's file"), REMEDY, build
        )
