"""A recogniser in memory, run by PyTorch, as the chain from samples to words."""

from __future__ import annotations

from recitative.asr.decoders import Wishes
from recitative.asr.network import Recogniser
from recitative.asr.transcriber import Transcriber
from recitative.model.torch_stage import TorchStage


def new_transcriber(recogniser: Recogniser, wishes: Wishes | None = None) -> Transcriber:
    """The whole chain from samples to words around a recogniser in memory."""
    network = TorchStage(recogniser.network)
    return Transcriber(network, recogniser.settings, recogniser.tokens, recogniser.language, wishes)
