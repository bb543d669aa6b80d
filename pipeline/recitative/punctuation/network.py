"""The network: embedding of words, the recurrent core, look-ahead, and P(mark and case of each word)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from recitative.model.kind import AnyKind
from recitative.nn.embedding import EmbeddedFeatures
from recitative.nn.recurrent import RecurrentStack
from recitative.nn.stages import Chain, LogProbs, Project
from recitative.nn.window import RowConv
from recitative.punctuation.kind import PUNCTUATION, PunctuationNetworkSettings, PunctuationSettings
from recitative.punctuation.labels import LABELS
from recitative.text.vocabulary import Vocabulary


@dataclass(frozen=True)
class PunctuationModel:
    """A network with its words; ``punctuation.punctuator`` restores text with it."""

    kind: ClassVar[AnyKind] = PUNCTUATION
    settings: PunctuationSettings
    vocabulary: Vocabulary
    network: Chain


def build_network(settings: PunctuationNetworkSettings, words: int) -> Chain:
    """The network as one stage: features of words (N, T, 4) -> ln P of their labels (N, T, 15)."""
    core = RecurrentStack(settings.embedding, settings.recurrent)
    stages: dict[str, nn.Module] = {
        "embedding": EmbeddedFeatures(words + settings.buckets, settings.embedding, settings.dropout),
        "core": core,
        "lookahead": RowConv(core.output_width, settings.lookahead_words),
        "project": Project(core.output_width, settings.width),
        "head": LogProbs(settings.width, len(LABELS)),
    }
    return Chain(stages)


def new_punctuation_model(settings: PunctuationSettings, vocabulary: Vocabulary) -> PunctuationModel:
    """A model with random weights (from torch's generator)."""
    return PunctuationModel(settings, vocabulary, build_network(settings.model, len(vocabulary)))
