"""Decoding of uploaded recordings in separate processes, because malicious files attack containers and codecs.

A process decodes one file at a time to blocks of samples. It is killed if it exceeds its memory or its time, and is
replaced if it crashes. Its messages are plain bytes and JSON; nothing that comes from it is unpickled.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO

import numpy as np

from recitative.audio.files import AudioBlocks, open_blocks
from recitative.audio.recording import PARTIAL_REMEDY
from recitative.audio.recording import REMEDY as FILE_REMEDY
from recitative.errors import DataError, Problem
from recitative.stage import Array

try:
    import resource
except ImportError:  # on Windows only time is limited
    resource = None  # type: ignore[assignment]

NAME = "the recording"  # in errors, instead of the path of the temporary file
BLOCK_S = 10.0
MAX_BLOCK = 1 << 25  # bytes: 10 s at 768 kHz
REMEDY = "convert it to wav or flac"
# What clients can do, in place of what is said to users of the command line
REMEDIES = {PARTIAL_REMEDY: "send it again, whole", FILE_REMEDY: "record it again, or send another file"}
# First byte of a message from the process. After ERROR it can decode the next file, after FAULT it is killed.
HEADER, SAMPLES, END, ERROR, FAULT = b"h", b"s", b"e", b"x", b"f"
NEXT, STOP = b"n", b"s"  # requests to the process while a file is open

_SPAWN = multiprocessing.get_context("spawn")  # a fork would copy locks of ONNX Runtime's threads


class BusyError(Exception):
    """All slots are taken, or no process can be started."""


class Decoders:
    """Processes that decode: one for each file that is open. Idle processes are kept for the next file."""

    def __init__(self, seconds: float, megabytes: int, work: Callable[..., None] | None = None) -> None:
        """seconds: for one recording; megabytes: in addition to the memory of an idle process; work: main function."""
        self._limits = seconds, megabytes
        self._work = work or serve
        self._lock = Lock()
        self._idle: list[_Decoder] = []

    @contextmanager
    def open(self, file: BinaryIO) -> Iterator[AudioBlocks]:
        """Open an uploaded file. Raises DataError, also while blocks are read, if it cannot be decoded within the
        limits, and BusyError if no process can be started."""
        with self._lock:
            decoder = self._idle.pop() if self._idle else None
        decoder = decoder or _Decoder(self._work, *self._limits)
        try:
            with tempfile.NamedTemporaryFile(prefix="recitative-upload-") as spool:
                shutil.copyfileobj(file, spool)
                spool.flush()
                yield decoder.open(spool.name)
                decoder.stop()
        finally:
            if decoder.is_idle:
                with self._lock:
                    self._idle.append(decoder)
            else:
                decoder.kill()

    def close(self) -> None:
        with self._lock:
            for decoder in self._idle:
                decoder.kill()
            self._idle = []


class _Decoder:
    """A process, seen from the server."""

    def __init__(self, work: Callable[..., None], seconds: float, megabytes: int) -> None:
        self._connection, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=work, args=(theirs, seconds, megabytes), daemon=True)
        self._process.start()
        theirs.close()
        self._seconds = seconds
        try:
            self._receive()  # it has started: this takes none of a recording's time
        except (EOFError, OSError):
            self.kill()
            raise BusyError("no process that decodes recordings could be started") from None
        self.is_idle = True

    def open(self, path: str) -> AudioBlocks:
        self.is_idle = False
        self._left_s = self._seconds
        kind, content = self._ask(path.encode())
        if kind != HEADER:
            raise self._failed(kind, content)
        rate, samples = (_parsed(content, dict).get(name) for name in ("rate", "samples"))
        if not isinstance(rate, int) or not isinstance(samples, int):
            raise DataError(NAME, "cannot be decoded", "", REMEDY)
        return AudioBlocks(rate, samples, self._blocks())

    def _blocks(self) -> Iterator[Array]:
        while True:
            kind, content = self._ask(NEXT)
            if kind != SAMPLES:
                break
            yield np.frombuffer(content[: len(content) // 4 * 4], np.float32)
        if kind != END:
            raise self._failed(kind, content)
        self.is_idle = True

    def stop(self) -> None:
        """Close the file before its end."""
        if not self.is_idle:
            kind, _ = self._ask(STOP)
            self.is_idle = kind == END

    def kill(self) -> None:
        self._process.kill()
        self._process.join()
        self._connection.close()

    def _ask(self, message: bytes) -> tuple[bytes, bytes]:
        """Raises DataError if the process ends, or the time of the recording is up."""
        asked_at = time.monotonic()
        try:
            self._connection.send_bytes(message)
            if not self._connection.poll(max(0.0, self._left_s)):
                raise DataError(NAME, f"takes more than {self._seconds:g} s to decode", "", REMEDY)
            return self._receive()
        except (EOFError, OSError):
            self._process.join(5)
            code = self._process.exitcode or 0
            how = signal.Signals(-code).name if code < 0 else f"exit status {code}"
            raise DataError(NAME, f"cannot be decoded (the decoder ended: {how})", "", REMEDY) from None
        finally:
            self._left_s -= time.monotonic() - asked_at

    def _receive(self) -> tuple[bytes, bytes]:
        content = self._connection.recv_bytes(MAX_BLOCK + 1)
        return content[:1], content[1:]

    def _failed(self, kind: bytes, content: bytes) -> DataError:
        self.is_idle = kind == ERROR
        problems = _parsed(content, list) if kind in (ERROR, FAULT) else []
        return DataError.collect([Problem(*map(str, one)) for one in problems] or [Problem(NAME, "cannot be decoded")])


def _parsed(content: bytes, kind: type[Any]) -> Any:
    """Parse JSON from the process. Raises DataError if it is malformed: an attacker may control the process."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, kind):
        raise DataError(NAME, "cannot be decoded", "", REMEDY)
    return value


def serve(connection: Connection, seconds: float, megabytes: int) -> None:
    """Main function of the process: decode one file after another until the server ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server
    with open(os.devnull, "w") as nowhere:  # libraries print to stdout and stderr
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    limit_memory(megabytes)
    with suppress(EOFError, OSError):
        connection.send_bytes(END)
        while path := connection.recv_bytes():
            limit_time(seconds)
            connection.send_bytes(_last_message(connection, path.decode(), megabytes))


def _last_message(connection: Connection, path: str, megabytes: int) -> bytes:
    """Send a block of a file for each NEXT. Returns the message for the end of the file."""
    try:
        with open_blocks(path, BLOCK_S) as (info, blocks):
            header = {"rate": info.sample_rate, "samples": info.num_samples}
            connection.send_bytes(HEADER + json.dumps(header).encode())
            while connection.recv_bytes() == NEXT:
                block = next(blocks, None)
                if block is None:
                    break
                connection.send_bytes(SAMPLES + np.ascontiguousarray(block, np.float32).tobytes())
        return END
    except DataError as error:
        kind, problems = ERROR, error.problems
    except MemoryError:
        kind, problems = FAULT, (Problem(NAME, f"needs more than {megabytes} MB of memory to decode", "", REMEDY),)
    except Exception as error:
        kind, problems = FAULT, (Problem(NAME, f"cannot be decoded ({type(error).__name__})", "", REMEDY),)
    parts = [(one.where, one.found, one.allowed, REMEDIES.get(one.remedy, one.remedy)) for one in problems]
    return kind + json.dumps([[part.replace(path, NAME) for part in four] for four in parts]).encode()


def limit_memory(megabytes: int) -> None:
    """Limit the memory that this process adds to its present memory, and forbid writing files. Linux only."""
    status = Path("/proc/self/status")
    if resource and status.exists():
        entry = next(line for line in status.read_text().splitlines() if line.startswith("VmData:"))
        limit = (int(entry.split()[1]) << 10) + (megabytes << 20)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def limit_time(seconds: float) -> None:
    """Limit the CPU time of this process from now on, in case the server can no longer kill it."""
    if resource:
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time() + seconds) + 1, hard))
