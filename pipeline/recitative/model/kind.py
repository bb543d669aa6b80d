"""A kind of model, described once: folders, exported files and commands are written for all kinds; and what an exported
file holds besides its graph: metadata and a checksum. No torch.

An exported file is one ONNX file. Its graph is the network's ``step``; its metadata have these entries, all text:

recitative.format        the version of the format, 2
recitative.kind          the name of the model's kind
recitative.model         JSON: settings, extras (as the files of the folder), the state of a stream, and the rest
recitative.graph.<name>  a further graph, in base64
recitative.checksum      says that the file has a checksum
recitative.sha256        the checksum: SHA-256 of all bytes but the last 64, which are the checksum itself

ONNX keeps metadata at the end of a file, and the checksum is the last entry: its value, 64 hexadecimal digits, ends the
file. It is verified on the bytes before anything parses them. The entry before it detects a file whose checksum was cut
off or renamed.

The metadata are read and replaced in the bytes, without parsing the graph. A file is a protocol buffer: fields one
after another, each a tag (its number and its type) and a value. Field 14 is an entry of the metadata, with its key in
field 1 and its value in field 2. Other fields are copied unchanged.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel

from recitative.atomic import recover_folder
from recitative.config import TrainingData, validate_tree
from recitative.errors import DataError
from recitative.reading import read_yaml
from recitative.stage import Array
from recitative.text.tokens import TokenTable, Vocabulary

SETTINGS = "settings.yaml"
TITLES = {  # of kinds, by the name in settings and files
    "recognizer": "recognizer",
    "classifier": "classifier",
    "forecaster": "anomaly model",
    "language_model": "language model",
    "g2p": "letter-to-sound model",
    "punctuation": "punctuation model",
    "music": "music model",
    "events": "music event model",
    "sound": "sound model",
    "spectrogram": "spectrogram model",
}
RECOGNIZER_NAME = "recognizer"  # the kind of settings and files of release 0.1 that name none

Entries = Mapping[str, tuple[str, tuple[int | None, ...]]]  # dtype and shape of each input or output; None = any


@dataclass(frozen=True)
class Signature:
    """Inputs and outputs of a graph, by name, besides the state. The first input is data, (N, T, ...).

    A graph of ``step`` may have an input 'last', and an output 'y_lengths' with the lengths of its output 'y'.
    """

    inputs: Entries
    outputs: Entries


LENGTHS: Entries = {"lengths": ("int64", (None,))}


def token_graph(num_tokens: int) -> Mapping[str, Signature]:
    """The graphs of a network that reads tokens and predicts the next one."""
    inputs = {"tokens": ("int64", (None, None)), **LENGTHS}
    return {"": Signature(inputs, {"log_probs": ("float32", (None, None, num_tokens))})}


def feature_graph(dim: int, outputs: int) -> Mapping[str, Signature]:
    """The graphs of a network from features to log probabilities."""
    inputs: Entries = {"features": ("float32", (None, None, dim)), **LENGTHS, "last": ("bool", ())}
    log_probs = {"log_probs": ("float32", (None, None, outputs)), "log_probs_lengths": ("int64", (None,))}
    return {"": Signature(inputs, log_probs)}


@dataclass(frozen=True)
class Extra:
    """A part of a model besides settings and weights: a file in its folder, and the same text in its exported file.

    text:     value -> text
    parse:    text, its place for errors, and the values of the extras named in ``needs`` -> value. Raises DataError.
    optional: whether a model may lack it; its value is then None, or one whose text is empty
    edited:   text, place -> text: applied to the file in a folder, which people edit. Raises DataError.
    older:    an older name of the file in a folder, read if the file does not exist
    """

    file: str
    text: Callable[[Any], str]
    parse: Callable[..., Any]
    needs: tuple[str, ...] = ()
    optional: bool = False
    edited: Callable[[str, str], str] = lambda text, where: text
    older: str = ""


TOKENS = Extra("tokens.txt", TokenTable.to_text, TokenTable.parse)
VOCABULARY = Extra(
    "tokens.txt",
    lambda vocabulary: vocabulary.table.to_text(),
    lambda text, where: Vocabulary(TokenTable.parse(text, where)),
)


@dataclass(frozen=True)
class Endpoint:
    """How ``serve`` offers the models of a kind to clients. A runner is the result of ``ModelKind.run``.

    path:    where clients send recordings or requests
    about:   runner -> its description for clients, ready for JSON; its key 'streams' says whether it takes live audio.
             Raises UsageError for a model that cannot be served
    answer:  runner, recording or request, check -> the answer, ready for JSON; None: the server has formats of its own.
             It calls check() now and then, which raises an error once nobody waits for the answer any more
    request: the type of a request in JSON; None: clients send recordings
    suits:   runner, request -> whether this model can answer a request that names no model
    stream:  runner, rules=rules of endpoint detection -> a new stream of live audio
    """

    path: str
    about: Callable[[Any], dict[str, Any]]
    answer: Callable[[Any, Any, Callable[[], None]], dict[str, Any]] | None = None
    request: type[BaseModel] | None = None
    suits: Callable[[Any, Any], bool] = lambda runner, request: True
    stream: Callable[..., Any] | None = None


@dataclass(frozen=True)
class ModelKind:
    """Everything that folders, exported files and commands need to know about a kind of model.

    Code that needs torch or much memory is named as 'module:function' and imported when it is used.

    name:     ``kind`` in settings.yaml, and the kind of an exported file; ``TITLES`` has its name in messages
    settings: the type of its settings
    data:     the type of the data of a training run
    build:    function: settings, extras by name -> a model with random weights from torch's generator
    task:     function: settings, data, run -> the task of a training run; see ``train.run``
    runner:   function or class: network as a stage on arrays, settings, extras by name -> a Recognizer, Classifier, ...
    graphs:   settings, extras -> inputs and outputs of the graphs of an exported file; '' is the main one, ``step``
    describe: metadata of an exported file -> lines of 'recitative info', by name
    extras:   by their name in ``build`` and ``runner``, in the order in which they are read
    writer:   function: model -> its graphs; see ``model.export``
    int8:     how int8 is exported: 'weights' without a check, a 'module:class' that compares it with float32 on a
              development set (see ``model.export``), or '' for not at all
    endpoint: how a server offers it; None = not at all
    from_file:         whether only the graphs of a file can be run, not the network in PyTorch
    weights:           the attribute of a model that is the module with all weights
    distributed:       whether several workers can train one model
    saved_by_training: whether a run ends with a model; otherwise 'recitative average' makes it from several epochs
    """

    name: str
    settings: type[Any]
    data: type[TrainingData]
    build: str
    task: str
    runner: str | Callable[..., Any]
    graphs: Callable[[Any, Mapping[str, Any]], Mapping[str, Signature]]
    describe: Callable[[ModelMetadata], dict[str, str]]
    extras: Mapping[str, Extra] = field(default_factory=dict)
    writer: str = "recitative.model.export:write_step"
    int8: str = ""
    endpoint: Endpoint | None = None
    from_file: bool = False
    weights: str = "network"
    distributed: bool = False
    saved_by_training: bool = True

    @property
    def title(self) -> str:
        """The name in messages: 'classifier'."""
        return title_of(self.name)

    @property
    def with_article(self) -> str:
        """The name in messages: 'a classifier'."""
        return with_article(self.title)

    @property
    def train(self) -> str:
        """The command that makes a folder."""
        return "recitative train" if self.saved_by_training else "recitative average EXP"

    def new(self, settings: Any, extras: Mapping[str, Any]) -> Any:
        """A model with random weights."""
        return imported(self.build)(settings, **extras)

    def run(self, stage: Any, settings: Any, extras: Mapping[str, Any]) -> Any:
        """An object for users, such as a Recognizer, from a network as a stage on arrays."""
        runner = imported(self.runner) if isinstance(self.runner, str) else self.runner
        return runner(stage, settings, **extras)

    def values_of(self, model: Any) -> dict[str, Any]:
        """The extras of a model, by name."""
        return {name: getattr(model, name) for name in self.extras}

    def texts_of(self, model: Any) -> dict[str, str]:
        """The extras of a model as text, by file name."""
        values = self.values_of(model)
        texts = {
            extra.file: extra.text(values[name]) for name, extra in self.extras.items() if values[name] is not None
        }
        return {file: text for file, text in texts.items() if text}

    def parse(self, texts: Mapping[str, str], where: Callable[[str], str]) -> dict[str, Any]:
        """The extras by name, from texts by file name. where: file name -> its name in errors.

        Raises DataError for a damaged one, KeyError for a missing one that is not optional.
        """
        values: dict[str, Any] = {}
        for name, extra in self.extras.items():
            if extra.file in texts or not extra.optional:
                needed = [values[other] for other in extra.needs]
                values[name] = extra.parse(texts[extra.file], where(extra.file), *needed)
            else:
                values[name] = None
        return values


def imported(place: str) -> Any:
    """The object at 'module:name'."""
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


def title_of(name: str) -> str:
    """The name of a kind in messages, also of one that this version does not have."""
    return TITLES.get(name, f"{name.replace('_', ' ')} model")


def with_article(title: str) -> str:
    return f"{'an' if title[0] in 'aeiou' else 'a'} {title}"


def name_in_settings(folder: Path) -> str:
    """The kind of a model folder; '' if its settings cannot be read."""
    recover_folder(folder)
    try:
        values = read_yaml(folder / SETTINGS)
    except DataError:
        return ""
    return str(values.get("kind", RECOGNIZER_NAME)) if isinstance(values, dict) else ""


def kind_of_folder(folder: Path, kinds: Sequence[ModelKind]) -> ModelKind:
    """The kind of a model folder. Raises DataError if it is none of these kinds."""
    titles = " or ".join(f"{kind.with_article}'s" for kind in kinds) if len(kinds) < 4 else "a model's"
    recover_folder(folder)
    if not (folder / SETTINGS).is_file():
        found = f"has no {SETTINGS}" if folder.exists() else "does not exist"
        raise DataError(str(folder), found, f"{titles} folder", "correct the path")
    name = name_in_settings(folder)
    for kind in kinds:
        if kind.name == name:
            return kind
    found = f"is {with_article(title_of(name))}'s" if name else f"is not {titles}"
    allowed = " or ".join(f"'kind: {kind.name}'" for kind in kinds)
    raise DataError(str(folder / SETTINGS), found, allowed, f"make one with '{kinds[0].train}'")


# Metadata of exported files

FORMAT, KIND, MODEL, GRAPH = "recitative.format", "recitative.kind", "recitative.model", "recitative.graph."
VERSION = "2"
MAKE_ONE = "make one with 'recitative export'"  # a remedy in errors
FIRST_EXTRAS = {  # extras in format 1: the name of the value -> its file
    "tokens": "tokens.txt",
    "lexicon": "lexicon.txt",
    "lm": "lm.ngram",
    "calibrator": "confidence.json",
    "labels": "labels.json",
    "threshold": "threshold.json",
}


@dataclass(frozen=True)
class InitialState:
    """One entry of the state at the start of a stream: (N, *shape), all ``fill`` except the last values, ``tail``."""

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
class ModelMetadata:
    """Everything in a file except the graph.

    texts:             the extras, by file name
    stride, lookahead: of the network, in input frames; lookahead None = the whole input
    piece_frames:      maximum frames for one call of the graph, 0 = any number
    weights:           'float32' or 'int8'; '' if a file of format 1 does not say
    notes:             free text: license, corpus, error rates, the commands that made the model
    graphs:            further graphs, by name
    where:             the name of the file in errors
    """

    kind: ModelKind
    settings: Any
    state: dict[str, InitialState]
    parameters: int
    texts: Mapping[str, str] = field(default_factory=dict)
    stride: int = 1
    lookahead: int | None = 0
    piece_frames: int = 0
    weights: str = ""
    notes: str = ""
    graphs: Mapping[str, bytes] = field(default_factory=dict)
    where: str = field(default="the model", compare=False)

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


def kind_in(entries: Mapping[str, str], where: str, kinds: Sequence[ModelKind]) -> ModelKind:
    """The kind of a file. Raises DataError if it is none of these kinds."""
    name = entries.get(KIND) or (RECOGNIZER_NAME if FORMAT in entries else "")
    for kind in kinds:
        if kind.name == name:
            return kind
    titles = " or ".join(f"{kind.with_article}'s" for kind in kinds) if len(kinds) < 4 else "a model"
    found = f"is {with_article(title_of(name))}" if name else "is no model"
    raise DataError(where, found, f"{titles} file", MAKE_ONE)


def read_entries(entries: Mapping[str, str], where: str, kind: ModelKind) -> ModelMetadata:
    """The metadata of a file of this kind. Raises DataError that names the file if it is damaged or of another kind."""
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
        metadata.extras  # noqa: B018 - raises the errors of damaged extras here
        return metadata
    except (KeyError, TypeError, ValueError, AttributeError):
        found = "is damaged: its metadata cannot be read"
        raise DataError(where, found, f"a whole {kind.title}'s file", "export it again") from None


def with_texts(entries: Mapping[str, str], metadata: ModelMetadata, texts: Mapping[str, str]) -> dict[str, str]:
    """The entries of a file with other extras, by file name; entries of format 1 are converted to format 2.

    entries: those from which ``metadata`` was read
    """
    if "recitative.card" in entries:
        changed = replace(metadata, texts={**metadata.texts, **texts}).to_entries()
        ours = ("recitative.format", "recitative.card", "recitative.choice", "recitative.encoder")
        return {key: value for key, value in entries.items() if key not in ours} | changed
    model = json.loads(entries[MODEL])
    model["extras"] |= texts
    return {**entries, MODEL: json.dumps(model)}


def _current(entries: Mapping[str, str], where: str) -> tuple[dict[str, Any], dict[str, bytes]]:
    if (made := entries[FORMAT]) != VERSION:
        raise DataError(where, f"has format {made}", f"format 1 or {VERSION}", "export it again with this version")
    graphs = {key.removeprefix(GRAPH): entries[key] for key in entries if key.startswith(GRAPH)}
    return json.loads(entries[MODEL]), {name: b64decode(graph, validate=True) for name, graph in graphs.items()}


def _upgraded(entries: Mapping[str, str], where: str, kind: ModelKind) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Format 1, of release 0.1, converted to format 2: it has extras as values among the other entries."""
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


# The checksum

CLAIM, CLAIMED = "recitative.checksum", "sha256 of all but the last 64 bytes"
KEY = "recitative.sha256"
DIGITS = 64
_BEFORE_DIGITS = KEY.encode() + bytes([0x12, DIGITS])  # the entry's key, and field 2 of 64 bytes: its value


def sealed(content: bytes) -> bytes:
    """A file without a checksum -> with its checksum."""
    body = content + _entry_field(CLAIM, CLAIMED) + _entry_field(KEY, DIGITS * "0")[:-DIGITS]
    return body + digest_of(body).encode()


def digest_of(content: bytes | memoryview) -> str:
    """64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def verify_checksum(content: bytes, where: str, kind: str) -> bool:
    """Whether a file has a checksum; files of older versions have none. Raises DataError for a wrong one."""
    body = memoryview(content)[:-DIGITS]
    if bytes(body[-len(_BEFORE_DIGITS) :]) != _BEFORE_DIGITS:
        return False
    if content[-DIGITS:] != digest_of(body).encode():
        raise _wrong_checksum(where, kind)
    return True


def split_metadata(content: bytes, where: str, kind: str) -> tuple[bytes, dict[str, str]]:
    """The file without its metadata, and the metadata, verified by the checksum if there is one.

    Raises DataError for a wrong or missing checksum, ValueError if the content is no protocol buffer.
    """
    verified = verify_checksum(content, where, kind)
    rest = b"".join(whole for number, whole, _ in _fields(memoryview(content)) if number != METADATA)
    entries = metadata_of(content)
    if CLAIM in entries and not verified:
        raise _wrong_checksum(where, kind)
    return rest, entries


def _wrong_checksum(where: str, kind: str) -> DataError:
    found = "is damaged: its content does not match its checksum"
    return DataError(where, found, f"a whole {kind}", "copy or export it again")


# The bytes

METADATA = 14
_BYTES = 2  # the type of a value that begins with its length


def metadata_of(content: bytes) -> dict[str, str]:
    """Key -> value of every entry. Raises ValueError if the content is no protocol buffer."""
    return dict(_entry(value) for number, _, value in _fields(memoryview(content)) if number == METADATA)


def with_metadata(content: bytes, entries: Mapping[str, str]) -> bytes:
    """The same file with exactly these entries, old ones in their old order, and a new checksum.

    Raises ValueError if the content is no protocol buffer.
    """
    parts = list(_fields(memoryview(content)))
    kept = [key for key in (_entry(value)[0] for number, _, value in parts if number == METADATA) if key in entries]
    order = dict.fromkeys([*kept, *entries])
    metadata = [_entry_field(key, entries[key]) for key in order if key not in (CLAIM, KEY)]
    return sealed(b"".join([*(whole for number, whole, _ in parts if number != METADATA), *metadata]))


def _entry_field(key: str, value: str) -> bytes:
    return _field(METADATA, _field(1, key.encode()) + _field(2, value.encode()))


def _entry(content: memoryview) -> tuple[str, str]:
    parts = {number: value for number, _, value in _fields(content)}
    return str(parts.get(1, b""), "utf-8"), str(parts.get(2, b""), "utf-8")


def _field(number: int, value: bytes) -> bytes:
    size, length = [], len(value)
    while length > 127:  # seven bits a byte, the lowest first; all but the last byte have their eighth bit set
        size.append(length & 127 | 128)
        length >>= 7
    return bytes([number << 3 | _BYTES, *size, length]) + value


def _fields(content: memoryview) -> Iterator[tuple[int, memoryview, memoryview]]:
    """Number, all bytes, and value of each field; the value is empty if it is a number."""
    place = 0
    while place < len(content):
        start = place
        tag, place = _read_varint(content, place)
        value = content[:0]
        match tag & 7:
            case 0:
                _, place = _read_varint(content, place)
            case 1:
                place += 8
            case 2:  # _BYTES
                size, place = _read_varint(content, place)
                value = content[place : place + size]
                place += size
            case 5:
                place += 4
            case other:
                raise ValueError(f"no protocol buffer: type {other}")
        if place > len(content):
            raise ValueError("a protocol buffer that ends within a field")
        yield tag >> 3, content[start:place], value


def _read_varint(content: memoryview, place: int) -> tuple[int, int]:
    number, shift = 0, 0
    while place < len(content) and shift < 64:
        byte = content[place]
        number |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return number, place
    raise ValueError("a protocol buffer that ends within a number")
