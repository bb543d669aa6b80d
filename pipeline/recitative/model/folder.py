"""A model on disk, of whatever kind: one folder of files. Nothing is unpickled.

weights.safetensors   every parameter and buffer by name, normalization included
settings.yaml         the resolved settings of the run, features included; ``kind`` tells which kind of model it is
...                   the extras of the kind: tokens.txt, labels.json, threshold.json, ...
SHA256SUMS            checksums of the other files (``model.checksums``)
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Protocol

from pydantic import BaseModel
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from recitative.atomic import recover_folder, replacing_folder
from recitative.config import dump_settings, load_tree
from recitative.errors import DataError
from recitative.model.checksums import verify_checksums, write_checksums
from recitative.model.kind import RECOGNIZER_NAME, SETTINGS, AnyKind, M, ModelKind
from recitative.reading import read_text, read_yaml

WEIGHTS = "weights.safetensors"


class Model(Protocol):
    """A network with its settings, and the extras of its kind."""

    kind: ClassVar[AnyKind]

    @property
    def settings(self) -> BaseModel: ...


def save_model(model: Model, folder: Path) -> None:
    """Write the folder; atomic: an older model stays whole until the new one is."""
    kind = model.kind
    with replacing_folder(folder) as partial:
        weights = _weights(kind, model).state_dict()
        content = save({name: value.contiguous().cpu() for name, value in weights.items()})
        (partial / WEIGHTS).write_bytes(content)  # safetensors' own writing has its own errors for a full disk
        (partial / SETTINGS).write_text(dump_settings(model.settings), encoding="utf-8")
        for file, text in kind.texts_of(model).items():
            (partial / file).write_text(text, encoding="utf-8")
        write_checksums(partial)


def load_model(folder: Path, kind: ModelKind[Any, M]) -> M:
    """Read a model folder, in evaluation mode. Raises DataError for anything but a whole model of this kind."""
    remedy = f"make one with '{kind.train}'"
    _require_whole(folder, kind, remedy)
    settings = load_tree(kind.settings, folder / SETTINGS)
    model = kind.build(settings, **kind.parse(_texts(folder, kind, remedy), lambda file: str(folder / file)))
    weights = _weights(kind, model)
    try:
        weights.load_state_dict(load_file(folder / WEIGHTS))
    except (SafetensorError, RuntimeError) as error:
        found = f"does not hold this model's weights ({str(error).splitlines()[0]})"
        raise DataError(str(folder / WEIGHTS), found, "", remedy) from None
    weights.eval()
    return model


def _weights(kind: AnyKind, model: object) -> nn.Module:
    module = getattr(model, kind.weights)
    assert isinstance(module, nn.Module)
    return module


def _require_whole(folder: Path, kind: AnyKind, remedy: str) -> None:
    """Raises DataError if a file is missing or is not what was written, or for another kind of model."""
    recover_folder(folder)
    _require_files(folder, (WEIGHTS, SETTINGS), kind, remedy)
    verify_checksums(folder)
    values = read_yaml(folder / SETTINGS, f"a {kind.title}'s settings", remedy)
    if not isinstance(values, dict) or values.get("kind", RECOGNIZER_NAME) != kind.name:
        raise DataError(str(folder / SETTINGS), f"is not a {kind.title}'s", f"'kind: {kind.name}'", remedy)
    _require_files(folder, [extra.file for extra in kind.extras.values() if not extra.optional], kind, remedy)


def _require_files(folder: Path, names: Iterable[str], kind: AnyKind, remedy: str) -> None:
    for name in names:
        if not (folder / name).is_file():
            raise DataError(str(folder), f"has no {name}", f"a {kind.title}'s folder", remedy)


def _texts(folder: Path, kind: AnyKind, remedy: str) -> dict[str, str]:
    texts = {}
    for name, extra in kind.extras.items():
        path = folder / extra.file
        if extra.older and not path.exists():
            path = folder / extra.older
        if path.exists():
            texts[extra.file] = extra.edited(read_text(path, f"the {name} of a {kind.title}", remedy), str(path))
    return texts
