"""A kind of model, described once: folders, exported files and commands are written for all kinds. No torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from recitative.atomic import recover_folder
from recitative.config import TrainingData
from recitative.errors import DataError
from recitative.reading import read_yaml
from recitative.text.tokens import TokenTable, Vocabulary

if TYPE_CHECKING:
    from recitative.model.file import ModelMetadata

SETTINGS = "settings.yaml"
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

    name:     ``kind`` in settings.yaml, and the kind of an exported file
    title:    the name in messages, such as 'classifier'
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
    title: str
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


def model_named(name: str) -> str:
    """A model in errors, by the name of its kind: 'music' -> 'a music model'."""
    words = name.replace("_", " ")
    article = "an" if words[0] in "aeiou" else "a"
    return f"{article} {words}" if words.endswith("model") else f"{article} {words} model"


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
    titles = " or ".join(f"a {kind.title}'s" for kind in kinds) if len(kinds) < 4 else "a model's"
    recover_folder(folder)
    if not (folder / SETTINGS).is_file():
        raise DataError(str(folder), f"has no {SETTINGS}", f"{titles} folder", "correct the path")
    name = name_in_settings(folder)
    for kind in kinds:
        if kind.name == name:
            return kind
    found = f"is {model_named(name)}'s" if name else f"is not {titles}"
    allowed = " or ".join(f"'kind: {kind.name}'" for kind in kinds)
    raise DataError(str(folder / SETTINGS), found, allowed, f"make one with '{kinds[0].train}'")
