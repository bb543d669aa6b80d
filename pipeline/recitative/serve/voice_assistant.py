"""The Wyoming protocol, which Home Assistant uses for speech to text: events over TCP.

A client sends ``audio-start``, chunks and ``audio-stop``, and gets a ``transcript``. ``describe`` is answered with the
model. The protocol has no token: anyone who reaches the port may use it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from wyoming.asr import Transcript
from wyoming.audio import AudioChunk, AudioChunkConverter, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event
from wyoming.info import AsrModel, AsrProgram, Attribution, Describe, Info
from wyoming.server import AsyncEventHandler, AsyncTcpServer

from recitative import __version__
from recitative.asr.transcript import Final, text_of
from recitative.errors import RecitativeError
from recitative.serve.models import RAW_TEXT, ServedModel
from recitative.serve.streams import Events, LiveStream

if TYPE_CHECKING:
    from recitative.serve.server import Server

ATTRIBUTION = Attribution(name="Recitative", url="")


@asynccontextmanager
async def listening(server: Server, port: int) -> AsyncIterator[None]:
    """Listen at a port. Raises OSError if it is in use."""
    tcp = AsyncTcpServer(server.access.host, port)
    await tcp.start(partial(Assistant, server, server.models.live_speech()))
    try:
        yield
    finally:
        await tcp.stop()


class Assistant(AsyncEventHandler):
    """A client's connection. Each ``audio-start`` begins a live stream."""

    def __init__(
        self, server: Server, model: ServedModel, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        super().__init__(reader, writer)
        self._server, self._model = server, model
        self._mono = AudioChunkConverter(width=2, channels=1)
        self._live = ExitStack()
        self._stream: LiveStream | None = None
        self._events: Events = []

    async def handle_event(self, event: Event) -> bool:
        """Returns whether the connection stays open."""
        try:
            return await self._handle(event)
        except RecitativeError as error:
            await self.write_event(Error(str(error)).event())
            return False

    async def _handle(self, event: Event) -> bool:
        if Describe.is_type(event.type):
            await self.write_event(describe(self._model.name).event())
        elif AudioStart.is_type(event.type):
            self._end()
            if why := self._server.refusal():
                self._server.metrics.refused.labels("streams").inc()
                await self.write_event(Error(why).event())
                return False
            self._stream, self._events = self._live.enter_context(self._server.stream(self._model)), []
            self._stream.rate, self._stream.options = AudioStart.from_event(event).rate, RAW_TEXT
        elif AudioChunk.is_type(event.type) and self._stream:
            self._events += await self._stream.accept(self._mono.convert(AudioChunk.from_event(event)).audio)
        elif AudioStop.is_type(event.type) and self._stream:
            self._events += await self._stream.finish()
            words = [word for one in self._events if isinstance(one, Final) for word in one.words]
            self._end()
            await self.write_event(Transcript(text_of(words)).event())
        return True

    async def disconnect(self) -> None:
        self._end()

    def _end(self) -> None:
        self._stream = None
        self._live.close()


def describe(name: str) -> Info:
    model = AsrModel(name, ATTRIBUTION, installed=True, description=None, version=__version__, languages=["en"])
    program = AsrProgram(
        "recitative", ATTRIBUTION, installed=True, description="Speech recognition", version=__version__, models=[model]
    )
    return Info(asr=[program])
