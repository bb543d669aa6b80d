"""What a sound model's file says about itself, beside its graphs. No torch: the runtime reads it.

As with a recogniser's (``models.card``), the file is one ONNX file and the card is in its metadata as text. Its graph
draws the samples of one step of the core. What reads the conditions, once for all steps, is a second graph; it is in
the metadata as well, in base64; a model that is told nothing has none.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from dataclasses import asdict, dataclass
from typing import Any

from recitative.config import validate_tree
from recitative.model.file import InitialState
from recitative.models.card import card_of, states_of
from recitative.models.conditions import Labels
from recitative.models.wave_settings import WaveSettings

KIND = "sound"
FORMAT = "1"
REMEDY = "make one with 'recitative sound export'"


@dataclass(frozen=True)
class WaveCard:
    """Everything but the arithmetic. ``notes`` is free text: licence, corpus, likelihoods."""

    settings: WaveSettings
    labels: Labels
    state: dict[str, InitialState]
    parameters: int
    notes: str = ""

    def to_metadata(self, encoder: bytes) -> dict[str, str]:
        """Keys and values for the metadata of an ONNX file; ``encoder`` is the second graph, or empty."""
        facts = {
            "format": FORMAT,
            "settings": self.settings.model_dump(mode="json"),
            "labels": asdict(self.labels),
            "state": {name: asdict(initial) for name, initial in self.state.items()},
            "parameters": self.parameters,
            "notes": self.notes,
        }
        return {
            "recitative.kind": KIND,
            "recitative.card": json.dumps(facts),
            "recitative.encoder": b64encode(encoder).decode(),
        }

    @classmethod
    def from_metadata(cls, metadata: dict[str, str], where: str) -> tuple[WaveCard, bytes]:
        """The card, and the second graph. Raises DataError that names the file for one that is no sound model."""

        def build(facts: dict[str, Any]) -> tuple[WaveCard, bytes]:
            settings = validate_tree(WaveSettings, facts.pop("settings"), where=where)
            labels = {name: tuple(values) for name, values in facts.pop("labels").items()}
            state = states_of(facts.pop("state"))
            card = cls(settings=settings, labels=Labels(**labels), state=state, **facts)
            return card, b64decode(metadata["recitative.encoder"])

        return card_of(
            metadata, where, KIND, FORMAT, ("a sound model's file", "a whole sound model's file"), REMEDY, build
        )
