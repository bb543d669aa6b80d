"""A model on disk: one folder with weights (normalisation included), settings and tokens. Nothing is unpickled.

weights.safetensors   every parameter and buffer by name
settings.yaml         the resolved settings of the run, features included: whoever decodes has none to choose
tokens.txt            the token table
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from recitative.config import Settings, dump_settings, load_settings
from recitative.errors import DataError
from recitative.models.recogniser import build_recogniser
from recitative.nn.chain import Chain
from recitative.text.tokens import TokenTable


@dataclass(frozen=True)
class Recogniser:
    """A network with everything needed to turn samples into text."""

    settings: Settings
    tokens: TokenTable
    network: Chain


def new_recogniser(settings: Settings, tokens: TokenTable) -> Recogniser:
    """A recogniser with random weights (from torch's generator)."""
    return Recogniser(settings, tokens, build_recogniser(settings.model, settings.features.dim, len(tokens)))


def save_recogniser(recogniser: Recogniser, folder: Path) -> None:
    """Write the folder; atomic: an older model stays whole until the new one is."""
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        weights = {name: value.contiguous().cpu() for name, value in recogniser.network.state_dict().items()}
        save_file(weights, partial / "weights.safetensors")
        (partial / "settings.yaml").write_text(dump_settings(recogniser.settings), encoding="utf-8")
        recogniser.tokens.write(partial / "tokens.txt")
        shutil.rmtree(folder, ignore_errors=True)
        partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def load_recogniser(folder: Path) -> Recogniser:
    """Read a model folder, in evaluation mode. Raises DataError for anything but a whole model."""
    for name in ("weights.safetensors", "settings.yaml", "tokens.txt"):
        if not (folder / name).is_file():
            raise DataError(str(folder), f"has no {name}", "a model folder", "make one with 'recitative average EXP'")
    recogniser = new_recogniser(load_settings(folder / "settings.yaml"), TokenTable.read(folder / "tokens.txt"))
    weights_path = folder / "weights.safetensors"
    try:
        recogniser.network.load_state_dict(load_file(weights_path))
    except (SafetensorError, RuntimeError) as error:
        found = f"does not hold this model's weights ({str(error).splitlines()[0]})"
        raise DataError(str(weights_path), found, "", "make the model again with 'recitative average EXP'") from None
    recogniser.network.eval()
    return recogniser
