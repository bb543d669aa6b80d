"""Live streams of one recognizer, stepped together.

Every stream has at most one piece of audio waiting: whoever brings it waits for its events before the next, so that a
client that sends faster than the machine works is held back by its own connection. A round takes the waiting piece of
every stream and runs the network once for all of them. A piece is at most ``PIECE_S`` long: a client that sends a
minute at once takes its turn sixty times, among the others. What is heard does not depend on the rounds: a stream
gives the events that it gives alone, and so the text of the whole recording.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from recitative.asr.recognizer import Recognizer
from recitative.asr.stream import EndpointRules, Stream
from recitative.asr.transcript import Final, Partial
from recitative.serve.metrics import Metrics

PIECE_S = 1.0
GATHER_S = 0.005  # a round waits so long for further streams: short beside a step, long beside the arrival of packets
SAMPLE_BYTES = 2  # 16-bit

Events = list[Partial | Final]


class Hub:
    """Steps all streams of a recognizer in one thread of its own."""

    def __init__(self, recognizer: Recognizer, metrics: Metrics) -> None:
        self.recognizer, self.metrics = recognizer, metrics
        self._waiting: list[_Piece] = []
        self._wake = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="recitative-streams")

    async def run(self) -> None:
        """Rounds, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._wake.wait()
            await asyncio.sleep(GATHER_S)
            pieces, self._waiting = self._waiting, []
            self._wake.clear()
            if pieces:
                await loop.run_in_executor(self._thread, self._step, pieces)
                for piece in pieces:
                    piece.tell()

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def accept(self, stream: Stream, audio: bytes, rate: int) -> Events:
        """The events of the next 16-bit samples of a stream."""
        size = SAMPLE_BYTES * max(1, int(PIECE_S * rate))
        events: Events = []
        for start in range(0, len(audio), size):
            events += await self._wait_for(_Piece(stream, audio[start : start + size], rate))
        return events

    async def finish(self, stream: Stream) -> Events:
        """The last events of a stream."""
        return await self._wait_for(_Piece(stream, None, 0))

    async def _wait_for(self, piece: _Piece) -> Events:
        self._waiting.append(piece)
        self._wake.set()
        events = await piece.done
        self.metrics.lag.observe(time.monotonic() - piece.came_at)
        return events

    def _step(self, pieces: list[_Piece]) -> None:
        """In the thread: one call of the network for all pieces of a sample rate."""
        by_rate: dict[int, list[_Piece]] = defaultdict(list)
        for piece in pieces:
            by_rate[piece.rate].append(piece)
        for rate, together in by_rate.items():
            started = time.monotonic()
            if rate:
                self._accept(together, rate)
                heard_s = sum(len(piece.audio or b"") for piece in together) / SAMPLE_BYTES / rate
                self.metrics.heard(heard_s, time.monotonic() - started, len(together))
            else:
                for piece in together:
                    piece.attempt(piece.stream.finish)

    def _accept(self, pieces: list[_Piece], rate: int) -> None:
        try:
            rows = self.recognizer.accept([(piece.stream, piece.audio or b"") for piece in pieces], rate)
        except Exception as error:  # told to all that wait
            for piece in pieces:
                piece.error = error
            return
        for piece, events in zip(pieces, rows, strict=True):
            piece.events = events


class _Piece:
    """What a stream waits for. audio: 16-bit little-endian samples; None = the stream ends."""

    def __init__(self, stream: Stream, audio: bytes | None, rate: int) -> None:
        self.stream, self.audio, self.rate = stream, audio, rate
        self.came_at = time.monotonic()
        self.done: asyncio.Future[Events] = asyncio.get_running_loop().create_future()
        self.events: Events = []
        self.error: Exception | None = None

    def attempt(self, work: Callable[[], Events]) -> None:
        try:
            self.events = work()
        except Exception as error:  # told to whoever waits
            self.error = error

    def tell(self) -> None:
        """In the event loop: whoever waits goes on, if it has not gone away."""
        if self.done.done():
            return
        if self.error:
            self.done.set_exception(self.error)
        else:
            self.done.set_result(self.events)


@dataclass
class LiveStream:
    """A client's stream. rate: of its samples, in Hz; it may be set until the first come."""

    hub: Hub
    rules: EndpointRules
    rate: int = 16000

    def __post_init__(self) -> None:
        self._stream = self.hub.recognizer.stream(self.rules)
        self._odd = b""  # half a sample that came at the end of a message

    @property
    def duration_s(self) -> float:
        return self._stream.duration_s

    @property
    def has_begun(self) -> bool:
        return self._stream.duration_s > 0

    async def accept(self, audio: bytes) -> Events:
        """The events of the next 16-bit little-endian samples; a message may end within one."""
        audio = self._odd + audio
        whole = len(audio) // SAMPLE_BYTES * SAMPLE_BYTES
        self._odd = audio[whole:]
        return await self.hub.accept(self._stream, audio[:whole], self.rate)

    async def finish(self) -> Events:
        """The last events; the stream is new then."""
        self._odd = b""
        return await self.hub.finish(self._stream)
