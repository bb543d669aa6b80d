"""A recurrent language model: embedding, the recurrent core, log probabilities of the next token; and its folder.

weights.safetensors   every parameter by name
settings.yaml         the resolved settings of the run
tokens.txt            the vocabulary, see ``text.vocabulary``

Nothing is unpickled.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from recitative.config import dump_settings
from recitative.models.language_settings import LanguageModelSettings, NetworkSettings
from recitative.models.weights import (
    SETTINGS,
    TOKENS,
    load_kind,
    load_weights,
    require_files,
    save_weights,
    writing_model,
)
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
    with writing_model(folder) as partial:
        save_weights(model.network, partial)
        (partial / SETTINGS).write_text(dump_settings(model.settings), encoding="utf-8")
        model.vocabulary.table.write(partial / TOKENS)


def load_language_model(folder: Path) -> LanguageModelNetwork:
    """Read a model folder, in evaluation mode. Raises DataError for anything but a whole language model."""
    require_files(folder, "a language model's folder", REMEDY)
    settings = load_kind(LanguageModelSettings, folder / SETTINGS, "is not a language model's", REMEDY)
    model = new_language_model(settings, Vocabulary(TokenTable.read(folder / TOKENS)))
    load_weights(model.network, folder, REMEDY)
    return model
