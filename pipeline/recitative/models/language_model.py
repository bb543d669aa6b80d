"""A recurrent language model: embedding, the recurrent core, log probabilities of the next token; and its folder.

weights.safetensors   every parameter by name
settings.yaml         the resolved settings of the run
tokens.txt            the vocabulary, see ``text.vocabulary``

Nothing is unpickled.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from recitative.config import dump_settings, load_tree
from recitative.errors import DataError
from recitative.models.language_settings import LanguageModelSettings, NetworkSettings
from recitative.nn.chain import Chain
from recitative.nn.embedding import Embedding, TiedLogProbs
from recitative.nn.framewise import Dropout, LogProbs
from recitative.nn.recurrent import RecurrentStack
from recitative.text.tokens import TokenTable
from recitative.text.vocabulary import Vocabulary

REMEDY = "make one with 'recitative lm train-recurrent'"


@dataclass(frozen=True)
class LanguageModelNetwork:
    """A network with everything needed to read text."""

    settings: LanguageModelSettings
    vocabulary: Vocabulary
    network: Chain


def build_language_model(settings: NetworkSettings, num_tokens: int) -> Chain:
    """The network as one stage: token ids (N, T) -> ln P(next token | tokens so far) (N, T, num_tokens)."""
    embedding = Embedding(num_tokens, settings.embedding)
    core = RecurrentStack(settings.embedding, settings.recurrent)
    stages: dict[str, nn.Module] = {"embedding": embedding}
    if settings.dropout:
        stages["input_dropout"] = Dropout(settings.embedding, settings.dropout)
    stages["core"] = core
    width = core.output_width
    if settings.dropout:
        stages["output_dropout"] = Dropout(width, settings.dropout)
    stages["head"] = TiedLogProbs(width, embedding) if settings.tied else LogProbs(width, num_tokens)
    return Chain(stages)


def new_language_model(settings: LanguageModelSettings, vocabulary: Vocabulary) -> LanguageModelNetwork:
    """A language model with random weights (from torch's generator)."""
    return LanguageModelNetwork(settings, vocabulary, build_language_model(settings.model, len(vocabulary)))


def save_language_model(model: LanguageModelNetwork, folder: Path) -> None:
    """Write the folder; atomic: an older model stays whole until the new one is."""
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        weights = {name: value.contiguous().cpu() for name, value in model.network.state_dict().items()}
        save_file(weights, partial / "weights.safetensors")
        (partial / "settings.yaml").write_text(dump_settings(model.settings), encoding="utf-8")
        model.vocabulary.table.write(partial / "tokens.txt")
        shutil.rmtree(folder, ignore_errors=True)
        partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def load_language_model(folder: Path) -> LanguageModelNetwork:
    """Read a model folder, in evaluation mode. Raises DataError for anything but a whole language model."""
    for name in ("weights.safetensors", "settings.yaml", "tokens.txt"):
        if not (folder / name).is_file():
            raise DataError(str(folder), f"has no {name}", "a language model's folder", REMEDY)
    settings = _load_settings(folder / "settings.yaml")
    model = new_language_model(settings, Vocabulary(TokenTable.read(folder / "tokens.txt")))
    weights_path = folder / "weights.safetensors"
    try:
        model.network.load_state_dict(load_file(weights_path))
    except (SafetensorError, RuntimeError) as error:
        found = f"does not hold this model's weights ({str(error).splitlines()[0]})"
        raise DataError(str(weights_path), found, "", REMEDY) from None
    model.network.eval()
    return model


def _load_settings(path: Path) -> LanguageModelSettings:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        values = None
    if not isinstance(values, dict) or values.get("kind") != "language_model":
        raise DataError(str(path), "is not a language model's", "'kind: language_model'", REMEDY)
    return load_tree(LanguageModelSettings, path)
