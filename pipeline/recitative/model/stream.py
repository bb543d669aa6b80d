"""One stream of audio, whatever listens to it: samples in as they come, events out.

    stream = model.stream()
    for event in stream.accept(samples, 48000):     # pieces of any length
        print(event.to_dict())
    for event in stream.finish():
        ...

Recognizers give ``Partial`` and ``Final`` (``asr.transcript``), keyword spotters ``Spotted`` (``keywords.spotter``),
classifiers ``Label`` (``classification.classifier``), anomaly detectors ``Alarm`` (``anomaly.detector``). All have
``start_s`` and ``end_s``, in seconds from the start of the stream, and ``to_dict``, which is ready for JSON.

Many streams of one network may go on together, in one call of the network: see ``run_together``.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, AsyncIterator, Generator, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

from recitative.audio.samples import SampleInput, as_float, require_rate
from recitative.model.samples import pad_samples
from recitative.stage import Array, Stage, State

SCHEMA = 1  # of all JSON that tells what was heard; a changed or removed key raises it


def document(model: str, *entries: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON document: the number of the schema, the name of the model, then the entries."""
    whole: dict[str, Any] = {"schema": SCHEMA, "model": model}
    for some in entries:
        whole |= some
    return whole


E = TypeVar("E")


class AudioStream(ABC, Generic[E]):
    """One stream of audio and what is known of it. It belongs to one thread at a time; its model may be shared."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything heard: the stream is new."""
        self._rate = 0
        self._num_samples = 0
        self._begin()

    def accept(self, samples: SampleInput, sample_rate: int) -> list[E]:
        """Hear the next samples; returns what is newly known.

        samples: (S,) float in [-1, 1] or int16, an array or a torch tensor, or bytes of 16-bit little-endian samples;
        sample_rate: in Hz, the same from the stream's start to its end. Raises DataError for NaN, infinite or far too
        large samples, UsageError for a changed rate or samples of another shape or type; the stream is then as it was.
        """
        heard = self._check(samples, sample_rate)
        self._count(heard, sample_rate)
        return self._hear(heard)

    def finish(self) -> list[E]:
        """The stream ends here: returns the last events, with what was held back for want of future. It is new then."""
        events = self._end()
        self.reset()
        return events

    async def events(self, chunks: AsyncIterable[SampleInput], sample_rate: int) -> AsyncIterator[E]:
        """The events of an asynchronous source of samples, to its end. Other tasks run meanwhile: the work is done in a
        thread."""
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
        """The samples as float32. Raises what ``accept`` raises; the stream stays as it was."""
        heard = as_float(samples)
        require_rate(sample_rate, self._rate)
        return heard

    def _count(self, heard: Array, sample_rate: int) -> None:
        self._rate = sample_rate
        self._num_samples += len(heard)

    @abstractmethod
    def _begin(self) -> None:
        """Set everything up for a new stream."""

    @abstractmethod
    def _hear(self, samples: Array) -> list[E]: ...

    @abstractmethod
    def _end(self) -> list[E]: ...


class NetworkInput(NamedTuple):
    """What a stream asks: samples (S,) at the network's rate, the state before them, and whether they are the last."""

    samples: Array
    state: State
    last: bool


T = TypeVar("T")
Work = Generator[NetworkInput, tuple[Array, State], T]
"""Work of one stream: it gives what its network is to hear, and gets its output (T, ...) and the state after."""


def run_together(network: Stage[Array], works: Sequence[Work[T]]) -> list[T]:
    """The results of works, all run to their ends. What several ask at the same time is one call of the network."""
    results: dict[int, T] = {}
    asked: dict[int, NetworkInput] = {}

    def go_on(number: int, output: Any) -> None:
        try:
            asked[number] = works[number].send(output)
        except StopIteration as end:
            asked.pop(number, None)
            results[number] = end.value

    for number in range(len(works)):
        go_on(number, None)
    while asked:
        for last in (False, True):
            if rows := {number: one for number, one in asked.items() if one.last is last}:
                for number, output in zip(rows, _step(network, list(rows.values()), last=last), strict=True):
                    go_on(number, output)
    return [results[number] for number in range(len(works))]


def _step(network: Stage[Array], rows: Sequence[NetworkInput], *, last: bool) -> list[tuple[Array, State]]:
    state = rows[0].state
    if len(rows) > 1:
        state = {key: np.concatenate([row.state[key] for row in rows]) for key in state}
    y, state = network.step(pad_samples([row.samples for row in rows]), state, last=last)
    if len(rows) == 1:
        return [(y.data[0, : y.lengths[0]], state)]
    return [
        (y.data[i, : y.lengths[i]], {key: value[i : i + 1] for key, value in state.items()}) for i in range(len(rows))
    ]


class NetworkStream(AudioStream[E]):
    """A stream whose work can be done together with that of others of the same network.

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

    def _accepting(self, heard: Array, sample_rate: int) -> Work[list[E]]:
        self._count(heard, sample_rate)
        yield from self._take(heard)
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
        """The next samples."""

    @abstractmethod
    def _take_end(self) -> Work[None]: ...

    def _news(self, *, ended: bool) -> list[E]:
        """The events since the last call."""
        events, self._events = self._events, []
        return events
