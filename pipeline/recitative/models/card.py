"""What a runtime model file says about itself, beside its graph. No torch: the runtime reads it.

A model file is one ONNX file. The graph is the network's ``step``; the card is in its metadata, as text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from recitative.config import Settings, validate_settings
from recitative.errors import DataError
from recitative.model.file import InitialState
from recitative.models.language import NO_LANGUAGE, Language
from recitative.text.tokens import TokenTable

FORMAT = "1"
T = TypeVar("T")


def card_of(
    metadata: Mapping[str, str],
    where: str,
    kind: str,
    made: str,
    files: tuple[str, str],
    remedy: str,
    build: Callable[[dict[str, Any]], T],
) -> T:
    """The card of a kind of file that says its kind and, among its facts, its format; ``build`` makes it of the others.

    files: how errors name such a file, and a whole one. Raises DataError for another file, for another format than
    ``made``, and for facts that ``build`` cannot use.
    """
    if metadata.get("recitative.kind") != kind:
        found = "is another model" if metadata.keys() & {"recitative.format", "recitative.kind"} else "is no model"
        raise DataError(where, found, files[0], remedy)
    try:
        facts = json.loads(metadata["recitative.card"])
        if (format_ := facts.pop("format")) != made:
            raise DataError(where, f"has format {format_}", f"format {made}", "export it again with this version")
        return build(facts)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise DataError(where, "is damaged: its card cannot be read", files[1], "export it again") from None


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
