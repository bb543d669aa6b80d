"""Live streams by WebSocket: Vosk's protocol, and the project's own events.

Vosk's protocol (alphacephei/vosk-server), at ``/``: the client sends 16-bit samples in binary messages. Each message is
answered by ``{"partial": ...}``, or by ``{"text": ..., "result": [...]}`` where an utterance has ended. A first message
``{"config": {"sample_rate": ...}}`` is optional; a ``phrase_list`` in it restricts the text to these phrases.
``{"eof": 1}`` ends the stream with its last text, ``{"reset": 1}`` answers with it and begins anew. With
``max_alternatives`` in the configuration a text comes as the first of ``alternatives``; there are no others.

The project's own protocol, at ``/v1/stream?rate=16000``: the client sends 16-bit samples in binary messages, and gets
the events of the model's stream as they occur, as JSON objects with a ``type``. A first message
``{"type": "config", ...}`` with ``rate``, ``hotwords`` or ``keywords`` is optional. ``{"type": "finish"}`` ends the
stream; after the last events comes ``{"type": "end", "duration": ...}``.

An error is sent as ``{"type": "error", "message": ...}`` (in Vosk's protocol as ``{"error": ...}``), and the connection
is closed.
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
from recitative.errors import RecitativeError, UsageError, counted
from recitative.model.stream import document
from recitative.serve.access import Limits, log_refusal
from recitative.serve.models import RAW_TEXT, StreamOptions
from recitative.serve.streams import Events, LiveStream, WorkerError, checked_rate
from recitative.text.tokens import Word

# Files that are sent in place of samples, by their first bytes
CONTAINERS = {b"OggS": "an Ogg file", b"fLaC": "a FLAC file", b"ID3": "an MP3 file", b"\x1aE\xdf\xa3": "a WebM file"}
PRINTABLE = b"\t\n\r" + bytes(range(32, 127))
MIN_TEXT = 16  # bytes: samples look like text by chance in shorter messages only
POLICY, INTERNAL, TRY_AGAIN_LATER = 1008, 1011, 1013  # close codes of RFC 6455
MAX_REASON = 123  # bytes in a close frame, by RFC 6455


class Conversation(ABC):
    """One client's live stream, from its first message to its last."""

    def __init__(self, socket: WebSocket, stream: LiveStream, limits: Limits) -> None:
        self.socket, self.stream, self.limits = socket, stream, limits

    async def run(self) -> None:
        """Handle messages until the client ends the stream or disconnects.

        Raises UsageError for messages that are not allowed, TimeoutError after ``idle_s`` without a message.
        """
        with suppress(WebSocketDisconnect):
            while await self._handle(await asyncio.wait_for(self.socket.receive(), self.limits.idle_s)):
                pass

    async def _handle(self, message: Mapping[str, Any]) -> bool:
        """Returns whether the stream goes on."""
        if message["type"] == "websocket.disconnect":
            return False
        content = message.get("bytes") or message.get("text") or b""
        if len(content) > 1024 * self.limits.message_kb:
            raise UsageError(f"a message has {counted(len(content), 'byte')}: at most {1024 * self.limits.message_kb}")
        if isinstance(content, str):
            return await self._handle_command(_parse(content))
        if problem := _other_than_samples(content, is_first=not self.stream.has_begun):
            raise UsageError(f"a binary message: {problem}")
        await self._send_events(await self.stream.accept(content))
        if self.stream.duration_s > self.limits.total_s:
            raise UsageError(f"the stream is longer than {self.limits.total_s:g} s: begin a new one")
        return True

    def set_rate(self, value: object) -> None:
        """Raises UsageError for an invalid rate, and for a different one after audio has come."""
        rate = checked_rate(value)
        if self.stream.has_begun and rate != self.stream.rate:
            raise UsageError(
                f"sample rate {rate}: the stream has {self.stream.rate} Hz; send the rate before any audio"
            )
        self.stream.rate = rate

    async def set_options(self, options: StreamOptions) -> None:
        """Raises UsageError, DataError for options that the model cannot satisfy, or after audio has come."""
        if self.stream.has_begun and options != self.stream.options:
            raise UsageError("hot words, keywords and phrases: send them before any audio")
        await self.stream.set_options(options)

    async def send(self, answer: Mapping[str, Any]) -> None:
        """Send JSON in ASCII: a client's own text may be in it."""
        await self.socket.send_text(json.dumps(answer))

    @abstractmethod
    async def _handle_command(self, command: dict[str, Any]) -> bool:
        """Handle a text message. Returns whether the stream goes on."""

    @abstractmethod
    async def _send_events(self, events: Events) -> None: ...

    @abstractmethod
    def error(self, message: str) -> dict[str, Any]:
        """The message that reports an error."""


class OwnConversation(Conversation):
    async def _handle_command(self, command: dict[str, Any]) -> bool:
        match command.get("type"):
            case "config":
                require_known(command.keys() - {"type"}, ("rate", "hotwords", "keywords"), "config")
                self.set_rate(command.get("rate", self.stream.rate))
                options = self.stream.options
                hotwords = _text(command, "hotwords", options.hotwords)
                keywords = _text(command, "keywords", options.keywords)
                await self.set_options(replace(options, hotwords=hotwords, keywords=keywords))
                return True
            case "finish":
                duration_s = self.stream.duration_s
                await self._send_events(await self.stream.finish())
                await self.send(document(self.stream.model.name, {"type": "end", "duration": round(duration_s, 3)}))
                return False
        raise UsageError(f'message type {command.get("type")!r}: must be "config" or "finish"')

    async def _send_events(self, events: Events) -> None:
        for event in events:
            await self.send(event.to_dict())

    def error(self, message: str) -> dict[str, Any]:
        return {"type": "error", "message": message}


class VoskConversation(Conversation):
    _partial = ""  # the last one
    _has_alternatives = False  # whether texts are sent as a list

    async def _handle_command(self, command: dict[str, Any]) -> bool:
        if "config" in command:
            config = command["config"]
            if not isinstance(config, dict):
                raise UsageError('config: must be an object such as {"sample_rate": 16000}')
            self.set_rate(config.get("sample_rate", self.stream.rate))
            phrases = config.get("phrase_list") or ()
            if not isinstance(phrases, list | tuple) or not all(isinstance(phrase, str) for phrase in phrases):
                raise UsageError("config.phrase_list: must be a list of phrases")
            if "phrase_list" in config:
                await self.set_options(replace(RAW_TEXT, phrases=tuple(phrases)))
            self._has_alternatives = bool(config.get("max_alternatives", self._has_alternatives))
            return True
        if not command.keys() & {"eof", "reset"}:
            raise UsageError('a message: must be samples, or JSON with "config", "eof" or "reset"')
        events = await self.stream.finish()
        self._partial = ""
        await self.send(self._result(event for event in events if isinstance(event, Final)))
        return "eof" not in command

    async def _send_events(self, events: Events) -> None:
        """Send exactly one answer: clients wait for it."""
        finals = [event for event in events if isinstance(event, Final)]
        partials = [event.text for event in events if isinstance(event, Partial)]
        if partials or finals:
            self._partial = partials[-1] if partials else ""
        await self.send(self._result(finals) if finals else {"partial": self._partial})

    def _result(self, finals: Iterable[Final]) -> dict[str, Any]:
        words: list[Word] = [word for final in finals for word in final.words]
        result = [{"conf": w.confidence, "end": w.end_s, "start": w.start_s, "word": w.word} for w in words]
        best = ({"result": result} if result else {}) | {"text": text_of(words)}
        if not self._has_alternatives:
            return best
        confidence = min((word.confidence for word in words), default=0.0)  # as that of a word: the lowest of its parts
        return {"alternatives": [{"confidence": confidence} | best]}

    def error(self, message: str) -> dict[str, Any]:
        return {"error": message}


def _text(command: Mapping[str, Any], name: str, default: str) -> str:
    value = command.get(name, default)
    if not isinstance(value, str):
        raise UsageError(f"{name}: must be a text such as 'new york, boston:6'")
    return value


def require_known(names: Iterable[str], known: Iterable[str], where: str) -> None:
    """Raises UsageError for a name that has no meaning: a misspelled rate would give wrong words."""
    if unknown := sorted(set(names) - set(known)):
        raise UsageError(f"{where}: has {unknown[0]!r}; there are {', '.join(known)}")


def _other_than_samples(content: bytes, *, is_first: bool) -> str:
    """What is wrong with a binary message that is plainly no samples; '' otherwise. is_first: of its stream.

    A wav file may be sent: clients of Vosk do, and its header is too short to be heard.
    """
    if content[:1] == b"{" and content[-1:] == b"}":
        with suppress(ValueError, RecursionError):
            json.loads(content)
            return "is JSON; send that as a text message"
    found = next((kind for start, kind in CONTAINERS.items() if content.startswith(start)), "")
    if is_first and len(content) >= MIN_TEXT and not content.translate(None, PRINTABLE):
        found = "text"
    return f"is {found}; send the samples themselves, 16-bit mono" if found and is_first else ""


def close_reason(message: str) -> str:
    """The part of a message that a close frame has room for. It is what clients show that do not read messages."""
    return message.encode("utf-8", "replace")[:MAX_REASON].decode(errors="ignore")


def _parse(text: str) -> dict[str, Any]:
    try:
        command = json.loads(text)
    except (ValueError, RecursionError):
        command = None
    if not isinstance(command, dict):
        raise UsageError("a text message: must be a JSON object; send samples in binary messages")
    return command


async def run_conversation(conversation: Conversation, rate: object, options: StreamOptions) -> str:
    """Run a conversation, and report to the client whatever ends it early. Returns the reason; '' = the client.

    rate, options: from the address; the rate as the client gave it
    """
    socket, limits = conversation.socket, conversation.limits
    try:
        conversation.set_rate(rate)
        await conversation.set_options(options)
        await conversation.run()
        with suppress(RuntimeError, WebSocketDisconnect):  # the client has closed it
            await socket.close()
        return ""
    except WorkerError as error:
        reason, code, message = "worker", INTERNAL, str(error)
    except RecitativeError as error:
        reason, code, message = "message", POLICY, str(error)
    except TimeoutError:
        reason, code, message = "idle", POLICY, f"nothing came for {limits.idle_s:g} s"
    log_refusal(socket.scope, message)
    with suppress(RuntimeError, WebSocketDisconnect, OSError):  # the client is gone
        await conversation.send(conversation.error(message))
        await socket.close(code, close_reason(message))
    return reason
