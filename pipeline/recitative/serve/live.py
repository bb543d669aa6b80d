"""Live streams by WebSocket: Vosk's protocol, and the project's own events.

Vosk's (alphacephei/vosk-server), at ``/``: the client sends 16-bit samples in binary messages, and gets for each one
``{"partial": ...}``, or ``{"text": ..., "result": [...]}`` where an utterance has ended. ``{"config": {"sample_rate":
...}}`` may come first, and with ``phrase_list`` it names all that may be said; ``{"eof": 1}`` ends the stream with its
last text, ``{"reset": 1}`` begins it anew.

The project's own, at ``/v1/stream?rate=16000``: the client sends 16-bit samples in binary messages, and gets the events
of the model's stream as they come, each a JSON object with a ``type``. ``{"type": "config", ...}`` may come first, with
``rate``, ``hotwords`` or ``keywords``. ``{"type": "finish"}`` ends the stream; its last events are followed by
``{"type": "end", "duration": ...}``.

What is wrong is told as ``{"type": "error", "message": ...}`` ({"error": ...} in Vosk's), and the connection is closed.
"""

from __future__ import annotations

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from recitative.asr.transcript import Final, Partial, text_of
from recitative.errors import RecitativeError, UsageError
from recitative.model.stream import document
from recitative.serve.limits import Limits
from recitative.serve.models import SPOKEN, Wanted
from recitative.serve.streams import Events, LiveStream
from recitative.serve.workers import WorkerError
from recitative.text.words import Word

POLICY, INTERNAL, AGAIN_LATER = 1008, 1011, 1013  # codes of RFC 6455


class Conversation(ABC):
    """One client's live stream, from its first message to its last."""

    def __init__(self, socket: WebSocket, stream: LiveStream, limits: Limits) -> None:
        self.socket, self.stream, self.limits = socket, stream, limits

    async def run(self) -> None:
        """Until the client ends the stream or goes away. Raises UsageError for what it must not send, TimeoutError."""
        with suppress(WebSocketDisconnect):
            while await self._answer(await asyncio.wait_for(self.socket.receive(), self.limits.idle_s)):
                pass

    async def _answer(self, message: Mapping[str, Any]) -> bool:
        """Whether the stream goes on."""
        if message["type"] == "websocket.disconnect":
            return False
        content = message.get("bytes") or message.get("text") or b""
        if len(content) > 1024 * self.limits.message_kb:
            raise UsageError(f"a message has {len(content)} bytes: at most {1024 * self.limits.message_kb}")
        if isinstance(content, str):
            return await self._obey(_parsed(content))
        await self._heard(await self.stream.accept(content))
        if self.stream.duration_s > self.limits.total_s:
            raise UsageError(f"the stream is longer than {self.limits.total_s:g} s: begin a new one")
        return True

    def set_rate(self, value: object) -> None:
        """Raises UsageError for a rate that is none, and for another after audio has come."""
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not 4000 <= value <= 192000:
            raise UsageError(f"sample rate {value!r}: must be a whole number from 4000 to 192000 Hz")
        if self.stream.has_begun and value != self.stream.rate:
            raise UsageError(
                f"sample rate {value}: the stream has {self.stream.rate} Hz; send the rate before any audio"
            )
        self.stream.rate = value

    async def want(self, wanted: Wanted) -> None:
        """What to listen for. Raises UsageError, DataError for what the model cannot do, or after audio has come."""
        if self.stream.has_begun and wanted != self.stream.wanted:
            raise UsageError("hot words, keywords and phrases: send them before any audio")
        await self.stream.want(wanted)

    async def send(self, answer: Mapping[str, Any]) -> None:
        """ASCII only, whatever the client made the server repeat."""
        await self.socket.send_text(json.dumps(answer))

    @abstractmethod
    async def _obey(self, order: dict[str, Any]) -> bool:
        """Whether the stream goes on after a text message."""

    @abstractmethod
    async def _heard(self, events: Events) -> None: ...

    @abstractmethod
    def error(self, message: str) -> dict[str, Any]:
        """What tells the client of an error."""


class OwnConversation(Conversation):
    async def _obey(self, order: dict[str, Any]) -> bool:
        match order.get("type"):
            case "config":
                self.set_rate(order.get("rate", self.stream.rate))
                wanted = self.stream.wanted
                hotwords, keywords = (
                    _text(order, "hotwords", wanted.hotwords),
                    _text(order, "keywords", wanted.keywords),
                )
                await self.want(replace(wanted, hotwords=hotwords, keywords=keywords))
                return True
            case "finish":
                duration_s = self.stream.duration_s
                await self._heard(await self.stream.finish())
                await self.send(document(self.stream.model.name, {"type": "end", "duration": round(duration_s, 3)}))
                return False
        raise UsageError(f'message type {order.get("type")!r}: must be "config" or "finish"')

    async def _heard(self, events: Events) -> None:
        for event in events:
            await self.send(event.to_dict())

    def error(self, message: str) -> dict[str, Any]:
        return {"type": "error", "message": message}


class VoskConversation(Conversation):
    _partial = ""  # the last

    async def _obey(self, order: dict[str, Any]) -> bool:
        if "config" in order:
            config = order["config"] if isinstance(order["config"], dict) else {}
            self.set_rate(config.get("sample_rate", self.stream.rate))
            phrases = config.get("phrase_list") or ()
            if not isinstance(phrases, list | tuple) or not all(isinstance(phrase, str) for phrase in phrases):
                raise UsageError("config.phrase_list: must be a list of phrases")
            if "phrase_list" in config:
                await self.want(replace(SPOKEN, phrases=tuple(phrases)))
            return True
        if not order.keys() & {"eof", "reset"}:
            raise UsageError('a message: must be samples, or JSON with "config", "eof" or "reset"')
        events = await self.stream.finish()
        if "eof" in order:
            await self.send(_result(event for event in events if isinstance(event, Final)))
        return "eof" not in order

    async def _heard(self, events: Events) -> None:
        """Exactly one answer: clients wait for it."""
        finals = [event for event in events if isinstance(event, Final)]
        partials = [event.text for event in events if isinstance(event, Partial)]
        if partials or finals:
            self._partial = partials[-1] if partials else ""
        await self.send(_result(finals) if finals else {"partial": self._partial})

    def error(self, message: str) -> dict[str, Any]:
        return {"error": message}


def _result(finals: Iterable[Final]) -> dict[str, Any]:
    words: list[Word] = [word for final in finals for word in final.words]
    result = [{"conf": w.confidence, "end": w.end_s, "start": w.start_s, "word": w.word} for w in words]
    return ({"result": result} if result else {}) | {"text": text_of(words)}


def _text(order: Mapping[str, Any], name: str, default: str) -> str:
    value = order.get(name, default)
    if not isinstance(value, str):
        raise UsageError(f"{name}: must be a text such as 'new york, boston:6'")
    return value


def _parsed(text: str) -> dict[str, Any]:
    try:
        order = json.loads(text)
    except (ValueError, RecursionError):
        order = None
    if not isinstance(order, dict):
        raise UsageError("a text message: must be a JSON object; send samples in binary messages")
    return order


async def converse(conversation: Conversation, rate: object, wanted: Wanted) -> str:
    """Run a conversation; whatever ends it early is told to the client. Returns why: '' if the client ended it.

    rate, wanted: what the address says; the rate as the client gave it
    """
    socket, limits = conversation.socket, conversation.limits
    try:
        conversation.set_rate(rate)
        await conversation.want(wanted)
        await conversation.run()
        with suppress(RuntimeError, WebSocketDisconnect):  # the client was first
            await socket.close()
        return ""
    except WorkerError as error:
        reason, code, message = "worker", INTERNAL, str(error)
    except RecitativeError as error:
        reason, code, message = "message", POLICY, str(error)
    except TimeoutError:
        reason, code, message = "idle", POLICY, f"nothing came for {limits.idle_s:g} s"
    with suppress(RuntimeError, WebSocketDisconnect, OSError):  # it has gone away
        await conversation.send(conversation.error(message))
        await socket.close(code)
    return reason
