"""A recogniser in memory, run by PyTorch, as the chain from samples to words."""

from __future__ import annotations

from recitative.models.decoders import Wishes
from recitative.models.folder import Recogniser
from recitative.models.torch_stage import TorchStage
from recitative.models.transcriber import Transcriber


def new_transcriber(recogniser: Recogniser, wishes: Wishes | None = None) -> Transcriber:
    """The whole chain from samples to words around a recogniser in memory."""
    network = TorchStage(recogniser.network)
    return Transcriber(network, recogniser.settings, recogniser.tokens, recogniser.language, wishes)
