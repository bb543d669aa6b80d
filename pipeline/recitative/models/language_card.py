"""What a language model's file says about itself, beside its graph. No torch: the runtime reads it.

As with a recogniser's (``models.card``), the file is one ONNX file, the graph is the network's ``step``, and the card
is in the metadata as text; ``recitative.kind`` tells the two apart.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from recitative.config import validate_tree
from recitative.errors import DataError
from recitative.model.file import InitialState
from recitative.models.card import states_of
from recitative.models.language_settings import LanguageModelSettings
from recitative.text.tokens import TokenTable
from recitative.text.vocabulary import Vocabulary

KIND = "language_model"
FORMAT = "1"
REMEDY = "make one with 'recitative lm export'"


@dataclass(frozen=True)
class LanguageModelCard:
    """Everything but the arithmetic. ``notes`` is free text: licence, corpus, perplexities."""

    settings: LanguageModelSettings
    vocabulary: Vocabulary
    state: dict[str, InitialState]
    parameters: int
    notes: str = ""

    def to_metadata(self) -> dict[str, str]:
        """Keys and values for the metadata of an ONNX file."""
        facts = {
            "format": FORMAT,
            "settings": self.settings.model_dump(mode="json"),
            "tokens": self.vocabulary.table.symbols,
            "state": {name: asdict(initial) for name, initial in self.state.items()},
            "parameters": self.parameters,
            "notes": self.notes,
        }
        return {"recitative.kind": KIND, "recitative.card": json.dumps(facts)}

    @classmethod
    def from_metadata(cls, metadata: dict[str, str], where: str) -> LanguageModelCard:
        """Raises DataError that names the file for one that is no language model of this format."""
        if metadata.get("recitative.kind") != KIND:
            found = "is a recogniser" if "recitative.format" in metadata else "is not a recitative model"
            raise DataError(where, found, "a language model's file", REMEDY)
        try:
            facts = json.loads(metadata["recitative.card"])
            made = facts.pop("format")
            if made != FORMAT:
                raise DataError(where, f"has format {made}", f"format {FORMAT}", "export it again with this version")
            settings = validate_tree(LanguageModelSettings, facts.pop("settings"), where=where)
            vocabulary = Vocabulary(TokenTable(tuple(facts.pop("tokens"))))
            state = states_of(facts.pop("state"))
            return cls(settings=settings, vocabulary=vocabulary, state=state, **facts)
        except (KeyError, TypeError, ValueError, AttributeError):
            found = "is damaged: its card cannot be read"
            raise DataError(where, found, "a whole language model's file", "export it again") from None
