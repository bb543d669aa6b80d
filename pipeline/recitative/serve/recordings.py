"""Recordings by HTTP, as OpenAI's audio API has them: ``POST /v1/audio/transcriptions``."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, BinaryIO, cast

from recitative.asr.formats import FORMATS
from recitative.asr.recognizer import Recognizer
from recitative.asr.transcript import Segment, Transcript
from recitative.errors import DataError
from recitative.model.stream import document
from recitative.serve.limits import Limits
from recitative.serve.metrics import Metrics

RESPONSE_FORMATS = ("json", "text", "srt", "vtt", "verbose_json")
MEDIA_TYPES = {"text": "text/plain; charset=utf-8", "srt": "application/x-subrip", "vtt": "text/vtt"}


class BusyError(Exception):
    """As many recordings are being transcribed and wait as may."""


class Recordings:
    """Transcribes uploads in threads of its own, at most ``limits.recordings`` at once."""

    def __init__(self, recognizer: Recognizer, limits: Limits, metrics: Metrics) -> None:
        self.recognizer, self.limits, self.metrics = recognizer, limits, metrics
        self.threads = ThreadPoolExecutor(limits.recordings, thread_name_prefix="recitative-recordings")
        self.running = 0

    def close(self) -> None:
        self.threads.shutdown(wait=False, cancel_futures=True)

    def require_place(self) -> None:
        """Raises BusyError if as many recordings are transcribed and wait as may."""
        if self.running >= 2 * self.limits.recordings:
            self.metrics.refused.labels("recordings").inc()
            raise BusyError

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place among them."""
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1

    def hear(self, file: BinaryIO) -> Hearing:
        """An uploaded recording; nothing is done before its segments are asked for."""
        return Hearing(self, file)


class Hearing:
    """A recording that is being transcribed. duration_s: of the audio so far."""

    def __init__(self, recordings: Recordings, file: BinaryIO) -> None:
        self._recordings, self._file = recordings, file
        self._stopped = threading.Event()
        self.duration_s = 0.0

    async def segments(self) -> AsyncIterator[Segment]:
        """As they are found. Work stops when nobody asks for the next any more.

        Raises DataError for what is no recording, or too long.
        """
        loop = asyncio.get_running_loop()
        found: asyncio.Queue[Segment | Exception | None] = asyncio.Queue()

        def work() -> None:
            end: Exception | None = None
            try:
                for segment in self._heard():
                    loop.call_soon_threadsafe(found.put_nowait, segment)
            except Exception as error:  # raised where the segments are asked for
                end = error
            loop.call_soon_threadsafe(found.put_nowait, end)

        self._recordings.threads.submit(work)
        try:
            while isinstance(item := await found.get(), Segment):
                yield item
            if item is not None:
                raise item
        finally:
            self._stopped.set()

    async def transcript(self) -> Transcript:
        """The whole of it."""
        segments = tuple([segment async for segment in self.segments()])
        return Transcript(segments, self.duration_s, model=self._recordings.recognizer.name)

    def _heard(self) -> Iterator[Segment]:
        """In a thread."""
        started = time.monotonic()
        try:
            yield from self._recordings.recognizer.segments(cast(BinaryIO, Upload(self._file)), progress=self._progress)
        finally:
            self._recordings.metrics.heard(self.duration_s, time.monotonic() - started)
        self._recordings.metrics.recordings.inc()

    def _progress(self, heard_s: float, _total_s: float) -> None:
        self.duration_s = heard_s
        most_s = self._recordings.limits.recording_s
        if self._stopped.is_set():
            raise DataError("the recording", "is not waited for any more", "", "")
        if heard_s > most_s:
            raise DataError("the recording", "is too long", f"at most {most_s:g} s", "cut it, or raise --recording-s")


class Upload:
    """A file that errors call 'the recording': the names of its client mean nothing here."""

    name = "the recording"

    def __init__(self, file: BinaryIO) -> None:
        self.read, self.seek = file.read, file.seek


def written(transcript: Transcript, response_format: str, granularities: tuple[str, ...]) -> str | dict[str, Any]:
    """In one of RESPONSE_FORMATS; a dictionary is JSON."""
    match response_format:
        case "json":
            return {"text": transcript.text}
        case "text" | "srt" | "vtt":
            return FORMATS[response_format].file_content("", transcript)
    return _verbose(transcript, granularities)


def _verbose(transcript: Transcript, granularities: tuple[str, ...]) -> dict[str, Any]:
    """OpenAI's entries, those that only its own models have left at neutral values."""
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


async def events_of(segments: AsyncIterator[Segment]) -> AsyncIterator[str]:
    """Server-sent events: a delta for each segment, with its times and words, then the whole text."""
    texts: list[str] = []
    async for segment in segments:
        if segment.text:
            delta = f" {segment.text}" if texts else segment.text
            texts.append(segment.text)
            words = [word.to_dict() for word in segment.words]
            ours = {"start": segment.start_s, "end": segment.end_s, "words": words}
            yield sent({"type": "transcript.text.delta", "delta": delta, **ours})
    yield sent({"type": "transcript.text.done", "text": " ".join(texts)})


def sent(event: dict[str, Any]) -> str:
    return f"data: {json.dumps(event)}\n\n"
