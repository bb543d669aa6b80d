"""What every model folder has in common: it is written whole or not at all, and its weights are in safetensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from recitative.atomic import recover_folder, replacing_folder
from recitative.config import load_tree
from recitative.errors import DataError
from recitative.model.checksums import verify_checksums, write_checksums
from recitative.reading import read_yaml

T = TypeVar("T", bound=BaseModel)

WEIGHTS, SETTINGS, TOKENS = "weights.safetensors", "settings.yaml", "tokens.txt"


@contextmanager
def writing_model(folder: Path) -> Iterator[Path]:
    """``replacing_folder`` for a model, which gets the checksums of its files."""
    with replacing_folder(folder) as partial:
        yield partial
        write_checksums(partial)


def save_weights(network: nn.Module, folder: Path) -> None:
    """Every parameter and buffer by name."""
    content = save({name: value.contiguous().cpu() for name, value in network.state_dict().items()})
    (folder / WEIGHTS).write_bytes(content)  # their own way of writing has its own errors for a full disk


def load_weights(network: nn.Module, folder: Path, remedy: str) -> None:
    """Into the network, which is in evaluation mode then. Raises DataError for weights of another network."""
    try:
        network.load_state_dict(load_file(folder / WEIGHTS))
    except (SafetensorError, RuntimeError) as error:
        found = f"does not hold this model's weights ({str(error).splitlines()[0]})"
        raise DataError(str(folder / WEIGHTS), found, "", remedy) from None
    network.eval()


def load_kind(model: type[T], path: Path, found: str, remedy: str) -> T:
    """The settings file of one kind of model, which its ``kind`` tells from others. Raises DataError for another."""
    values = read_yaml(path, f"'kind: {model.model_fields['kind'].default}'", remedy)
    kind = model.model_fields["kind"].default
    if not isinstance(values, dict) or values.get("kind") != kind:
        raise DataError(str(path), found, f"'kind: {kind}'", remedy)
    return load_tree(model, path)


def require_files(folder: Path, allowed: str, remedy: str, names: Sequence[str] = (WEIGHTS, SETTINGS, TOKENS)) -> None:
    """Raises DataError that names the first of the files that is missing, or one that is not what was written."""
    recover_folder(folder)
    for name in names:
        if not (folder / name).is_file():
            raise DataError(str(folder), f"has no {name}", allowed, remedy)
    verify_checksums(folder)
