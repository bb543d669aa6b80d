"""Recordings and requests by HTTP: threads that process them, and transcripts in the formats of OpenAI's audio API."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, BinaryIO, TypeVar

from starlette.requests import Request

from recitative.asr.recognizer import Recognizer
from recitative.asr.transcript import FORMATS, Segment, Transcript
from recitative.audio.files import AudioBlocks
from recitative.errors import DataError
from recitative.model.stream import document
from recitative.serve.access import Limits, Metrics
from recitative.serve.decoder import BusyError, Decoders
from recitative.stage import Array

GRANULARITIES = ("word", "segment")
RESPONSE_FORMATS = ("json", "text", "srt", "vtt", "verbose_json")
MEDIA_TYPES = {"text": "text/plain; charset=utf-8", "srt": "application/x-subrip", "vtt": "text/vtt"}

POLL_S = 1.0  # between checks whether a client has disconnected

T = TypeVar("T")


class Pool:
    """Threads for recordings and requests, at most ``limits.recordings`` at once, and processes that decode files."""

    def __init__(self, limits: Limits, metrics: Metrics) -> None:
        self.limits, self.metrics = limits, metrics
        self.decoders = Decoders(limits.decoding_s, limits.decoding_mb)
        self.threads = ThreadPoolExecutor(limits.recordings, thread_name_prefix="recitative-recordings")
        self.running = 0

    def close(self) -> None:
        self.threads.shutdown(wait=False, cancel_futures=True)
        self.decoders.close()

    def require_slot(self) -> None:
        """Raises BusyError if ``limits.recordings`` requests run and the same number waits."""
        if self.running >= 2 * self.limits.recordings:
            self.metrics.refused.labels("recordings").inc()
            raise BusyError

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Take a slot for a request that runs or waits."""
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1

    async def run(self, client: Client, work: Callable[[], T]) -> T:
        """Run work in a thread for a client. Raises BusyError, and what the work raises."""
        self.require_slot()
        with self.slot():
            return await client.wait_for(asyncio.get_running_loop().run_in_executor(self.threads, work))

    def upload(self, file: BinaryIO, client: Client) -> Upload:
        """An uploaded recording. Nothing is computed yet."""
        return Upload(self, file, client)


class Client:
    """A client that waits for an answer, or has disconnected."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self.is_gone = threading.Event()

    async def wait_for(self, work: Awaitable[T]) -> T:
        """The result of work, which may call ``check`` to stop when the client has disconnected."""
        task = asyncio.ensure_future(work)
        while not (await asyncio.wait({task}, timeout=POLL_S))[0]:
            if await self._request.is_disconnected():
                self.is_gone.set()
        return task.result()

    def check(self) -> None:
        """Raises DataError if the client has disconnected. May be called in any thread."""
        if self.is_gone.is_set():
            raise DataError("the answer", "is not waited for any more", "", "")


class Upload:
    """An uploaded recording. duration_s: of the audio processed so far."""

    def __init__(self, pool: Pool, file: BinaryIO, client: Client) -> None:
        self._pool, self._file, self._client = pool, file, client
        self.duration_s = 0.0

    @contextmanager
    def opened(self) -> Iterator[AudioBlocks]:
        """Decode the file, in a thread of the pool.

        Raises DataError, also while blocks are read, if it is not a recording or too long, or the client disconnects.
        """
        started = time.monotonic()
        try:
            with self._pool.decoders.open(self._file) as audio:
                yield AudioBlocks(audio.sample_rate, audio.num_samples, self._counted(audio))
        finally:
            self._pool.metrics.count_audio(self.duration_s, time.monotonic() - started)
        self._pool.metrics.recordings.inc()

    def _counted(self, audio: AudioBlocks) -> Iterator[Array]:
        limit_s = self._pool.limits.recording_s
        for block in audio.blocks:
            self.duration_s += len(block) / audio.sample_rate
            self._client.check()
            if self.duration_s > limit_s:
                remedy = "cut it, or raise --recording-s"
                raise DataError("the recording", "is too long", f"at most {limit_s:g} s", remedy)
            yield block

    async def answer(self, work: Callable[[AudioBlocks], T]) -> T:
        """The result of work on the whole recording. Raises what ``opened`` and the work raise, and BusyError."""

        def whole() -> T:
            with self.opened() as audio:
                return work(audio)

        return await self._pool.run(self._client, whole)

    async def segments(self, recognizer: Recognizer) -> AsyncIterator[Segment]:
        """The segments as they are found. Raises what ``opened`` raises. Work stops when the iterator is closed."""
        loop = asyncio.get_running_loop()
        found: asyncio.Queue[Segment | Exception | None] = asyncio.Queue()

        def work() -> None:
            end: Exception | None = None
            try:
                with self.opened() as audio:
                    for segment in recognizer.segments(audio):
                        loop.call_soon_threadsafe(found.put_nowait, segment)
            except Exception as error:  # raised where the segments are asked for
                end = error
            loop.call_soon_threadsafe(found.put_nowait, end)

        self._pool.threads.submit(work)
        try:
            while isinstance(item := await found.get(), Segment):
                yield item
            if item is not None:
                raise item
        finally:
            self._client.is_gone.set()

    async def transcript(self, recognizer: Recognizer) -> Transcript:
        """The transcript of the whole recording. Raises what ``answer`` raises."""

        def whole(audio: AudioBlocks) -> tuple[Segment, ...]:
            return tuple(recognizer.segments(audio))

        return Transcript(await self.answer(whole), self.duration_s, model=recognizer.name)


def format_transcript(
    transcript: Transcript, response_format: str, granularities: tuple[str, ...]
) -> str | dict[str, Any]:
    """A transcript in one of RESPONSE_FORMATS; a dictionary is to be sent as JSON."""
    match response_format:
        case "json":
            return {"text": transcript.text}
        case "text" | "srt" | "vtt":
            return FORMATS[response_format].file_content("", transcript)
    return _verbose(transcript, granularities)


def _verbose(transcript: Transcript, granularities: tuple[str, ...]) -> dict[str, Any]:
    """The keys of OpenAI's format; values that only its own models have are neutral."""
    entries: dict[str, Any] = {
        "task": "transcribe",
        "language": "english",
        "duration": round(transcript.duration_s, 3),
        "text": transcript.text,
    }
    if "word" in granularities:
        entries["words"] = [word.to_dict() for word in transcript.words]
    if "segment" in granularities or not granularities:
        neutral = {"seek": 0, "tokens": [], "temperature": 0.0, "avg_logprob": 0.0, "compression_ratio": 1.0}
        entries["segments"] = [
            {"id": number, "start": s.start_s, "end": s.end_s, "text": s.text, **neutral, "no_speech_prob": 0.0}
            for number, s in enumerate(transcript.segments)
        ]
    return document(transcript.model, entries)


async def transcript_events(segments: AsyncIterator[Segment]) -> AsyncIterator[str]:
    """Server-sent events: a delta for each segment, with its times and words, then the whole text."""
    texts: list[str] = []
    async for segment in segments:
        if segment.text:
            delta = f" {segment.text}" if texts else segment.text
            texts.append(segment.text)
            words = [word.to_dict() for word in segment.words]
            times = {"start": segment.start_s, "end": segment.end_s}
            yield sent_event({"type": "transcript.text.delta", "delta": delta, **times, "words": words})
    yield sent_event({"type": "transcript.text.done", "text": " ".join(texts)})


def sent_event(event: dict[str, Any]) -> str:
    return f"data: {json.dumps(event)}\n\n"
