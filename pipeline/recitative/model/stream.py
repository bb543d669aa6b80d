"""A stream of audio, for all kinds of models: samples in, events out.

    stream = model.stream()
    for event in stream.accept(samples, 48000):     # chunks of any length
        print(event.to_dict())
    for event in stream.finish():
        ...

Events are ``Partial`` and ``Final`` of recognizers (``asr.transcript``), ``Spotted`` of keyword spotters
(``keywords.spotter``), ``Label`` of classifiers (``classification.classifier``) and ``Alarm`` of anomaly models
(``anomaly.detector``). All have ``start_s`` and ``end_s``, in seconds from the start of the stream, and ``to_dict``,
which is ready for JSON.

Many streams of one network can share each call of the network: see ``run_together``.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, AsyncIterator, Generator, Iterable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

from recitative.audio.files import SampleInput, as_float, require_rate
from recitative.config import FeatureSettings
from recitative.features.frontend import FeatureExtractor, pad_rows
from recitative.stage import Array, Sequential, Stage, State, run_whole

SCHEMA = 1  # version of all JSON output; it grows when a key is changed or removed


def document(model: str, *entries: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON document: the version of the schema, the name of the model, then the entries."""
    whole: dict[str, Any] = {"schema": SCHEMA, "model": model}
    for some in entries:
        whole |= some
    return whole


class SampleNetwork(Sequential[Array]):
    """Stage: samples (N, S) float32 in [-1, 1] -> log probabilities (N, T, V) float32: features, then the network.

    The network runs on PyTorch (``model.folder``) or ONNX Runtime (``model.onnx_stage``).
    State: the entries of both parts as ``features.*`` and ``network.*``.
    """

    def __init__(self, network: Stage[Array], features: FeatureSettings) -> None:
        """network: features (N, T, C) -> log probabilities (N, T', V), a stage on NumPy arrays"""
        self.network = network
        self.extractor = FeatureExtractor(features)

    def parts(self) -> Iterable[tuple[str, Stage[Array]]]:
        return (("features", self.extractor), ("network", self.network))

    @property
    def sample_rate(self) -> int:
        """In Hz."""
        return self.extractor.settings.sample_rate

    @property
    def frame_s(self) -> float:
        """Seconds of audio per output."""
        return self.stride / self.sample_rate

    @property
    def latency_ms(self) -> float | None:
        """Algorithmic latency: the audio needed after the instant of an output; None = all of it."""
        return None if self.lookahead is None else 1000.0 * self.lookahead / self.sample_rate

    def log_probs(self, rows: Sequence[Array]) -> list[Array]:
        """Whole recordings (S,) -> (T, V) each."""
        y = run_whole(self, pad_rows(rows))
        return [data[:length] for data, length in zip(y.data, y.lengths, strict=True)]


E = TypeVar("E")


class AudioStream(ABC, Generic[E]):
    """A stream of audio. It belongs to one thread at a time; its model may be shared."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start a new stream."""
        self._rate = 0
        self._num_samples = 0
        self._begin()

    def accept(self, samples: SampleInput, sample_rate: int) -> list[E]:
        """Process the next samples; returns the new events.

        samples: (S,) float in [-1, 1] or int16, an array or a torch tensor, or bytes of 16-bit little-endian samples
        sample_rate: in Hz, constant within the stream
        Raises DataError for NaN, infinite or far too large samples, UsageError for a changed rate or samples of another
        shape or type; the stream is then unchanged.
        """
        audio = self._check(samples, sample_rate)
        self._count(audio, sample_rate)
        return self._hear(audio)

    def finish(self) -> list[E]:
        """End the stream; returns the last events, look-ahead included. The next call starts a new stream."""
        events = self._end()
        self.reset()
        return events

    async def events(self, chunks: AsyncIterable[SampleInput], sample_rate: int) -> AsyncIterator[E]:
        """The events of an asynchronous source of samples, to its end. The work is done in a thread, so that other
        tasks continue."""
        async for chunk in chunks:
            for event in await asyncio.to_thread(self.accept, chunk, sample_rate):
                yield event
        for event in await asyncio.to_thread(self.finish):
            yield event

    @property
    def duration_s(self) -> float:
        """Seconds of audio accepted."""
        return self._num_samples / self._rate if self._rate else 0.0

    def _check(self, samples: SampleInput, sample_rate: int) -> Array:
        """The samples as float32. Raises what ``accept`` raises."""
        audio = as_float(samples)
        require_rate(sample_rate, self._rate)
        return audio

    def _count(self, audio: Array, sample_rate: int) -> None:
        self._rate = sample_rate
        self._num_samples += len(audio)

    @abstractmethod
    def _begin(self) -> None:
        """Set everything up for a new stream."""

    @abstractmethod
    def _hear(self, samples: Array) -> list[E]: ...

    @abstractmethod
    def _end(self) -> list[E]: ...


class NetworkInput(NamedTuple):
    """Samples (S,) of one stream at the network's rate, the state before them, and whether they are the last."""

    samples: Array
    state: State
    last: bool


T = TypeVar("T")
Work = Generator[NetworkInput, tuple[Array, State], T]
"""Work of one stream: it yields inputs of the network, and receives the output (T, ...) and the state after each."""


def run_together(network: Stage[Array], works: Sequence[Work[T]]) -> list[T]:
    """Run all works to their ends; returns their results. Inputs that are ready together share a call of the
    network."""
    results: dict[int, T] = {}
    ready: dict[int, NetworkInput] = {}

    def send(number: int, output: Any) -> None:
        try:
            ready[number] = works[number].send(output)
        except StopIteration as end:
            ready.pop(number, None)
            results[number] = end.value

    for number in range(len(works)):
        send(number, None)
    while ready:
        for last in (False, True):
            if rows := {number: one for number, one in ready.items() if one.last is last}:
                for number, output in zip(rows, _step(network, list(rows.values()), last=last), strict=True):
                    send(number, output)
    return [results[number] for number in range(len(works))]


def _step(network: Stage[Array], rows: Sequence[NetworkInput], *, last: bool) -> list[tuple[Array, State]]:
    state = rows[0].state
    if len(rows) > 1:
        state = {key: np.concatenate([row.state[key] for row in rows]) for key in state}
    y, state = network.step(pad_rows([row.samples for row in rows]), state, last=last)
    if len(rows) == 1:
        return [(y.data[0, : y.lengths[0]], state)]
    return [  # copies, since a stream that waits would keep those of all streams
        (y.data[i, : y.lengths[i]].copy(), {key: value[i : i + 1].copy() for key, value in state.items()})
        for i in range(len(rows))
    ]


class NetworkStream(AudioStream[E]):
    """A stream that can share calls of the network with other streams.

    ``_take`` and ``_take_end`` append events to ``_events``; ``_news`` returns them once.
    """

    network: Stage[Array]

    def __init__(self, network: Stage[Array]) -> None:
        """network: samples (N, S) -> (N, T, ...), on NumPy arrays."""
        self.network = network
        super().__init__()

    def _begin(self) -> None:
        self._events: list[E] = []  # not yet returned

    def accepting(self, samples: SampleInput, sample_rate: int) -> Work[list[E]]:
        """The work of ``accept``. Raises what ``accept`` raises, and changes nothing before it is run."""
        return self._accepting(self._check(samples, sample_rate), sample_rate)

    def _accepting(self, audio: Array, sample_rate: int) -> Work[list[E]]:
        self._count(audio, sample_rate)
        yield from self._take(audio)
        return self._news(ended=False)

    def finishing(self) -> Work[list[E]]:
        """The work of ``finish``."""
        yield from self._take_end()
        events = self._news(ended=True)
        self.reset()
        return events

    def _hear(self, samples: Array) -> list[E]:
        self._run(self._take(samples))
        return self._news(ended=False)

    def _end(self) -> list[E]:
        self._run(self._take_end())
        return self._news(ended=True)

    def _run(self, work: Work[T]) -> T:
        return run_together(self.network, [work])[0]

    @abstractmethod
    def _take(self, samples: Array) -> Work[None]:
        """Process the next samples."""

    @abstractmethod
    def _take_end(self) -> Work[None]: ...

    def _news(self, *, ended: bool) -> list[E]:
        """The events since the last call."""
        events, self._events = self._events, []
        return events
