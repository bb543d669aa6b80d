"""A stream of live audio, block by block, and what it costs: real-time factor, and delay from sound to result."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Generic

import numpy as np

from recitative.audio.microphone import Block
from recitative.model.stream import AudioStream, E


@dataclass
class Cost:
    """Of all blocks so far."""

    audio_s: float = 0.0
    compute_s: float = 0.0
    delays_s: list[float] = field(default_factory=list)  # from a block's arrival to its events

    @property
    def real_time_factor(self) -> float:
        return self.compute_s / self.audio_s if self.audio_s else 0.0

    def delay_ms(self, percentile: float) -> float:
        return float(np.percentile(self.delays_s, percentile)) * 1000 if self.delays_s else 0.0


class Listener(Generic[E]):
    """Iterate ``listen``; after an interrupt in mid-iteration ``flush`` gives what the stream still holds."""

    def __init__(self, stream: AudioStream[E], sample_rate: int) -> None:
        self.cost = Cost()
        self._stream = stream
        self._sample_rate = sample_rate

    def listen(self, blocks: Iterable[Block]) -> Iterator[E]:
        """The events of all blocks, to their end."""
        for block in blocks:
            events = self._timed(partial(self._stream.accept, block.samples, self._sample_rate))
            self.cost.audio_s += len(block.samples) / self._sample_rate
            self.cost.delays_s.append(time.monotonic() - block.heard_at)
            yield from events
        yield from self.flush()

    def flush(self) -> Iterator[E]:
        """The stream ends here."""
        yield from self._timed(self._stream.finish)

    def _timed(self, hear: Callable[[], list[E]]) -> list[E]:
        started = time.perf_counter()
        events = hear()
        self.cost.compute_s += time.perf_counter() - started
        return events
