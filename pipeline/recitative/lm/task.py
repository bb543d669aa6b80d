"""Tasks of predicting the next token of a long text, whose streams remember what they have read: words, or music."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from recitative.lm.data import Segment, TextStreams
from recitative.lm.network import LanguageModelNetwork
from recitative.lm.scores import RecurrentLanguageModel
from recitative.lm.stream_network import new_scorer
from recitative.nn.ragged import detach, valid_mask
from recitative.nn.stages import Chain
from recitative.stage import Padded
from recitative.train.stateful import StreamingNetwork
from recitative.train.task import Task


class StreamTask(Task):
    """Truncated back-propagation through time (Williams & Peng 1990).

    Each segment starts from the state in which the one before left its streams, detached; an epoch's first starts from
    nothing. Which scores choose a model is left to the kinds of text.
    """

    network: StreamingNetwork

    def __init__(self, network: Chain, streams: TextStreams, device: torch.device) -> None:
        """``network``: token ids (N, T) -> ln P of the next token (N, T, V)."""
        self.network = StreamingNetwork(network, network.initial_state(streams.rows))
        self.streams = streams
        self.device = device
        self._predicting = network

    def num_batches(self, epoch: int) -> int:
        return self.streams.num_segments

    def batches(self, epoch: int, start: int) -> Iterator[Segment]:
        if start == 0:
            self.network.forget()
        return self.streams.segments(epoch, start)

    def loss(self, batch: Segment) -> tuple[Tensor, int]:
        inputs, targets = _to(batch.inputs, self.device), _to(batch.targets, self.device)
        log_probs, state = self._predicting.step(inputs, self.network.carried, last=False)
        self.network.carry(detach(state))
        picked = log_probs.data.gather(-1, targets.data[..., None])[..., 0]  # (N, T, V) -> (N, T)
        inside = valid_mask(targets)
        return -torch.where(inside, picked, 0.0).sum(), int(targets.lengths.sum())


class LanguageModelTask(StreamTask):
    """Models are chosen by the loss on dev, where every sentence starts from nothing, as in use."""

    def __init__(
        self, model: LanguageModelNetwork, streams: TextStreams, dev: Sequence[str], device: torch.device
    ) -> None:
        super().__init__(model.network, streams, device)
        self.model = model
        self.dev = dev

    def evaluate(self) -> Mapping[str, float]:
        scores = text_scores(new_scorer(self.model), self.dev)
        return scores | {"score": scores["dev_loss"]}


def _to(x: Padded[Tensor], device: torch.device) -> Padded[Tensor]:
    return Padded(x.data.to(device), x.lengths.to(device))


def text_scores(model: RecurrentLanguageModel, texts: Sequence[str]) -> dict[str, float]:
    """Loss in nats per token, and perplexity per word; the ends of sentences count as tokens and as words.

    The perplexity can be compared with that of any model that knows the same words, whatever its tokens are.
    """
    total = sum(model.score_texts(texts))
    tokens = sum(len(model.vocabulary.encode(text)) + 1 for text in texts)
    words = sum(len(text.split()) + 1 for text in texts)
    return {"dev_loss": -total / tokens, "dev_perplexity": math.exp(-total / words)}
