"""Inputs given by a user: files, folders, patterns, standard input; in Python also bytes, open files and samples."""

from __future__ import annotations

import glob
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Protocol, TypeGuard, cast

from recitative.audio.files import SUFFIXES, OnWarning, open_blocks
from recitative.audio.samples import SampleInput, as_float, require_rate
from recitative.errors import DataError, os_problem
from recitative.stage import Array

STANDARD_INPUT = "standard input"
"""The name of '-' in errors."""

MAX_LISTED = 5
"""Number of skipped files that are listed."""


def expand(inputs: Sequence[str], tell: Callable[[str], None] = lambda note: None) -> list[str]:
    """Expand files, folders (recursively) and patterns to files, each once, in order; '-' is kept.

    ``tell`` is called with a line about files in folders that are not recordings. Raises DataError for a folder or a
    pattern without recordings. A given file need not exist: opening it reports the error.
    """
    files: dict[str, None] = {}
    for name in inputs:
        if name != "-" and os.path.isdir(name):  # Path.is_dir fails for very long names
            paths = sorted(path for path in Path(name).rglob("*") if path.is_file())
            found = [str(path) for path in paths if path.suffix.lower() in SUFFIXES]
            if not found:
                raise DataError(name, "has no recordings", ", ".join(sorted(SUFFIXES)), "correct the path")
            others = [str(path.relative_to(name)) for path in paths if path.suffix.lower() not in SUFFIXES]
            if others:
                shown = ", ".join(others[:MAX_LISTED]) + (", ..." if len(others) > MAX_LISTED else "")
                tell(f"{name}: files that are not recordings, skipped: {len(others)} ({shown})")
        elif any(sign in name for sign in "*?[") and not os.path.exists(name):
            found = sorted(path for path in glob.glob(name, recursive=True) if Path(path).is_file())
            if not found:
                raise DataError(name, "matches no file", "a pattern such as 'talks/*.flac'", "correct it")
        else:
            found = [name]
        files |= dict.fromkeys(found)
    return list(files)


def is_stream(file: str) -> bool:
    """Whether an input can be read only once, sequentially: '-', a pipe, ``<(command)``."""
    if file == "-" or file.startswith(_OPEN_FILES):
        return True
    try:
        mode = os.stat(file).st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


_OPEN_FILES = ("/dev/stdin", "/dev/fd/", "/proc/self/fd/")


@contextmanager
def on_disk(file: str, head: bytes = b"") -> Iterator[str]:
    """The path of a recording; a stream is copied to a temporary file, since its end may be needed to read its start.

    A DataError about that file names the stream. ``head``: bytes already read from it.
    """
    if not is_stream(file):
        yield file
        return
    with tempfile.NamedTemporaryFile(prefix="recitative-stdin-") as spool:
        spool.write(head)
        _spool(file, spool)
        spool.flush()
        with naming(file, spool.name):
            yield spool.name


def _spool(file: str, spool: IO[bytes]) -> None:
    if file == "-":
        shutil.copyfileobj(sys.stdin.buffer, spool)
        return
    try:
        with open(file, "rb") as source:
            shutil.copyfileobj(source, spool)
    except OSError as error:
        raise DataError.collect([os_problem(error, file)]) from None


@contextmanager
def naming(file: str, path: str) -> Iterator[None]:
    """Within this context, a DataError about ``path`` names ``file``, its source."""
    try:
        yield
    except DataError as error:
        name = STANDARD_INPUT if file == "-" else file
        problems = [replace(p, where=name) if p.where == path else p for p in error.problems]
        raise DataError.collect(problems) from None


class Readable(Protocol):
    """An open binary file, or what can be read like one."""

    def read(self, size: int = -1, /) -> bytes: ...


@dataclass(frozen=True)
class AudioBlocks:
    """A recording that is decoded elsewhere: its rate in Hz, how many samples it has, and these in blocks (S,)."""

    sample_rate: int
    num_samples: int
    blocks: Iterator[Array]


AudioInput = str | Path | Readable | SampleInput | AudioBlocks
"""A recording in Python: a path, an open binary file, the bytes of a file, samples as an array or a tensor, or blocks
of them."""


@contextmanager
def open_audio(
    audio: AudioInput,
    sample_rate: int,
    block_s: float,
    channel: int | None = None,
    partial: bool = False,
    on_warning: OnWarning = lambda found: None,
) -> Iterator[tuple[int, int, Iterator[Array]]]:
    """The rate in Hz, the number of samples, and the samples (S,) in blocks of ``block_s`` seconds, of any input.

    sample_rate: of samples; a file has its own. The rest is as of ``open_blocks``, of files only. Raises DataError for
    what cannot be read, UsageError for samples of another shape or type.
    """
    if isinstance(audio, AudioBlocks):
        require_rate(audio.sample_rate)
        yield audio.sample_rate, audio.num_samples, audio.blocks
        return
    if not is_file(audio):
        require_rate(sample_rate)
        samples, size = as_float(cast(SampleInput, audio)), max(1, round(block_s * sample_rate))
        yield sample_rate, len(samples), (samples[start : start + size] for start in range(0, len(samples), size))
        return
    with (
        _spooled(audio) as path,
        open_blocks(path, block_s, channel, partial=partial, on_warning=on_warning) as (info, blocks),
    ):
        yield info.sample_rate, info.num_samples, blocks


def is_file(audio: AudioInput) -> TypeGuard[str | Path | bytes | Readable]:
    """Whether a recording is a file, or what is in one, and not samples."""
    return isinstance(audio, str | Path | bytes | bytearray) or hasattr(audio, "read")


@contextmanager
def _spooled(audio: str | Path | bytes | Readable) -> Iterator[str | Path]:
    """The path of a recording; bytes and open files are copied to a temporary file, which errors don't name."""
    if isinstance(audio, str | Path):
        yield audio
        return
    with tempfile.NamedTemporaryFile(prefix="recitative-audio-") as spool:
        if isinstance(audio, bytes | bytearray):
            spool.write(audio)
        else:
            shutil.copyfileobj(audio, spool)
        spool.flush()
        with naming(str(getattr(audio, "name", "the audio")), spool.name):
            yield spool.name
