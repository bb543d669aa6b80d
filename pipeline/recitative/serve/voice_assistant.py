"""The Wyoming protocol, which Home Assistant uses for speech to text: events over TCP.

A client sends ``audio-start``, chunks and ``audio-stop``, and gets a ``transcript``. ``describe`` is answered with the
model. The protocol has no token: anyone who reaches the port may use it.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING

from wyoming.asr import Transcript
from wyoming.audio import AudioChunk, AudioChunkConverter, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event, async_read_event
from wyoming.info import AsrModel, AsrProgram, Attribution, Describe, Info
from wyoming.server import AsyncEventHandler

from recitative import __version__
from recitative.asr.transcript import Final, text_of
from recitative.errors import RecitativeError, UsageError, counted
from recitative.serve.access import log_refusal
from recitative.serve.models import RAW_TEXT, ServedModel
from recitative.serve.streams import Events, LiveStream, checked_rate

if TYPE_CHECKING:
    from recitative.serve.app import Server

MALFORMED = "an event is malformed: must be a line of JSON, its data and its payload, as in the Wyoming protocol"
ATTRIBUTION = Attribution(name="Recitative", url="")


@asynccontextmanager
async def listening(server: Server, bound: socket.socket) -> AsyncIterator[None]:
    """Answer clients at a socket."""
    model, clients = server.models.live_speech(), set[asyncio.Task[None]]()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        clients.add(task)
        task.add_done_callback(clients.discard)
        await Assistant(server, model, reader, writer).run()

    tcp = await asyncio.start_server(answer, sock=bound)
    try:
        yield
    finally:
        tcp.close()
        for task in clients:
            task.cancel()
        await asyncio.gather(*clients, return_exceptions=True)


class BoundedReader(asyncio.StreamReader):
    """What the protocol reads of a stream, with a limit of bytes for each part of an event."""

    def __init__(self, reader: asyncio.StreamReader, most: int) -> None:
        self._reader, self._most = reader, most

    async def readline(self) -> bytes:
        return await self._reader.readline()  # at most asyncio's limit of 64 KB

    async def readexactly(self, n: int) -> bytes:
        if n > self._most:
            raise UsageError(f"an event has {counted(n, 'byte')}: at most {self._most}")
        return await self._reader.readexactly(n)


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

    async def run(self) -> None:
        """Answer events until the client leaves, or sends what is not allowed."""
        limits, told = self._server.limits, ""
        events = BoundedReader(self.reader, 1024 * limits.message_kb)
        try:
            while True:
                with _well_formed():
                    event = await asyncio.wait_for(async_read_event(events), limits.idle_s)
                if event is None and not self.reader.at_eof():
                    raise UsageError(MALFORMED)
                if event is None or not await self.handle_event(event):
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client is gone
        except RecitativeError as error:
            told = str(error)
        except TimeoutError:
            told = f"nothing came for {limits.idle_s:g} s"
        finally:
            with suppress(OSError):
                if told:
                    log_refusal({"client": self.writer.get_extra_info("peername")[:2], "path": "Wyoming"}, told)
                    await self.write_event(Error(told).event())
            await self.disconnect()
            self.writer.close()

    async def handle_event(self, event: Event) -> bool:
        """Returns whether the connection stays open. Raises RecitativeError for what is not allowed."""
        if Describe.is_type(event.type):
            await self.write_event(describe(self._model.name).event())
        elif AudioStart.is_type(event.type):
            self._end()
            if why := self._server.refusal():
                self._server.metrics.refused.labels("streams").inc()
                raise UsageError(why)
            self._stream, self._events = self._live.enter_context(self._server.stream(self._model)), []
            with _well_formed():
                rate = AudioStart.from_event(event).rate
            self._stream.rate, self._stream.options = checked_rate(rate), RAW_TEXT
        elif AudioChunk.is_type(event.type) and self._stream:
            with _well_formed():
                audio = self._mono.convert(AudioChunk.from_event(event)).audio
            self._events += await self._stream.accept(audio)
            if self._stream.duration_s > self._server.limits.total_s:
                raise UsageError(f"the stream is longer than {self._server.limits.total_s:g} s: begin a new one")
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


@contextmanager
def _well_formed() -> Iterator[None]:
    """Errors of the package that reads events are those of the client who sent them. Raises UsageError."""
    try:
        yield
    except (RecitativeError, OSError, EOFError, TimeoutError):
        raise
    except Exception as error:  # KeyError, TypeError, audioop.error, ...
        raise UsageError(MALFORMED) from error


def describe(name: str) -> Info:
    model = AsrModel(name, ATTRIBUTION, installed=True, description=None, version=__version__, languages=["en"])
    program = AsrProgram(
        "recitative", ATTRIBUTION, installed=True, description="Speech recognition", version=__version__, models=[model]
    )
    return Info(asr=[program])
