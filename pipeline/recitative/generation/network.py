"""A language model in memory, run by PyTorch, as a scorer of words and texts."""

from __future__ import annotations

from recitative.models.language_model import LanguageModelNetwork
from recitative.models.text_scores import RecurrentLanguageModel
from recitative.models.torch_stage import TorchStage


def new_scorer(model: LanguageModelNetwork) -> RecurrentLanguageModel:
    """The scorer around a language model in memory, as it stands: in evaluation mode it has no dropout."""
    return RecurrentLanguageModel(TorchStage(model.network), model.vocabulary)
