"""A recurrent language model: embedding, the recurrent core, log probabilities of the next token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from recitative.lm.kind import LANGUAGE_MODEL, LanguageModelSettings, NetworkSettings
from recitative.lm.recurrent import RecurrentLanguageModel
from recitative.model.kind import ModelKind
from recitative.model.torch_stage import TorchStage
from recitative.nn.heads import Embedding, TiedLogProbs
from recitative.nn.recurrent import RecurrentStack
from recitative.nn.stages import Chain, Dropout, LogProbs
from recitative.text.tokens import Vocabulary


@dataclass(frozen=True)
class LanguageModelNetwork:
    """A network with everything needed to read text."""

    kind: ClassVar[ModelKind] = LANGUAGE_MODEL
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


def new_scorer(model: LanguageModelNetwork) -> RecurrentLanguageModel:
    """The scorer around a language model in memory, as it stands: in evaluation mode it has no dropout."""
    return RecurrentLanguageModel(TorchStage(model.network), model.vocabulary)
