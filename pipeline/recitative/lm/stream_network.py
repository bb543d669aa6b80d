"""A language model in memory, run by PyTorch, as a scorer of words and texts."""

from __future__ import annotations

from recitative.lm.network import LanguageModelNetwork
from recitative.lm.scores import RecurrentLanguageModel
from recitative.model.torch_stage import TorchStage


def new_scorer(model: LanguageModelNetwork) -> RecurrentLanguageModel:
    """The scorer around a language model in memory, as it stands: in evaluation mode it has no dropout."""
    return RecurrentLanguageModel(TorchStage(model.network), model.vocabulary)
