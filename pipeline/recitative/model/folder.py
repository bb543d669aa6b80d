"""A model folder, for all kinds of models. Nothing is unpickled.

weights.safetensors   every parameter and buffer by name, normalization included
settings.yaml         the resolved settings of the run, features included; ``kind`` is the kind of model
...                   the extras of the kind: tokens.txt, labels.json, threshold.json, ...
SHA256SUMS            checksums of all other files, in the format of ``sha256sum -c``

The checksums cover all files, since a changed digit in the settings or the language model changes results as silently
as one in the weights. Folders of older versions have none, and they are optional: remove the file after editing
another one by hand.

``TorchStage`` runs the network of a model in memory on NumPy arrays.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np
import torch
from pydantic import BaseModel
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from recitative.atomic import recover_folder, replacing_folder
from recitative.config import dump_settings, load_tree
from recitative.errors import DataError
from recitative.model.kind import RECOGNIZER_NAME, SETTINGS, ModelKind
from recitative.reading import read_text, read_yaml
from recitative.stage import Array, Padded, State

WEIGHTS = "weights.safetensors"
_OLDER_NAMES = {"normalise": "normalize", "told": "conditioning"}  # of modules before release 0.2
CHECKSUMS = "SHA256SUMS"

T = TypeVar("T")


class Model(Protocol):
    """A network with its settings, and the extras of its kind as attributes."""

    kind: ClassVar[ModelKind]

    @property
    def settings(self) -> BaseModel: ...

    @property
    def network(self) -> nn.Module: ...


def save_model(model: Model, folder: Path) -> None:
    """Write the folder; atomic: an older model stays complete until the new one is."""
    kind = model.kind
    with replacing_folder(folder) as partial:
        weights: nn.Module = getattr(model, kind.weights)
        content = save({name: value.contiguous().cpu() for name, value in weights.state_dict().items()})
        (partial / WEIGHTS).write_bytes(content)  # safetensors' own writing has its own errors for a full disk
        (partial / SETTINGS).write_text(dump_settings(model.settings), encoding="utf-8")
        for file, text in kind.texts_of(model).items():
            (partial / file).write_text(text, encoding="utf-8")
        _write_checksums(partial)


def load_model(folder: Path, kind: ModelKind) -> Any:
    """The model in a folder, in evaluation mode. Raises DataError for a damaged folder or one of another kind."""
    remedy = f"make one with '{kind.train}'"
    _require_complete(folder, kind, remedy)
    settings = load_tree(kind.settings, folder / SETTINGS)
    texts = {}
    for name, extra in kind.extras.items():
        path = folder / extra.file
        if extra.older and not path.exists():
            path = folder / extra.older
        if path.exists():
            texts[extra.file] = extra.edited(read_text(path, f"the {name} of {kind.with_article}", remedy), str(path))
    model = kind.new(settings, kind.parse(texts, lambda file: str(folder / file)))
    weights: nn.Module = getattr(model, kind.weights)
    try:
        weights.load_state_dict(load_weights(folder / WEIGHTS))
    except (SafetensorError, RuntimeError) as error:
        found = f"does not hold this model's weights ({str(error).splitlines()[0]})"
        raise DataError(str(folder / WEIGHTS), found, "", remedy) from None
    weights.eval()
    return model


def load_weights(path: Path) -> dict[str, torch.Tensor]:
    """A file of weights, by the names that the modules have now. Raises SafetensorError for a damaged file."""
    return with_present_names(load_file(path))


def with_present_names(weights: Mapping[str, T]) -> dict[str, T]:
    """Weights of files from before release 0.2 by the names that the modules have now."""
    return {
        ".".join(_OLDER_NAMES.get(part, part) for part in name.split(".")): value for name, value in weights.items()
    }


def _require_complete(folder: Path, kind: ModelKind, remedy: str) -> None:
    """Raises DataError if a file is missing or has a wrong checksum, or for another kind of model."""

    def require(*names: str) -> None:
        for name in names:
            if not (folder / name).is_file():
                found = f"has no {name}" if folder.exists() else "does not exist"
                raise DataError(str(folder), found, f"{kind.with_article}'s folder", remedy)

    recover_folder(folder)
    require(WEIGHTS, SETTINGS)
    verify_checksums(folder)
    values = read_yaml(folder / SETTINGS, f"{kind.with_article}'s settings", remedy)
    if not isinstance(values, dict) or values.get("kind", RECOGNIZER_NAME) != kind.name:
        raise DataError(str(folder / SETTINGS), f"is not {kind.with_article}'s", f"'kind: {kind.name}'", remedy)
    require(*(extra.file for extra in kind.extras.values() if not extra.optional))


def _write_checksums(folder: Path) -> None:
    names = sorted(path.name for path in folder.iterdir() if path.is_file() and path.name != CHECKSUMS)
    lines = [f"{_digest_of(folder / name)}  {name}\n" for name in names]
    (folder / CHECKSUMS).write_text("".join(lines), encoding="utf-8")


def verify_checksums(folder: Path) -> None:
    """Raises DataError for the first file that is missing or has changed, if the folder has checksums.

    Files without a checksum are allowed: somebody may have added them.
    """
    path = folder / CHECKSUMS
    if not path.exists():
        return

    def damaged(where: Path | str, found: str) -> DataError:
        return DataError(str(where), found, "", f"copy the folder again; to keep a change of your own, remove {path}")

    try:
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError):
        raise damaged(path, "cannot be read") from None
    for number, line in enumerate(lines, start=1):
        digest, _, name = line.partition("  ")
        if not name or Path(name).name != name:
            raise damaged(f"{path}:{number}", "is no checksum of a file")
        file = folder / name
        if not file.is_file():
            raise damaged(file, f"is missing, and {CHECKSUMS} lists it")
        if _digest_of(file) != digest:
            raise damaged(file, f"is damaged, or was changed by hand: its checksum is not that in {CHECKSUMS}")


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class TorchStage:
    """Stage: input of the network -> its output, float32, without gradients. State: that of the network, as arrays."""

    def __init__(self, network: Any) -> None:
        """network: a module that is a stage; it runs on its device, and may be moved"""
        self.network = network

    @property
    def stride(self) -> int:
        return int(self.network.stride)

    @property
    def lookahead(self) -> int | None:
        lookahead: int | None = self.network.lookahead
        return lookahead

    def output_lengths(self, lengths: Array) -> Array:
        frames: Array = self.network.output_lengths(torch.from_numpy(np.asarray(lengths))).numpy()
        return frames

    def initial_state(self, n: int) -> State:
        return {key: value.cpu().numpy() for key, value in self.network.initial_state(n).items()}

    def step(self, x: Padded[Array], state: State, *, last: bool) -> tuple[Padded[Array], State]:
        tensors = Padded(self._tensor(x.data), self._tensor(x.lengths))
        with torch.inference_mode():
            y, new_state = self.network.step(tensors, {k: self._tensor(v) for k, v in state.items()}, last=last)
        arrays = {key: value.cpu().numpy() for key, value in new_state.items()}
        return Padded(y.data.float().cpu().numpy(), y.lengths.cpu().numpy()), arrays

    def call(self, part: str, feeds: Mapping[str, Array]) -> Array:
        """The output of a part of the network that is no stage; in an exported file it is a graph of its own."""
        with torch.inference_mode():
            y = getattr(self.network, part)(*(self._tensor(np.ascontiguousarray(value)) for value in feeds.values()))
        array: Array = y.cpu().numpy()
        return array

    def _tensor(self, array: Array) -> torch.Tensor:
        return torch.from_numpy(np.asarray(array)).to(next(self.network.parameters()).device)


def run_model(model: Any) -> Any:
    """A model in memory, ready to run on PyTorch: the result of ``kind.run``.

    Call ``eval`` first to turn off dropout.
    """
    return model.kind.run(TorchStage(model.network), model.settings, model.kind.values_of(model))
