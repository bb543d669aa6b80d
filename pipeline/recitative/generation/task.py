"""The language modelling task: predict the next token of a long text, whose streams remember what they have read."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from recitative.generation.network import new_scorer
from recitative.generation.streams import Segment, TextStreams
from recitative.models.language_model import LanguageModelNetwork
from recitative.models.text_scores import RecurrentLanguageModel
from recitative.nn.chain import Chain
from recitative.nn.ragged import valid_mask
from recitative.nn.state import detach
from recitative.stage import Padded, State


class StreamingNetwork(nn.Module):
    """A network with the state of its ``rows`` streams beside it, so that a checkpoint holds both.

    Recomputing the state after an interruption would not give it back: the weights have moved since it was made.
    """

    def __init__(self, network: Chain, rows: int) -> None:
        super().__init__()
        self.network = network
        self._rows = rows
        self._names = list(network.initial_state(rows))
        for number, value in enumerate(network.initial_state(rows).values()):
            self.register_buffer(f"carried{number}", value)

    @property
    def carried(self) -> State:
        """A copy: what a step has read must stay as it was until its gradients are computed."""
        return {name: self.get_buffer(f"carried{number}").clone() for number, name in enumerate(self._names)}

    def carry(self, state: State) -> None:
        """Keep a state for the next segment; one with NaN or infinite numbers, from a step to be skipped, isn't."""
        if all(bool(value.isfinite().all()) for value in state.values()):
            for number, name in enumerate(self._names):
                self.get_buffer(f"carried{number}").copy_(state[name])

    def forget(self) -> None:
        """Back to the state of streams that have read nothing."""
        self.carry(self.network.initial_state(self._rows))


class LanguageModelTask:
    """See ``recitative.train.task.Task``: truncated back-propagation through time (Williams & Peng 1990).

    Each segment starts from the state in which the one before left its streams, detached; an epoch's first starts from
    nothing. Models are chosen by the loss on dev, where every sentence starts from nothing, as in use.
    """

    def __init__(
        self, model: LanguageModelNetwork, streams: TextStreams, dev: Sequence[str], device: torch.device
    ) -> None:
        self.model = model
        self.network = StreamingNetwork(model.network, streams.rows)
        self.streams = streams
        self.dev = dev
        self.device = device

    def num_batches(self, epoch: int) -> int:
        return self.streams.num_segments

    def batches(self, epoch: int, start: int) -> Iterator[Segment]:
        if start == 0:
            self.network.forget()
        return self.streams.segments(epoch, start)

    def split(self, batch: Segment, parts: int) -> list[Segment]:
        return [batch]

    def loss(self, batch: Segment) -> tuple[Tensor, int]:
        inputs, targets = _to(batch.inputs, self.device), _to(batch.targets, self.device)
        log_probs, state = self.network.network.step(inputs, self.network.carried, last=False)
        self.network.carry(detach(state))
        picked = log_probs.data.gather(-1, targets.data[..., None])[..., 0]  # (N, T, V) -> (N, T)
        inside = valid_mask(targets)
        return -torch.where(inside, picked, 0.0).sum(), int(targets.lengths.sum())

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
