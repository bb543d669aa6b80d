"""A kind of model, described once: folders, exported files and commands are written for all kinds. No torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import BaseModel

from recitative.atomic import recover_folder
from recitative.config import TrainingData, load_tree
from recitative.errors import DataError, UsageError
from recitative.reading import read_yaml

if TYPE_CHECKING:
    from recitative.model.file import ModelMetadata

S = TypeVar("S", bound=BaseModel)
M = TypeVar("M")

SETTINGS = "settings.yaml"
RECOGNIZER_NAME = "recognizer"  # in release 0.1, settings and files of this kind didn't say it


Entries = Mapping[str, tuple[str, tuple[int | None, ...]]]  # dtype and shape of each input or output; None = any


@dataclass(frozen=True)
class Signature:
    """What a graph takes and gives, by name, beside the state: first the data, (N, T, ...) of a network's ``step``.

    A graph of ``step`` may take 'last', and may give the lengths of its output 'y' as 'y_lengths'.
    """

    inputs: Entries
    outputs: Entries


LENGTHS: Entries = {"lengths": ("int64", (None,))}


def token_graph(num_tokens: int) -> Mapping[str, Signature]:
    """Of a network that reads tokens and predicts the next."""
    inputs = {"tokens": ("int64", (None, None)), **LENGTHS}
    return {"": Signature(inputs, {"log_probs": ("float32", (None, None, num_tokens))})}


def feature_graph(dim: int, outputs: int) -> Mapping[str, Signature]:
    """Of a network that reads features and gives log probabilities."""
    inputs: Entries = {"features": ("float32", (None, None, dim)), **LENGTHS, "last": ("bool", ())}
    log_probs = {"log_probs": ("float32", (None, None, outputs)), "log_probs_lengths": ("int64", (None,))}
    return {"": Signature(inputs, log_probs)}


@dataclass(frozen=True)
class Extra:
    """What a model has besides settings and weights: a file in its folder, and the same text in its exported file.

    text:     of a model; '' = it has none
    parse:    text, where it stands (for errors), the extras before this one -> the value. Raises DataError.
    optional: whether a model may lack it; its value is None then
    edited:   text, where -> text: applied to the file in a folder, which people edit. Raises DataError.
    older:    another name of the file in a folder, which is read where there is none of the first
    """

    file: str
    text: Callable[[Any], str]
    parse: Callable[[str, str, Mapping[str, Any]], Any]
    optional: bool = False
    edited: Callable[[str, str], str] = lambda text, where: text
    older: str = ""


@dataclass(frozen=True)
class Endpoint:
    """How ``serve`` offers the models of a kind to clients. A runner is what ``ModelKind.runner`` makes.

    path:    where clients send recordings or requests
    about:   runner -> what its clients must know, ready for JSON, and in any case 'streams': whether it hears live
             audio. Raises UsageError for a model that cannot be served
    answer:  runner, what was sent, check -> the answer, ready for JSON; None: the server has formats of its own for it.
             It calls check() now and then, which raises an error when nobody waits for the answer any more
    request: the type of what is sent as JSON; None: recordings are sent
    suits:   runner, request -> whether this model can do it, where a request doesn't name one
    stream:  runner, rules=where an utterance ends -> a new stream of live audio
    """

    path: str
    about: Callable[[Any], dict[str, Any]]
    answer: Callable[[Any, Any, Callable[[], None]], dict[str, Any]] | None = None
    request: type[BaseModel] | None = None
    suits: Callable[[Any, Any], bool] = lambda runner, request: True
    stream: Callable[..., Any] | None = None


@dataclass(frozen=True)
class ModelKind(Generic[S, M]):
    """One value says all that folders, exported files and commands need to know of a kind of model.

    name:     stands in settings.yaml (``kind``) and in exported files
    title:    what messages call it, such as 'classifier'
    settings: its typed settings
    build:    settings, and extras by name -> a model with random weights (from torch's generator); imports torch
    train:    the command that makes a folder
    export:   the command that makes a file
    describe: metadata of an exported file -> lines of 'recitative info', by name
    task:     the module whose ``prepare`` makes the task of a training run; see ``train.run``
    data:     what a training run reads
    graphs:   settings, extras -> what the graphs of its file take and give: '' is the main one, of ``step``
    runner:   network as a stage on arrays, settings, extras -> what users run, such as a Recognizer; None = the model
    endpoint: how a server offers it; None = it does not
    from_file: whether only the graphs of a file can be run, not the network in PyTorch
    extras:   by the name of ``build``'s argument, in the order in which they are read
    weights:  the attribute of a model that is the module of all weights
    distributed:       whether several workers can train one model
    saved_by_training: whether a run ends with a model; otherwise 'recitative average' makes it from several epochs
    """

    name: str
    title: str
    settings: type[S]
    build: Callable[..., M]
    train: str
    export: str
    describe: Callable[[ModelMetadata[S]], dict[str, str]]
    task: str
    data: type[TrainingData]
    graphs: Callable[[S, Mapping[str, Any]], Mapping[str, Signature]] = lambda settings, extras: {}
    runner: Callable[[Any, S, Mapping[str, Any]], Any] | None = None
    endpoint: Endpoint | None = None
    from_file: bool = False
    extras: Mapping[str, Extra] = field(default_factory=dict)
    weights: str = "network"
    distributed: bool = False
    saved_by_training: bool = True

    def texts_of(self, model: M) -> dict[str, str]:
        """File name -> text, of the extras that a model has."""
        texts = {extra.file: extra.text(model) for extra in self.extras.values()}
        return {file: text for file, text in texts.items() if text}

    def values_of(self, model: M) -> dict[str, Any]:
        """The extras of a model, by name."""
        return {name: getattr(model, name) for name in self.extras}

    def parse(self, texts: Mapping[str, str], where: Callable[[str], str]) -> dict[str, Any]:
        """The extras by name; ``where`` tells of a file name how errors call it. Raises DataError, or KeyError if one
        is missing that no model may lack."""
        values: dict[str, Any] = {}
        for name, extra in self.extras.items():
            if extra.file in texts or not extra.optional:
                values[name] = extra.parse(texts[extra.file], where(extra.file), values)
            else:
                values[name] = None
        return values


AnyKind = ModelKind[Any, Any]


def model_named(name: str) -> str:
    """What errors call a model of a kind that only its name tells: 'music' -> 'a music model'."""
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


def kind_of_folder(folder: Path, kinds: Sequence[AnyKind]) -> AnyKind:
    """Of which of these kinds a model folder is. Raises DataError for none of them."""
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


class _Kind(BaseModel, frozen=True, extra="ignore"):
    kind: str = ""


def load_settings_of(path: Path | None, overrides: Sequence[str], kinds: Sequence[AnyKind]) -> Any:
    """Settings of the kind that the file names, the first if it names none. Raises UsageError, also for others."""
    names = [kind.name for kind in kinds]
    name = load_tree(_Kind, path, overrides).kind or names[0]
    if name not in names:
        known = " or ".join(f"'{kind.name}' ({kind.title})" for kind in kinds)
        raise UsageError(f"{path or 'settings'}: kind={name!r}: must be {known}")
    return load_tree(kinds[names.index(name)].settings, path, overrides)
