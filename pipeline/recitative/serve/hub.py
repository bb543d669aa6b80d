"""Live streams of one model, stepped together.

Every stream has at most one piece of audio waiting: whoever brings it waits for its events before the next, so that a
client that sends faster than the machine works is held back by its own connection. A round takes the waiting piece of
every stream and runs the network once for all of them. A piece is at most ``PIECE_S`` long: a client that sends a
minute at once takes its turn sixty times, among the others. What is heard does not depend on the rounds: a stream
gives the events that it gives alone, and so the text of the whole recording.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from recitative.asr.stream import EndpointRules
from recitative.model.stream import NetworkStream, Work, run_together
from recitative.serve.metrics import Metrics
from recitative.serve.models import PLAIN, ServedModel, Wanted

PIECE_S = 1.0
GATHER_S = 0.005  # a round waits so long for further streams: short beside a step, long beside the arrival of packets
SAMPLE_BYTES = 2  # 16-bit


Events = list[Any]  # Partial and Final, Spotted, Label, or Alarm: all have ``to_dict``


class Hub:
    """Steps all streams of a model in one thread of its own."""

    def __init__(self, model: ServedModel, metrics: Metrics) -> None:
        self.model, self.metrics = model, metrics
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

    async def accept(self, stream: NetworkStream[Any], audio: bytes, rate: int) -> Events:
        """The events of the next 16-bit samples of a stream."""
        size = SAMPLE_BYTES * max(1, int(PIECE_S * rate))
        events: Events = []
        for start in range(0, len(audio), size):
            events += await self._wait_for(_Piece(stream, audio[start : start + size], rate))
        return events

    async def finish(self, stream: NetworkStream[Any]) -> Events:
        """The last events of a stream."""
        return await self._wait_for(_Piece(stream, None, 0))

    async def _wait_for(self, piece: _Piece) -> Events:
        self._waiting.append(piece)
        self._wake.set()
        events = await piece.done
        self.metrics.lag.observe(time.monotonic() - piece.came_at)
        return events

    def _step(self, pieces: Sequence[_Piece]) -> None:
        """In the thread: what the pieces ask at the same time is one call of the network."""
        started = time.monotonic()
        try:
            run_together(pieces[0].stream.network, [piece.work() for piece in pieces])
        except Exception as error:  # of the network, told to all that wait for it
            for piece in pieces:
                piece.error = piece.error or (error if piece.events is None else None)
        self.metrics.heard(sum(piece.duration_s for piece in pieces), time.monotonic() - started, len(pieces))


class _Piece:
    """What a stream waits for. audio: 16-bit little-endian samples; None = the stream ends."""

    def __init__(self, stream: NetworkStream[Any], audio: bytes | None, rate: int) -> None:
        self.stream, self.audio, self.rate = stream, audio, rate
        self.came_at = time.monotonic()
        self.done: asyncio.Future[Events] = asyncio.get_running_loop().create_future()
        self.events: Events | None = None
        self.error: Exception | None = None

    @property
    def duration_s(self) -> float:
        return len(self.audio) / SAMPLE_BYTES / self.rate if self.audio else 0.0

    def work(self) -> Work[None]:
        """What goes wrong with one stream is told to its own client, and the others go on."""
        try:
            if self.audio is None:
                self.events = yield from self.stream.finishing()
            else:
                self.events = yield from self.stream.accepting(self.audio, self.rate)
        except Exception as error:
            self.error = error

    def tell(self) -> None:
        """In the event loop: whoever waits goes on, if it has not gone away."""
        if self.done.done():
            return
        if self.error:
            self.done.set_exception(self.error)
        else:
            self.done.set_result(self.events or [])


class LiveStream:
    """A client's stream. rate: of its samples, in Hz. Rate and what is wanted may be set until the first samples."""

    def __init__(self, hub: Hub, rules: EndpointRules) -> None:
        self.hub, self.rate = hub, 16000
        self.wanted = PLAIN
        self._rules = rules
        self._stream: NetworkStream[Any] | None = None
        self._odd = b""  # half a sample that came at the end of a message

    @property
    def model(self) -> ServedModel:
        return self.hub.model

    async def want(self, wanted: Wanted) -> None:
        """What to listen for. Raises UsageError, DataError for what the model cannot do."""
        if self._stream is None or wanted != self.wanted:
            self._stream = await asyncio.to_thread(self.model.stream, wanted, self._rules)
        self.wanted = wanted

    @property
    def duration_s(self) -> float:
        return self._stream.duration_s if self._stream else 0.0

    @property
    def has_begun(self) -> bool:
        return self.duration_s > 0

    async def accept(self, audio: bytes) -> Events:
        """The events of the next 16-bit little-endian samples; a message may end within one."""
        audio = self._odd + audio
        whole = len(audio) // SAMPLE_BYTES * SAMPLE_BYTES
        self._odd = audio[whole:]
        return await self.hub.accept(await self._running(), audio[:whole], self.rate)

    async def finish(self) -> Events:
        """The last events; the stream is new then."""
        self._odd = b""
        return await self.hub.finish(await self._running())

    async def _running(self) -> NetworkStream[Any]:
        if self._stream is None:
            await self.want(self.wanted)
        assert self._stream is not None
        return self._stream
