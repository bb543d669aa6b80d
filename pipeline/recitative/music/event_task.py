"""The task of predicting the next event of pieces of music."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from recitative.lm.data import TextStreams
from recitative.lm.task import StreamTask
from recitative.model.torch_stage import TorchStage
from recitative.music.event_likelihood import event_likelihood
from recitative.music.event_network import EventsModel
from recitative.music.piece import Piece


class EventsTask(StreamTask):
    """Models are chosen by the nats for a token of the dev pieces, each of which starts from nothing."""

    def __init__(self, model: EventsModel, streams: TextStreams, dev: Sequence[Piece], device: torch.device) -> None:
        """``dev``: as ``fitted`` leaves them."""
        super().__init__(model.network, streams, device)
        self.model = model
        self.dev = dev

    def evaluate(self) -> Mapping[str, float]:
        found = event_likelihood(TorchStage(self.model.network), self.model.vocabulary, self.dev)
        scores = {"dev_nats_per_token": found.per_token, "dev_nats_per_note": found.per_note}
        return scores | {"score": found.per_token}
