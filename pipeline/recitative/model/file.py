"""What an exported file says about its model, beside its graph. No torch: the runtime reads it.

An exported file is one ONNX file. Its graph is the network's ``step``; its metadata have these entries, all text:

recitative.format        the format, 2
recitative.kind          the name of the model's kind
recitative.model         JSON: settings, extras (as the files of the folder), the state of a stream, and the rest
recitative.graph.<name>  a further graph, in base64
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Generic

import numpy as np

from recitative.config import validate_tree
from recitative.errors import DataError
from recitative.model.kind import RECOGNIZER_NAME, AnyKind, ModelKind, S, model_named
from recitative.stage import Array
from recitative.text.tokens import TokenTable

FORMAT, KIND, MODEL, GRAPH = "recitative.format", "recitative.kind", "recitative.model", "recitative.graph."
VERSION = "2"
FIRST_EXTRAS = {  # their extras, by the name of the value
    "tokens": "tokens.txt",
    "lexicon": "lexicon.txt",
    "lm": "lm.ngram",
    "calibrator": "confidence.json",
    "labels": "labels.json",
    "threshold": "threshold.json",
}


@dataclass(frozen=True)
class InitialState:
    """One entry of the state of a stream that has heard nothing: (N, *shape), all ``fill`` but the last ``tail``."""

    shape: tuple[int, ...]
    fill: float = 0.0
    tail: tuple[float, ...] = ()
    dtype: str = "float32"

    def array(self, n: int) -> Array:
        array = np.full((n, *self.shape), self.fill, self.dtype)
        if self.tail:
            array[..., -len(self.tail) :] = self.tail
        return array


@dataclass(frozen=True)
class ModelMetadata(Generic[S]):
    """Everything but the arithmetic.

    texts:             the extras, by file name
    stride, lookahead: of the network, in the frames that it reads; lookahead None = the whole input
    piece_frames:      the most frames for one call of the graph, 0 = any number
    weights:           'float32' or 'int8'; '' in files of format 1 that don't say
    notes:             free text: licence, corpus, error rates, the commands that made the model
    graphs:            further graphs, by name
    """

    kind: ModelKind[S, Any]
    settings: S
    state: dict[str, InitialState]
    parameters: int
    texts: Mapping[str, str] = field(default_factory=dict)
    stride: int = 1
    lookahead: int | None = 0
    piece_frames: int = 0
    weights: str = ""
    notes: str = ""
    graphs: Mapping[str, bytes] = field(default_factory=dict)
    where: str = field(default="the model", compare=False)  # how errors call the file

    @cached_property
    def extras(self) -> dict[str, Any]:
        """Their values, by name. Raises DataError, KeyError."""
        return self.kind.parse(self.texts, lambda file: f"{self.where}, {file}")

    def to_entries(self) -> dict[str, str]:
        """Keys and values for the metadata of an ONNX file."""
        model = {name: getattr(self, name) for name in _PLAIN} | {
            "settings": self.settings.model_dump(mode="json"),
            "state": {name: asdict(initial) for name, initial in self.state.items()},
            "extras": dict(self.texts),
        }
        graphs = {f"{GRAPH}{name}": b64encode(graph).decode() for name, graph in self.graphs.items()}
        return {FORMAT: VERSION, KIND: self.kind.name, MODEL: json.dumps(model), **graphs}


_PLAIN = tuple(
    entry.name
    for entry in fields(ModelMetadata)
    if entry.name not in ("kind", "settings", "state", "texts", "graphs", "where")
)


def kind_in(entries: Mapping[str, str], where: str, kinds: Sequence[AnyKind]) -> AnyKind:
    """Of which of these kinds a file is. Raises DataError for none."""
    name = _name_in(entries)
    for kind in kinds:
        if kind.name == name:
            return kind
    titles = " or ".join(f"a {kind.title}'s" for kind in kinds) if len(kinds) < 4 else "a model"
    found = f"is {model_named(name)}" if name else "is no model"
    raise DataError(where, found, f"{titles} file", f"make one with '{kinds[0].export}'")


def read_entries(entries: Mapping[str, str], where: str, kind: ModelKind[S, Any]) -> ModelMetadata[S]:
    """The metadata of a file of this kind. Raises DataError that names the file for another or a damaged one."""
    kind_in(entries, where, [kind])
    try:
        model, graphs = _upgraded(entries, where, kind) if "recitative.card" in entries else _current(entries, where)
        settings = validate_tree(kind.settings, model.pop("settings"), where=where)
        state = {
            name: InitialState(tuple(entry["shape"]), entry["fill"], tuple(entry["tail"]), entry["dtype"])
            for name, entry in model.pop("state").items()
        }
        texts = {str(file): str(text) for file, text in model.pop("extras").items()}
        metadata = ModelMetadata(kind, settings, state, texts=texts, graphs=graphs, where=where, **model)
        metadata.extras  # noqa: B018 - a damaged one is found now
        return metadata
    except (KeyError, TypeError, ValueError, AttributeError):
        found = "is damaged: its metadata cannot be read"
        raise DataError(where, found, f"a whole {kind.title}'s file", "export it again") from None


def with_texts(entries: Mapping[str, str], metadata: ModelMetadata[Any], texts: Mapping[str, str]) -> dict[str, str]:
    """The metadata of a file with other extras, by file name; those of format 1 as format 2 has them.

    entries: what ``metadata`` was read from
    """
    if "recitative.card" in entries:
        changed = replace(metadata, texts={**metadata.texts, **texts}).to_entries()
        ours = ("recitative.format", "recitative.card", "recitative.choice", "recitative.encoder")
        return {key: value for key, value in entries.items() if key not in ours} | changed
    model = json.loads(entries[MODEL])
    model["extras"] |= texts
    return {**entries, MODEL: json.dumps(model)}


def _name_in(entries: Mapping[str, str]) -> str:
    """The name of its kind; '' if it is no model."""
    return entries.get(KIND) or (RECOGNIZER_NAME if FORMAT in entries else "")


def _current(entries: Mapping[str, str], where: str) -> tuple[dict[str, Any], dict[str, bytes]]:
    if (made := entries[FORMAT]) != VERSION:
        raise DataError(where, f"has format {made}", f"format 1 or {VERSION}", "export it again with this version")
    graphs = {key.removeprefix(GRAPH): entries[key] for key in entries if key.startswith(GRAPH)}
    return json.loads(entries[MODEL]), {name: b64decode(graph, validate=True) for name, graph in graphs.items()}


def _upgraded(entries: Mapping[str, str], where: str, kind: AnyKind) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Format 1, of release 0.1, in the words of this one: there, extras stood as values among the rest."""
    model = json.loads(entries["recitative.card"])
    made = entries.get(FORMAT) or model.pop("format")
    if made != "1":
        raise DataError(where, f"has format {made}", f"format 1 or {VERSION}", "export it again with this version")
    model |= model.pop("language", {})
    scores = model.pop("token_scores", ())
    texts: dict[str, str] = {}
    for name, file in FIRST_EXTRAS.items():
        value = model.pop(name, None)
        if value and name == "tokens":
            value = TokenTable(tuple(value), tuple(scores)).to_text()
        if value and file in {extra.file for extra in kind.extras.values()}:
            texts[file] = value if isinstance(value, str) else json.dumps(value)
    graphs = {name: entries.get(f"recitative.{name}", "") for name in ("choice", "encoder")}
    return model | {"extras": texts}, {name: b64decode(graph, validate=True) for name, graph in graphs.items() if graph}
