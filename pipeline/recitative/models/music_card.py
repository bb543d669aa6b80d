"""What a music model's file says about itself, beside its graphs. No torch: the runtime reads it.

As with a recogniser's (``models.card``), the file is one ONNX file and the card is in its metadata as text. Its graph
is the part that reads, ``step`` with the state as inputs and outputs. The part that chooses, which runs several times a
frame, is a second graph; it is in the metadata as well, in base64.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from dataclasses import asdict, dataclass
from typing import Any

from recitative.config import validate_tree
from recitative.model.file import InitialState
from recitative.models.card import card_of, states_of
from recitative.models.music_settings import MusicSettings

KIND = "music"
FORMAT = "1"
REMEDY = "make one with 'recitative music export'"


@dataclass(frozen=True)
class MusicCard:
    """Everything but the arithmetic. ``notes`` is free text: licence, corpus, likelihoods."""

    settings: MusicSettings
    state: dict[str, InitialState]
    parameters: int
    notes: str = ""

    def to_metadata(self, choice: bytes) -> dict[str, str]:
        """Keys and values for the metadata of an ONNX file; ``choice`` is the second graph."""
        facts = {
            "format": FORMAT,
            "settings": self.settings.model_dump(mode="json"),
            "state": {name: asdict(initial) for name, initial in self.state.items()},
            "parameters": self.parameters,
            "notes": self.notes,
        }
        return {
            "recitative.kind": KIND,
            "recitative.card": json.dumps(facts),
            "recitative.choice": b64encode(choice).decode(),
        }

    @classmethod
    def from_metadata(cls, metadata: dict[str, str], where: str) -> tuple[MusicCard, bytes]:
        """The card, and the second graph. Raises DataError that names the file for one that is no music model."""

        def build(facts: dict[str, Any]) -> tuple[MusicCard, bytes]:
            settings = validate_tree(MusicSettings, facts.pop("settings"), where=where)
            state = states_of(facts.pop("state"))
            return cls(settings=settings, state=state, **facts), b64decode(metadata["recitative.choice"], validate=True)

        return card_of(
            metadata, where, KIND, FORMAT, ("a music model's file", "a whole music model's file"), REMEDY, build
        )
