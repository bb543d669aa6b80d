"""What a runtime model file says about itself, beside its graph. No torch: the runtime reads it.

A model file is one ONNX file. The graph is the network's ``step``; the card is in its metadata, as text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from recitative.asr.language import NO_LANGUAGE, Language
from recitative.config import Settings, validate_settings
from recitative.errors import DataError
from recitative.model.file import InitialState
from recitative.model.kind import model_named
from recitative.text.tokens import TokenTable

FORMAT = "1"


def states_of(facts: Mapping[str, Any]) -> dict[str, InitialState]:
    """The states that a card's ``asdict`` wrote. Raises KeyError or TypeError for anything else."""
    return {
        name: InitialState(tuple(entry["shape"]), entry["fill"], tuple(entry["tail"]), entry["dtype"])
        for name, entry in facts.items()
    }


@dataclass(frozen=True)
class ModelCard:
    """Everything but the arithmetic.

    stride, lookahead: of the network, in feature frames; lookahead None = the whole recording
    piece_frames:      the most feature frames for one call of the graph, 0 = any number
    weights:           'float32' or 'int8'
    notes:             free text: licence, corpus, error rates, the commands that made the model
    """

    settings: Settings
    tokens: TokenTable
    stride: int
    lookahead: int | None
    state: dict[str, InitialState]
    parameters: int
    weights: str
    piece_frames: int = 0
    notes: str = ""
    language: Language = NO_LANGUAGE

    def to_metadata(self) -> dict[str, str]:
        """Keys and values for the metadata of an ONNX file."""
        facts = {
            "settings": self.settings.model_dump(mode="json"),
            "tokens": self.tokens.symbols,
            "token_scores": self.tokens.scores,
            "stride": self.stride,
            "lookahead": self.lookahead,
            "state": {name: asdict(initial) for name, initial in self.state.items()},
            "parameters": self.parameters,
            "weights": self.weights,
            "piece_frames": self.piece_frames,
            "notes": self.notes,
            "language": self.language.to_facts(),
        }
        return {"recitative.format": FORMAT, "recitative.card": json.dumps(facts)}

    @classmethod
    def from_metadata(cls, metadata: dict[str, str], where: str) -> ModelCard:
        """Raises DataError that names the file for one that is no model of this format."""
        made = metadata.get("recitative.format")
        if kind := metadata.get("recitative.kind"):
            found = f"is {model_named(kind)}"
            raise DataError(where, found, "a recognizer's file", "make one with 'recitative export'")
        if made is None:
            raise DataError(where, "is not a recitative model", "a file made by 'recitative export'", "")
        if made != FORMAT:
            found = f"has model format {made}"
            raise DataError(where, found, f"format {FORMAT}", "export it again with this version of recitative")
        try:
            facts = json.loads(metadata["recitative.card"])
            settings = validate_settings(facts.pop("settings"), where=where)
            tokens = TokenTable(tuple(facts.pop("tokens")), tuple(facts.pop("token_scores", ())))
            state = states_of(facts.pop("state"))
            words = facts.pop("language", None)  # models of the first release have none
            language = Language.from_facts(words, tokens, where) if words else NO_LANGUAGE
            return cls(settings=settings, tokens=tokens, state=state, language=language, **facts)
        except (KeyError, TypeError, ValueError, AttributeError):
            found = "is damaged: its card cannot be read"
            raise DataError(where, found, "a whole model file", "export it again") from None
