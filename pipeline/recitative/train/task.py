"""The interface between the training loop and a task, and the base of tasks on streams of tokens."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from recitative.nn.ragged import detach, select_rows, to_device, valid_mask
from recitative.nn.stages import Chain
from recitative.stage import Ids, Padded, State
from recitative.text.tokens import END
from recitative.train.checkpoint import Progress

B = TypeVar("B", bound="Batch")


class Batch:
    """Examples that are computed together: one rank's part of a global batch, which may be empty.

    Subclasses are dataclasses. ``names`` are the ids of the examples, for messages.
    """

    names: tuple[str, ...]
    seconds: float = 0.0  # of audio, without padding
    padded_s: float = 0.0  # with padding
    longest_s: float = 0.0  # of the longest example

    @property
    def rows(self) -> int:
        """Examples that can be computed apart."""
        return len(self.names)

    def split(self: B, parts: int) -> Sequence[B]:
        """The batch in parts of about as many rows, at most one for each row; none of a batch without rows."""
        return [rows_of(self, rows) for rows in np.array_split(np.arange(self.rows), parts) if len(rows)]


def rows_of(batch: B, rows: npt.NDArray[np.integer]) -> B:
    """Some rows of a batch: of every array, tensor, padded tensor and tuple that is a field; other fields stay."""
    changes: dict[str, Any] = {}
    for field in fields(batch):  # type: ignore[arg-type]
        match getattr(batch, field.name):
            case Padded() as padded:
                changes[field.name] = select_rows(padded, torch.from_numpy(rows))
            case Tensor() | np.ndarray() as array:
                changes[field.name] = array[rows]
            case tuple() as values:
                changes[field.name] = tuple(values[row] for row in rows.tolist())
    return replace(batch, **changes)  # type: ignore[type-var]


class Task(ABC):
    """A training task: batches in a fixed order, their loss, and scores on a dev set.

    model: saved with the weights of the best epoch
    score_unit: the unit of the dev score; '' if it is only a rank
    """

    network: nn.Module
    model: Any
    score_unit = ""
    loader_processes = 0  # that prepare batches beside this one

    @abstractmethod
    def num_batches(self, epoch: int) -> int:
        """Global batches of this epoch, the same at any time and on any rank."""

    @abstractmethod
    def batches(self, epoch: int, start: int) -> Iterator[Any]:
        """This rank's parts of the epoch's batches from number ``start`` on, wherever the run began."""

    @abstractmethod
    def loss(self, batch: Any) -> tuple[Tensor, int]:
        """The loss summed over the batch, and the count that it is to be divided by."""

    @abstractmethod
    def evaluate(self) -> Mapping[str, float]:
        """Scores on the dev set. ``score`` chooses the best epoch; lower is better.

        Empty without a dev set: each epoch is then taken to be better than the one before.
        """

    def finished_model(self) -> Any:
        """The model to save. The network has the best epoch's weights now, in evaluation mode."""
        return self.model

    def result(self, progress: Progress) -> str:
        """The summary of a finished run for the user."""
        score, best = progress.best[0]
        return f"best on dev: epoch {int(best) + 1}" + (f", {score:.4f} {self.score_unit}" if self.score_unit else "")

    def identity(self) -> Mapping[str, object]:
        """Values that must be equal on all ranks, by name for the error message."""
        return {}

    def environment(self) -> Mapping[str, object]:
        """Further entries of ``environment.json``."""
        return {}


# Text and music: parallel streams with truncated back-propagation

Variant = Callable[[int, int], Ids]  # epoch, number of a sentence -> its tokens there, as many in every epoch


@dataclass(frozen=True)
class Segment(Batch):
    """The next piece of all streams: what is read (N, T), and what is to be predicted at each place."""

    inputs: Padded[Tensor]
    targets: Padded[Tensor]
    names: tuple[str, ...]

    def split(self, parts: int) -> list[Segment]:
        """Not at all: the streams carry their state together."""
        return [self]


class TextStreams:
    """A long text as parallel streams, cut into segments for truncated back-propagation:

        </s> sentence </s> sentence </s> ... sentence </s>

    The order of sentences depends on (seed, epoch) alone; a sentence may differ between epochs, such as a tune that is
    transposed. Each token but the first is predicted from those before it. The text is divided into consecutive streams
    whose lengths differ by at most one token, and all streams into segments, so that the segment of a stream continues
    its previous one. No token is left out.
    """

    def __init__(
        self,
        sentences: Sequence[Sequence[int] | Ids],
        *,
        streams: int,
        bptt: int,
        seed: int,
        variant: Variant | None = None,
    ) -> None:
        """sentences: token ids without their ends; variant: replaces each sentence in an epoch"""
        self._sentences = [np.array([*sentence, END], np.int64) for sentence in sentences]
        self._variant = variant
        self._bptt = bptt
        self._seed = seed
        self.num_tokens = sum(len(sentence) for sentence in self._sentences)  # sentence ends included
        self.rows = min(streams, self.num_tokens)
        self.num_segments = -(-self._longest // bptt)

    @property
    def _longest(self) -> int:
        return -(-self.num_tokens // self.rows)

    def segments(self, epoch: int, start: int) -> Iterator[Segment]:
        """Those of an epoch from number ``start`` on."""
        inputs, targets, lengths = self._streams(epoch)
        for number in range(start, self.num_segments):
            first = number * self._bptt
            piece = slice(first, first + self._bptt)
            left = (lengths - first).clamp(0, self._bptt)
            name = f"segment {number + 1} of epoch {epoch + 1}"
            yield Segment(Padded(inputs[:, piece], left), Padded(targets[:, piece], left), (name,))

    def _streams(self, epoch: int) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs and targets (N, longest), END beyond a stream's length, and the lengths (N,)."""
        order = np.random.default_rng([self._seed, epoch]).permutation(len(self._sentences))
        text = np.concatenate([[END], *(self._sentence(epoch, i) for i in order.tolist())])
        pairs = [np.array_split(part, self.rows) for part in (text[:-1], text[1:])]
        lengths = torch.tensor([len(row) for row in pairs[0]])
        inputs, targets = (_padded(rows, self._longest) for rows in pairs)
        return inputs, targets, lengths

    def _sentence(self, epoch: int, number: int) -> Ids:
        """With its end."""
        return np.append(self._variant(epoch, number), END) if self._variant else self._sentences[number]


def _padded(rows: Sequence[Ids], longest: int) -> Tensor:
    data = np.full((len(rows), longest), END, np.int64)
    for target, row in zip(data, rows, strict=True):
        target[: len(row)] = row
    return torch.from_numpy(data)


class StreamingNetwork(nn.Module):
    """A network with the state of its streams beside it, so that a checkpoint holds both.

    Recomputing the state after an interruption would not give it back: the weights have moved since it was made.
    """

    def __init__(self, network: nn.Module, nothing_read: State) -> None:
        """``nothing_read`` is the state that all streams begin with."""
        super().__init__()
        self.network = network
        self._nothing_read = {name: value.clone() for name, value in nothing_read.items()}
        for number, value in enumerate(nothing_read.values()):
            self.register_buffer(f"carried{number}", value.clone())

    @property
    def carried(self) -> State:
        """A copy: what a step has read must stay as it was until its gradients are computed."""
        return {name: self.get_buffer(f"carried{i}").clone() for i, name in enumerate(self._nothing_read)}

    def carry(self, state: State) -> None:
        """Keep a state for the next segment; one with NaN or infinite numbers, from a step to be skipped, isn't."""
        if all(bool(value.isfinite().all()) for value in state.values()):
            for number, name in enumerate(self._nothing_read):
                self.get_buffer(f"carried{number}").copy_(state[name])

    def forget(self) -> None:
        """Back to the state of streams that have read nothing."""
        self.carry(self._nothing_read)


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
        both = (batch.inputs, batch.targets)
        inputs, targets = (to_device(x, self.device) for x in both)
        log_probs, state = self._predicting.step(inputs, self.network.carried, last=False)
        self.network.carry(detach(state))
        picked = log_probs.data.gather(-1, targets.data[..., None])[..., 0]  # (N, T, V) -> (N, T)
        inside = valid_mask(targets)
        return -torch.where(inside, picked, 0.0).sum(), int(targets.lengths.sum())
