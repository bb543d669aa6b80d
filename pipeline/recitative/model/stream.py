"""One stream of audio, whatever listens to it: samples in as they come, events out.

    stream = model.stream()
    for event in stream.accept(samples, 48000):     # pieces of any length
        print(event.to_dict())
    for event in stream.finish():
        ...

Recognizers give ``Partial`` and ``Final`` (``asr.transcript``), keyword spotters ``Spotted`` (``keywords.stream``),
classifiers ``Label`` (``classification.labeller``), anomaly models ``Alarm`` (``anomaly.watch``). All have ``start_s``
and ``end_s``, in seconds from the start of the stream, and ``to_dict``, which is ready for JSON.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from typing import Any, Generic, TypeVar

from recitative.audio.samples import SampleInput, as_float, require_rate
from recitative.stage import Array

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
